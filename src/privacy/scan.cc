#include "privacy/scan.h"

#include <algorithm>

#include "base/check.h"
#include "privacy/assets.h"
#include "privacy/detector.h"
#include "privacy/fold.h"

namespace hedge::privacy {

const Tagger& builtin_tagger() {
  static const Tagger tagger = [] {
    Result<Tagger> opened = Tagger::open(embedded_tagger());
    HEDGE_CHECK(opened.ok());  // a file of the program itself
    return std::move(*opened);
  }();
  return tagger;
}

void found_spans(const std::vector<Span>& spans, std::vector<FoundSpan>& found) {
  found.clear();
  for (const Span& span : spans) {
    for (uint8_t i = 0; i < std::size(kDetectors); ++i) {
      if (kDetectors[i].type != span.type || span.type == "SECRET") continue;
      found.push_back(FoundSpan{static_cast<uint32_t>(span.begin), static_cast<uint32_t>(span.end),
                                static_cast<uint8_t>(i + 1)});
    }
  }
}

namespace {

// A letter or digit; bytes beyond ASCII count. Signs alone are nobody's name.
bool has_word(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return is_alnum(c) || static_cast<unsigned char>(c) >= 0x80; });
}

}  // namespace

Scanner::Scanner(const Tagger& tagger) : tagger_(&tagger), work_(std::make_unique<Tagger::Workspace>()) {}

const std::vector<Span>& Scanner::scan(std::string_view text) {
  spans_ = detect(text);
  found_spans(spans_, found_);
  tagged_.clear();
  for (size_t position = 0; position < text.size();) {
    const size_t count = read_tokens(text, found_, position, work_->tokens);
    if (count == 0) break;
    for (const TaggedSpan& span : tagger_->tag(*work_, count)) {
      const Span found{kTaggedTypes[span.type], work_->tokens[span.begin].begin,
                       work_->tokens[span.end - 1].end, span.score};
      if (has_word(text.substr(found.begin, found.end - found.begin))) tagged_.push_back(found);
    }
  }
  // Both are sorted; a detector's span wins where they overlap (secrets are no tokens of their own).
  const size_t detected = spans_.size();
  for (const Span& span : tagged_) {
    const auto first = spans_.begin();
    const auto last = first + static_cast<ptrdiff_t>(detected);
    const auto after = std::partition_point(first, last, [&](const Span& s) { return s.end <= span.begin; });
    if (after == last || after->begin >= span.end) spans_.push_back(span);
  }
  std::inplace_merge(spans_.begin(), spans_.begin() + static_cast<ptrdiff_t>(detected), spans_.end(),
                     [](const Span& a, const Span& b) { return a.begin < b.begin; });
  return spans_;
}

}  // namespace hedge::privacy
