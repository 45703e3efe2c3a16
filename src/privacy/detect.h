// Finds personal data and secrets in text. Pure functions; linear in the text.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace hedge::privacy {

struct Span {
  std::string_view type;  // of detector_list.inc or type_list.inc: "EMAIL_ADDRESS", "PERSON"
  size_t begin = 0;       // byte offsets
  size_t end = 0;
  double score = 0;  // 0..1
};

// All spans, sorted, not overlapping. Cards pass Luhn, IBANs mod 97, IPs parse. Any bytes are allowed;
// look-alikes of ASCII (full-width digits, typographic dashes, zero-width breaks) are seen through.
std::vector<Span> detect(std::string_view text);

// Whether the last label is one that most addresses end in. Where it is doubtful that an "@" is an address's
// (it begins a line, as "@app.route" does), this decides.
bool ends_in_common_tld(std::string_view domain);

}  // namespace hedge::privacy
