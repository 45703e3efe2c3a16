// Python's str over UTF-8: positions are code points, white space and case are Unicode's. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hedge::text::jinja {

// What str.isspace() and the regular expression \s take as white space.
bool is_space(char32_t code_point);
// Code points that repr() writes as they are.
bool is_printable(char32_t code_point);
bool is_alpha(char32_t code_point);
bool is_decimal(char32_t code_point);
bool is_upper(char32_t code_point);
bool is_lower(char32_t code_point);

int64_t count_points(std::string_view text);
// Byte offset of the code point with this index; text.size() at or past the end.
size_t offset_of(std::string_view text, int64_t index);

// As std::string_view::find, but in time that grows with the sum of the lengths, not with their product.
size_t find_text(std::string_view text, std::string_view wanted, size_t from = 0);

std::string_view trim_left(std::string_view text);
std::string_view trim_right(std::string_view text);
// Strips any of the code points in `chars`.
std::string_view trim_left(std::string_view text, std::string_view chars);
std::string_view trim_right(std::string_view text, std::string_view chars);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string swap_case(std::string_view text);
std::string capitalize(std::string_view text);
// str.title(): every run of letters begins with a capital.
std::string title_words(std::string_view text);
// The filter |title: words are what spaces, hyphens and opening brackets divide.
std::string title_filter(std::string_view text);

// str.split() without a separator; at most `limit` cuts, counted from the left or from the right, -1 for no
// limit.
std::vector<std::string_view> split_space(std::string_view text, int64_t limit, bool from_right);
// REQUIRES: a separator that is not empty.
std::vector<std::string_view> split_on(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

// Python's repr() of a str.
void append_repr(std::string& out, std::string_view text);
// &, <, >, ' and " as markupsafe writes them.
std::string escape_html(std::string_view text);

}  // namespace hedge::text::jinja
