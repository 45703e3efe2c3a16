// Runs every detector of the list over one folded view of the text and settles overlaps: the more certain
// span stays, then the longer one, then the one of the detector that stands first in the list.
#include "privacy/detect.h"

#include <algorithm>
#include <map>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

bool better(const Span& a, const Span& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.end - a.begin > b.end - b.begin;
}

// The best spans of `spans` that do not overlap, in order of begin.
std::vector<Span> settle(std::vector<Span> spans) {
  std::stable_sort(spans.begin(), spans.end(), better);
  std::map<size_t, Span> kept;  // by begin
  for (const Span& span : spans) {
    const auto after = kept.lower_bound(span.begin);
    if (after != kept.end() && after->first < span.end) continue;
    if (after != kept.begin() && std::prev(after)->second.end > span.begin) continue;
    kept.emplace_hint(after, span.begin, span);
  }
  std::vector<Span> out;
  out.reserve(kept.size());
  for (const auto& [begin, span] : kept) out.push_back(span);
  return out;
}

}  // namespace

DetectorSet detectors_of(TypeSet types) {
  DetectorSet out = 0;
  for (size_t i = 0; i < std::size(kDetectors); ++i) {
    if ((types & set_of(kDetectors[i].type)) != 0) out |= DetectorSet{1} << i;
  }
  return out;
}

const std::vector<Span>& detect(std::string_view text, DetectorSet detectors, DetectWork& work) {
  work.folded.assign(text);
  work.spans.clear();
  for (size_t i = 0; i < std::size(kDetectors); ++i) {
    if ((detectors >> i & 1) == 0) continue;
    work.finds.clear();
    kDetectors[i].find(work.folded, work.finds);
    for (const Find& find : work.finds) {
      work.spans.push_back(Span{kDetectors[i].type, work.folded.byte_begin(find.begin),
                                work.folded.byte_end(find.end), find.score});
    }
  }
  if (work.spans.size() > 1) work.spans = settle(std::move(work.spans));
  return work.spans;
}

std::vector<Span> detect(std::string_view text) {
  DetectWork work;
  return detect(text, kAllDetectors, work);
}

}  // namespace hedge::privacy
