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

std::vector<Span> run_detectors(std::string_view text, bool private_only) {
  const Folded folded(text);
  std::vector<Span> spans;
  std::vector<Find> finds;
  for (const DetectorEntry& detector : kDetectors) {
    if (private_only && !detector.is_private) continue;
    finds.clear();
    detector.find(folded, finds);
    for (const Find& find : finds) {
      spans.push_back(
          Span{detector.type, folded.byte_begin(find.begin), folded.byte_end(find.end), find.score});
    }
  }
  if (spans.size() <= 1) return spans;
  return settle(std::move(spans));
}

}  // namespace

std::vector<Span> detect(std::string_view text) { return run_detectors(text, false); }
std::vector<Span> detect_private(std::string_view text) { return run_detectors(text, true); }

}  // namespace hedge::privacy
