// The table of routes, and what stands before and behind it. A new endpoint is one line in routes.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/context.h"
#include "server/http.h"
#include "server/outbox.h"

namespace hedge::server {

// The label in metrics for what belongs to no route.
inline constexpr std::string_view kOtherRoutes = "other";
// The table's path that serves `path` ("/v1/models/*"), for metrics.
std::string_view route_label(std::string_view path);

// What can be answered from the head alone: a refusal (host, origin, key, unknown path, wrong method) or
// OPTIONS.
std::optional<Reply> answer_head(const Context& context, const HttpRequest& request);

// Whether the route runs a model: work that is worth stopping when its client has gone.
bool makes_answer(const HttpRequest& request);

// Answers through the outbox, now or from another thread. REQUIRES: answer_head() gave nothing.
void dispatch(Context& context, std::shared_ptr<const HttpRequest> request, std::shared_ptr<Outbox> outbox);

}  // namespace hedge::server
