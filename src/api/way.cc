#include "api/way.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace hedge::api {
namespace {

constexpr const char* kPathHeader = "x-hedge-path";
constexpr const char* kHopsHeader = "x-hedge-hops";

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Calls `each` with every name of a path; false from it ends the walk.
template <typename Each>
void for_each_node(std::string_view path, Each each) {
  while (!path.empty()) {
    const size_t end = std::min(path.find(','), path.size());
    if (!each(trimmed(path.substr(0, end)))) return;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
}

}  // namespace

Status check_node(std::string_view node, const std::string& field) {
  const bool plain = std::all_of(node.begin(), node.end(), [](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
  if (!node.empty() && node.size() <= kNodeBytesMax && plain) return {};
  return make_error(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: expected node names of 1 to {} letters, digits and any of . _ -, got {}", field,
                  kNodeBytesMax, plain ? fmt::format("one of {} bytes", node.size()) : "other characters"),
      field);
}

Result<chat::Way> read_way(std::string_view path, std::string_view hops, const std::string& node,
                           int hops_max) {
  chat::Way way;
  int nodes = 0;
  Status wrong;
  for_each_node(path, [&](std::string_view name) {
    wrong = check_node(name, kPathHeader);
    if (!wrong.ok()) return false;
    way.path += std::string(name) + ",";
    return ++nodes <= static_cast<int>(kPathNodesMax);
  });
  HEDGE_TRY(std::move(wrong));
  if (nodes > static_cast<int>(kPathNodesMax)) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("{}: expected at most {} nodes, got more", kPathHeader, kPathNodesMax),
                      kPathHeader);
  }
  way.path += node;
  way.hops_left = std::max(0, hops_max - nodes);
  hops = trimmed(hops);
  if (hops.empty()) return way;
  int left = 0;
  const auto [end, failed] = std::from_chars(hops.data(), hops.data() + hops.size(), left);
  if (failed != std::errc() || end != hops.data() + hops.size() || left < 0 || left > kHopsMax) {
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected a whole number, 0 to {}, got another value", kHopsHeader, kHopsMax),
        kHopsHeader);
  }
  way.hops_left = std::min(way.hops_left, left);
  return way;
}

bool has_passed(std::string_view path, std::string_view node) {
  bool found = false;
  for_each_node(path, [&](std::string_view name) { return !(found = name == node); });
  return found;
}

ApiError loop_error(const std::string& node) {
  ApiError error;
  error.status = 508;
  error.type = "invalid_request_error";
  error.code = "loop_detected";
  error.param = kPathHeader;
  error.message = fmt::format(
      "x-hedge-path: expected a path without this node ('{}'), got one that it is on: the upstreams lead in "
      "a "
      "circle",
      node);
  return error;
}

}  // namespace hedge::api
