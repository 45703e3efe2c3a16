// The headers that carry a request's way through several Hedges: x-hedge-path names the nodes it has come by,
// x-hedge-hops says how many times it may still be passed on. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "api/error.h"
#include "base/result.h"
#include "chat/request.h"

namespace hedge::api {

inline constexpr size_t kNodeBytesMax = 64;
inline constexpr size_t kPathNodesMax = 16;
inline constexpr int kHopsMax = 16;

// A node's name: letters, digits and any of . _ -
Status check_node(std::string_view node, const std::string& field);

// The way from this node on: both limits hold, the sender's and `hops_max`, this node's own. Either header
// may be empty. kInvalidArgument names the header that is wrong.
Result<chat::Way> read_way(std::string_view path, std::string_view hops, const std::string& node,
                           int hops_max);

// Whether `path`, as a client sent it, holds `node`: the request has come round.
bool has_passed(std::string_view path, std::string_view node);
ApiError loop_error(const std::string& node);  // 508; the sender answers by itself

}  // namespace hedge::api
