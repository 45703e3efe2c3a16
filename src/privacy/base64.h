// Text that is hidden in base64 (RFC 4648, both alphabets), so that detectors can be asked about it, too.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace hedge::privacy {

// Buffers of one thread, kept from one text to the next.
struct Base64Work {
  std::string run;
  std::string bytes;
};

// Calls `each` with the printable pieces (UTF-8, at least 8 bytes) of everything in `text` that may be
// base64: runs of at least 12 of its characters, also over the lines that encoders write, decoded from each
// of their first four characters on. Linear in the text; a piece lives until `each` returns.
void decode_base64(std::string_view text, Base64Work& work,
                   const std::function<void(std::string_view)>& each);

}  // namespace hedge::privacy
