// IP_ADDRESS: IPv4 in dotted decimal and IPv6 in any of its text forms (RFC 4291 2.2). Addresses that name no
// host of anyone are left alone: "this network" (0.x), loopback, broadcast and netmasks. Private ranges (RFC
// 1918) are reported: they show how a user's network is laid out.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

constexpr size_t kIpv6TextMax = 45;  // INET6_ADDRSTRLEN without its NUL

bool nobodys(const std::array<int, 4>& octets) {
  return octets[0] == 0 || octets[0] == 127 || octets[0] == 255;
}

// 10/8, 172.16/12, 192.168/16 (RFC 1918).
bool private_range(const std::array<int, 4>& octets) {
  return octets[0] == 10 || (octets[0] == 172 && octets[1] >= 16 && octets[1] < 32) ||
         (octets[0] == 192 && octets[1] == 168);
}

// Whether the words before make "1.2.3.4" a version ("version 1.2.3.4", "v1.2.3.4").
// After a program that runs on no host of its own a quad is a version as well, but for addresses that are
// plain by their range.
bool version_before(std::string_view s, size_t begin, const std::array<int, 4>& octets) {
  constexpr std::array<std::string_view, 7> kWords = {"version", "ver", "ver.",    "release",
                                                      "build",   "v",   "firmware"};
  constexpr std::array<std::string_view, 26> kPrograms = {
      "python", "java",  "jdk",    "jre",     "php",     "ruby",  "perl",  "node",    "gcc",
      "clang",  "cmake", "chrome", "firefox", "safari",  "edge",  "opera", "windows", "android",
      "ios",    "macos", "ubuntu", "office",  "outlook", "excel", "cuda",  "pip"};
  size_t end = begin;
  while (end > 0 && (s[end - 1] == ' ' || s[end - 1] == ':' || s[end - 1] == '=') && begin - end < 3) --end;
  const auto stands = [&](std::string_view word) {
    return end >= word.size() && matches_at(s, end - word.size(), word) &&
           !is_word(char_before(s, end - word.size()));
  };
  return std::any_of(kWords.begin(), kWords.end(), stands) ||
         (!private_range(octets) && std::any_of(kPrograms.begin(), kPrograms.end(), stands));
}

// End of the dotted quad at `begin`, or 0. An octet may be filled up with zeros to three digits; a quad that
// ends in "000" is an amount.
size_t ipv4_end(std::string_view s, size_t begin, std::array<int, 4>& octets) {
  size_t i = begin;
  for (size_t k = 0; k < octets.size(); ++k) {
    if (k > 0) {
      if (char_at(s, i) != '.') return 0;
      ++i;
    }
    const size_t first = i;
    int value = 0;
    while (is_digit(char_at(s, i)) && i - first < 3) value = value * 10 + (s[i++] - '0');
    const bool filled_up = i - first == 3 && !(k == 3 && value == 0);
    if (i == first || value > 255 || (i - first > 1 && s[first] == '0' && !filled_up)) return 0;
    octets[k] = value;
  }
  const char next = char_at(s, i);
  if (is_word(next) || (next == '.' && is_alnum(char_at(s, i + 1)))) return 0;
  return i;
}

void find_ipv4(std::string_view s, std::vector<Find>& finds) {
  for (size_t i = next_digit(s, 0); i < s.size(); i = next_digit(s, i + 1)) {
    size_t run_end = i;
    while (is_digit(char_at(s, run_end))) ++run_end;
    const char before = char_before(s, i);
    std::array<int, 4> octets{};
    const size_t end =
        char_at(s, run_end) != '.' || is_word(before) || before == '.' ? 0 : ipv4_end(s, i, octets);
    if (end != 0 && !nobodys(octets) && !version_before(s, i, octets)) finds.push_back(Find{i, end, 0.9});
    i = (end != 0 ? end : run_end) - 1;
  }
}

// What inet_pton takes is wider than what people write as an address: "a::b" is C++. A compressed form must
// begin like an address in use (global 2xxx and 3xxx, local fxxx, mapped ::ffff) or hold four groups, and
// contain a digit.
bool plausible_ipv6(std::string_view run) {
  size_t groups = 0;
  bool digit = false;
  for (size_t i = 0; i < run.size(); ++i) {
    if (is_digit(run[i])) digit = true;
    if (run[i] != ':' && (i == 0 || run[i - 1] == ':')) ++groups;
  }
  if (run.find("::") == std::string_view::npos) return true;
  const char first = to_lower(run[0]);
  const bool known = (first == '2' || first == '3' || first == 'f') && run.find(':') == 4;
  return digit && (groups >= 4 || (known && groups >= 2) || matches_at(run, 0, "::ffff:"));
}

bool nobodys(const in6_addr& address) {
  constexpr in6_addr kLoopback = IN6ADDR_LOOPBACK_INIT;
  constexpr in6_addr kAny = IN6ADDR_ANY_INIT;
  return std::memcmp(&address, &kLoopback, sizeof address) == 0 ||
         std::memcmp(&address, &kAny, sizeof address) == 0;
}

void find_ipv6(std::string_view s, std::vector<Find>& finds) {
  const auto in_run = [&](size_t i) {
    return is_hex(char_at(s, i)) || char_at(s, i) == ':' || char_at(s, i) == '.';
  };
  for (size_t colon = s.find(':'); colon != std::string_view::npos;) {
    size_t i = colon;
    while (i > 0 && in_run(i - 1)) --i;
    size_t end = i;
    size_t colons = 0;
    while (in_run(end)) colons += s[end++] == ':' ? 1 : 0;
    const size_t run_end = end;
    // A full stop or colon after the address belongs to the sentence.
    while (end > i && (s[end - 1] == '.' || (s[end - 1] == ':' && char_before(s, end - 1) != ':'))) --end;
    const std::string_view run = s.substr(i, end - i);
    if (colons >= 2 && run.size() <= kIpv6TextMax && !is_word(char_before(s, i)) &&
        !is_word(char_at(s, run_end))) {
      std::array<char, kIpv6TextMax + 1> terminated{};
      std::memcpy(terminated.data(), run.data(), run.size());
      in6_addr address{};
      if (inet_pton(AF_INET6, terminated.data(), &address) == 1 && !nobodys(address) && plausible_ipv6(run)) {
        finds.push_back(Find{i, end, 0.95});
      }
    }
    colon = s.find(':', run_end);
  }
}

}  // namespace

void find_ip(const Folded& text, std::vector<Find>& finds) {
  find_ipv4(text.chars(), finds);
  find_ipv6(text.chars(), finds);
}

}  // namespace hedge::privacy
