#include "upstream/endpoint.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <fmt/format.h>

namespace hedge::upstream {
namespace {

// Longest keys in use are signed tokens of some 4 KiB.
constexpr size_t kKeyBytesMax = 16u << 10;
constexpr std::string_view kSpaces = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const size_t begin = std::min(text.find_first_not_of(kSpaces), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

Result<std::string> checked_key(std::string_view raw, const std::string& source) {
  const std::string_view key = trimmed(raw.substr(0, raw.find('\n')));
  if (key.empty())
    return make_error(ErrorCode::kPermission, fmt::format("{}: expected an API key, got nothing", source));
  const bool printable = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!printable || key.size() > kKeyBytesMax) {
    return make_error(
        ErrorCode::kPermission,
        fmt::format("{}: expected an API key of printable ASCII without spaces, at most {} bytes, got {}",
                    source, kKeyBytesMax, printable ? "a longer one" : "other characters"));
  }
  return std::string(key);
}

}  // namespace

Result<std::string> normal_base_url(std::string_view url, std::string_view field) {
  const auto wrong = [&](std::string_view what) {
    return make_error(ErrorCode::kInvalidArgument, fmt::format("{}: expected {}", field, what),
                      std::string(field));
  };
  const std::string_view scheme = url.substr(0, url.find("://"));
  if (scheme != "http" && scheme != "https") return wrong("http://HOST[:PORT] or https://HOST[:PORT]");
  const std::string_view rest = url.substr(scheme.size() + 3);
  const std::string_view host = rest.substr(0, rest.find('/'));
  if (host.empty() || host.front() == ':') return wrong("a host after the scheme, got none");
  if (rest.find('@') != std::string_view::npos)
    return wrong("no user or password in the URL; name a key source instead");
  if (rest.find_first_of("?#") != std::string_view::npos) return wrong("no query or fragment in the URL");
  const auto plain = [](char c) {
    return c > ' ' && c <= '~' && c != '"' && c != '<' && c != '>' && c != '\\';
  };
  if (!std::all_of(rest.begin(), rest.end(), plain)) return wrong("a URL of printable ASCII without spaces");
  while (url.ends_with('/')) url.remove_suffix(1);
  if (url.ends_with("/v1")) url.remove_suffix(3);
  while (url.ends_with('/')) url.remove_suffix(1);
  return std::string(url);
}

Result<std::string> read_key(const std::string& env_name, const std::string& file_path) {
  if (!env_name.empty()) {
    const char* value = std::getenv(env_name.c_str());
    if (value == nullptr) {
      return make_error(
          ErrorCode::kPermission,
          fmt::format("environment variable {}: expected an API key, got an unset variable", env_name));
    }
    return checked_key(value, "environment variable " + env_name);
  }
  if (!file_path.empty()) {
    std::ifstream file(file_path, std::ios::binary);
    if (!file)
      return make_error(ErrorCode::kPermission, fmt::format("key file {}: cannot be read", file_path));
    std::string text(kKeyBytesMax + 2, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    return checked_key(text, "key file " + file_path);
  }
  return std::string();
}

std::string redact(std::string text, std::string_view key) {
  // Shorter keys exist only in tests of other things; replacing them would blank common words.
  constexpr size_t kKeyBytesMin = 4;
  if (key.size() < kKeyBytesMin) return text;
  constexpr std::string_view kMark = "[key]";
  for (size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + kMark.size())) {
    text.replace(at, key.size(), kMark);
  }
  return text;
}

}  // namespace hedge::upstream
