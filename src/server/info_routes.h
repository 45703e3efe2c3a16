// Private to server/: the routes that make no answer. Each is a function from request to reply.
#pragma once

#include <string_view>

#include "server/context.h"
#include "server/http.h"

namespace hedge::server {

// `rest` is what the route's '*' stands for.
using InfoHandler = Reply (*)(Context& context, const HttpRequest& request, std::string_view rest);

Reply json(std::string body);
Reply unknown_id(std::string_view what);
// Longer than any id that was ever given out; nobody searches the database for a megabyte of path.
inline constexpr size_t kIdBytesMax = 128;

// For what came while the model was loaded in vain.
Reply model_not_loaded();
Reply get_health(Context& context, const HttpRequest& request, std::string_view rest);
Reply get_metrics(Context& context, const HttpRequest& request, std::string_view rest);
// GET /v1/hedge/status: what `hedge top` shows.
Reply get_status(Context& context, const HttpRequest& request, std::string_view rest);
Reply get_models(Context& context, const HttpRequest& request, std::string_view rest);
Reply get_model(Context& context, const HttpRequest& request, std::string_view rest);
Reply get_decision(Context& context, const HttpRequest& request, std::string_view rest);
// POST /v1/hedge/decisions/ID/feedback: what a user thinks of an answer.
Reply post_feedback(Context& context, const HttpRequest& request, std::string_view rest);
Reply post_tokenize(Context& context, const HttpRequest& request, std::string_view rest);
Reply post_detokenize(Context& context, const HttpRequest& request, std::string_view rest);
Reply post_apply_template(Context& context, const HttpRequest& request, std::string_view rest);

}  // namespace hedge::server
