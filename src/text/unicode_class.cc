#include "text/unicode_class.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "base/bytes.h"
#include "base/utf8.h"

namespace hedge::text {
namespace {

struct Run {
  uint32_t first;
  ClassByte byte;
};

constexpr Run kRuns[] = {
#include "text/unicode_class.inc"
};

constexpr uint32_t kBmpEnd = 0x10000;

// The basic plane as a flat table (64 KB, filled once in some 20 us): nearly all text lies in it.
const std::array<uint8_t, kBmpEnd>& bmp_table() {
  static const std::array<uint8_t, kBmpEnd>& table = *[] {
    auto* bytes = new std::array<uint8_t, kBmpEnd>();
    for (uint32_t c = 0; c < 0x80; ++c) (*bytes)[c] = static_cast<uint8_t>(c);
    for (size_t i = 0; i < std::size(kRuns) && kRuns[i].first < kBmpEnd; ++i) {
      const uint32_t end = i + 1 < std::size(kRuns) ? std::min(kRuns[i + 1].first, kBmpEnd) : kBmpEnd;
      std::memset(bytes->data() + kRuns[i].first, kRuns[i].byte, end - kRuns[i].first);
    }
    return bytes;
  }();
  return table;
}

constexpr uint32_t kBroken = 0xffffffff;

// Decodes by shape: continuation bytes must be there, but overlong forms and surrogates pass. kBroken leaves
// `position`.
uint32_t decode_by_shape(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[position + i]); };
  const uint8_t lead = byte(0);
  const int length = lead >= 0xf8   ? 0
                     : lead >= 0xf0 ? 4
                     : lead >= 0xe0 ? 3
                     : lead >= 0xc0 ? 2
                     : lead < 0x80  ? 1
                                    : 0;
  if (length == 0 || text.size() - position < static_cast<size_t>(length)) return kBroken;
  uint32_t code_point = length == 1 ? lead : lead & (0xff >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return kBroken;
    code_point = code_point << 6 | (byte(i) & 0x3f);
  }
  if (code_point > 0x10ffff) return kBroken;
  position += length;
  return code_point;
}

size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  while (text.size() - i >= 8 && (load_le<uint64_t>(text.data() + i) & 0x8080808080808080u) == 0) i += 8;
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

bool is_surrogate(uint32_t code_point) { return code_point >= 0xd800 && code_point < 0xe000; }

size_t shortest_length(uint32_t code_point) {
  return code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
}

}  // namespace

uint8_t class_byte(uint32_t code_point) {
  if (code_point < kBmpEnd) return bmp_table()[code_point];
  const Run* after = std::upper_bound(std::begin(kRuns), std::end(kRuns), code_point,
                                      [](uint32_t value, const Run& run) { return value < run.first; });
  return std::prev(after)->byte;
}

void classify(std::string_view text, ClassText& out) {
  out.utf8 = out.strict_utf8 = out.classes = text;
  size_t position = ascii_prefix(text);
  if (position == text.size()) return;

  const std::array<uint8_t, kBmpEnd>& bmp = bmp_table();
  std::string& classes = out.classes_storage;
  classes.assign(text.substr(0, position));
  classes.reserve(text.size());
  bool rewritten = false;
  bool surrogates = false;
  std::string& utf8 = out.utf8_storage;
  while (position < text.size()) {
    const size_t begin = position;
    const uint32_t code_point = decode_by_shape(text, position);
    const bool broken = code_point == kBroken || shortest_length(code_point) != position - begin;
    if (broken && !rewritten) {
      rewritten = true;
      utf8.assign(text.substr(0, begin));
    }
    const uint32_t kept = code_point == kBroken ? 0xfffd : code_point;
    if (code_point == kBroken) position = begin + 1;
    surrogates |= is_surrogate(kept);
    if (rewritten) utf8_append(utf8, kept);
    classes += static_cast<char>(kept < kBmpEnd ? bmp[kept] : class_byte(kept));
  }
  out.classes = classes;
  if (rewritten) out.utf8 = out.strict_utf8 = utf8;
  if (!surrogates) return;
  std::string& strict = out.strict_storage;
  strict.assign(out.utf8);
  for (size_t i = 0; i + 2 < strict.size(); ++i) {
    if (static_cast<uint8_t>(strict[i]) == 0xed && static_cast<uint8_t>(strict[i + 1]) >= 0xa0) {
      strict.replace(i, 3, "\xef\xbf\xbd");
    }
  }
  out.strict_utf8 = strict;
}

}  // namespace hedge::text
