// Text that is hidden in base64 (RFC 4648, both alphabets), so that detectors can be asked about it, too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hedge::privacy {

// The printable pieces, of at least 8 bytes, of everything in `text` that may be base64: runs of at least 12
// of its characters, also over the lines that encoders write, decoded from each of their first four
// characters on. Linear in the text.
std::vector<std::string> decoded_base64(std::string_view text);

}  // namespace hedge::privacy
