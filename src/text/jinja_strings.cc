#include "text/jinja_strings.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "base/utf8.h"

namespace hedge::text::jinja {

namespace {

utf8proc_category_t category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

// Start of the last code point of a text that is not empty.
size_t last_point(std::string_view text) {
  size_t position = text.size() - 1;
  while (position > 0 && utf8_continues(text[position])) --position;
  return position;
}

char32_t point_at(std::string_view text, size_t position) { return utf8_next(text, position); }

// A set of code points that is asked about for every character of a text.
class PointSet {
 public:
  explicit PointSet(std::string_view chars) {
    for (size_t position = 0; position < chars.size();) points_.push_back(utf8_next(chars, position));
    std::sort(points_.begin(), points_.end());
  }
  bool operator()(char32_t c) const { return std::binary_search(points_.begin(), points_.end(), c); }

 private:
  std::vector<char32_t> points_;
};

template <typename Drop>
std::string_view drop_left(std::string_view text, const Drop& drop) {
  size_t position = 0;
  while (position < text.size()) {
    size_t next = position;
    if (!drop(utf8_next(text, next))) break;
    position = next;
  }
  return text.substr(position);
}

template <typename Drop>
std::string_view drop_right(std::string_view text, const Drop& drop) {
  while (!text.empty()) {
    const size_t last = last_point(text);
    if (!drop(point_at(text, last))) break;
    text = text.substr(0, last);
  }
  return text;
}

void append_upper(std::string& out, char32_t c) {
  if (c == 0xdf) {  // the one common letter whose capital is two
    out += "SS";
  } else {
    utf8_append(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

void append_lower(std::string& out, char32_t c) {
  utf8_append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  if (c == 0xdf) {
    out += "Ss";
  } else {
    utf8_append(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  }
}

template <typename Append>
std::string map_points(std::string_view text, Append append) {
  std::string out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) append(out, utf8_next(text, position));
  return out;
}

bool is_line_end(char32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c < 0x7f;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU; }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }

int64_t count_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
}

size_t offset_of(std::string_view text, int64_t index) {
  size_t position = 0;
  while (position < text.size()) {
    if ((static_cast<uint8_t>(text[position]) & 0xc0) != 0x80 && index-- == 0) return position;
    ++position;
  }
  return text.size();
}

size_t find_text(std::string_view text, std::string_view wanted, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  // glibc's memmem uses the two-way algorithm, linear in the worst case.
  const void* found = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

std::string_view trim_left(std::string_view text) { return drop_left(text, is_space); }
std::string_view trim_right(std::string_view text) { return drop_right(text, is_space); }
std::string_view trim_left(std::string_view text, std::string_view chars) {
  return drop_left(text, PointSet(chars));
}
std::string_view trim_right(std::string_view text, std::string_view chars) {
  return drop_right(text, PointSet(chars));
}

std::string to_upper(std::string_view text) { return map_points(text, append_upper); }
std::string to_lower(std::string_view text) { return map_points(text, append_lower); }

std::string swap_case(std::string_view text) {
  return map_points(text, [](std::string& out, char32_t c) {
    if (is_upper(c)) {
      append_lower(out, c);
    } else {
      append_upper(out, c);
    }
  });
}

std::string capitalize(std::string_view text) {
  bool first = true;
  return map_points(text, [&](std::string& out, char32_t c) {
    if (first) {
      append_title(out, c);
    } else {
      append_lower(out, c);
    }
    first = false;
  });
}

std::string title_words(std::string_view text) {
  bool inside = false;
  return map_points(text, [&](std::string& out, char32_t c) {
    if (inside) {
      append_lower(out, c);
    } else {
      append_title(out, c);
    }
    inside = is_upper(c) || is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT;
  });
}

std::string title_filter(std::string_view text) {
  bool first = true;
  return map_points(text, [&](std::string& out, char32_t c) {
    if (c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c)) {
      utf8_append(out, c);
      first = true;
      return;
    }
    if (first) {
      append_upper(out, c);
    } else {
      append_lower(out, c);
    }
    first = false;
  });
}

std::vector<std::string_view> split_space(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  std::string_view rest = from_right ? trim_right(text) : trim_left(text);
  while (!rest.empty()) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(from_right ? trim_right(rest) : rest);
      break;
    }
    if (from_right) {
      const std::string_view head = drop_right(rest, [](char32_t c) { return !is_space(c); });
      parts.push_back(rest.substr(head.size()));
      rest = trim_right(head);
    } else {
      const std::string_view tail = drop_left(rest, [](char32_t c) { return !is_space(c); });
      parts.push_back(rest.substr(0, rest.size() - tail.size()));
      rest = trim_left(tail);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_on(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right) {
  std::vector<std::string_view> parts;
  std::string_view rest = text;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = from_right ? rest.rfind(separator) : find_text(rest, separator);
    if (at == std::string_view::npos) break;
    if (from_right) {
      parts.push_back(rest.substr(at + separator.size()));
      rest = rest.substr(0, at);
    } else {
      parts.push_back(rest.substr(0, at));
      rest = rest.substr(at + separator.size());
    }
  }
  parts.push_back(rest);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t position = 0; position < text.size();) {
    const size_t at = position;
    const char32_t c = utf8_next(text, position);
    if (!is_line_end(c)) continue;
    if (c == '\r' && position < text.size() && text[position] == '\n') ++position;
    lines.push_back(text.substr(start, (keep_ends ? position : at) - start));
    start = position;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

void append_repr(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  const char quote =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  const auto append_hex = [&out](char32_t c, int digits) {
    for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += kHex[(c >> shift) & 0xf];
  };
  out += quote;
  for (size_t position = 0; position < text.size();) {
    const char32_t c = utf8_next(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      utf8_append(out, c);
    } else if (c < 0x100) {
      out += "\\x";
      append_hex(c, 2);
    } else if (c < 0x10000) {
      out += "\\u";
      append_hex(c, 4);
    } else {
      out += "\\U";
      append_hex(c, 8);
    }
  }
  out += quote;
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace hedge::text::jinja
