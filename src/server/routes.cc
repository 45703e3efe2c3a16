#include "server/routes.h"

#include <fmt/format.h>

#include <vector>

#include "api/dialect.h"
#include "server/answer.h"
#include "server/guard.h"
#include "server/info_routes.h"
#include "server/session_routes.h"

namespace hedge::server {
namespace {

Reply get_index(Context& context, const HttpRequest& request, std::string_view rest);

// Where a handler runs: on the I/O thread, which it must not hold up, or on a thread for short work.
enum class Where { kHere, kLight };
// Whether a route is for everybody and at any time, or for those who have the API key where one is set and
// once the model is loaded.
enum class Access { kOpen, kKey };

struct Route {
  std::string_view method;
  std::string_view path;  // a '*' at the end stands for one or more characters
  Access access = Access::kKey;
  Where where = Where::kHere;
  InfoHandler handle = nullptr;
  const api::Dialect* dialect = nullptr;  // instead of `handle`: answers prompts
};

const std::vector<Route>& routes() {
  static const std::vector<Route> all = [] {
    std::vector<Route> list = {
        {"GET", "/", Access::kOpen, Where::kHere, get_index},
        {"GET", "/health", Access::kOpen, Where::kHere, get_health},
        {"GET", "/v1/health", Access::kOpen, Where::kHere, get_health},
        {"GET", "/metrics", Access::kKey, Where::kLight, get_metrics},
        {"GET", "/v1/models", Access::kKey, Where::kHere, get_models},
        {"GET", "/v1/models/*", Access::kKey, Where::kHere, get_model},
        {"POST", "/tokenize", Access::kKey, Where::kLight, post_tokenize},
        {"POST", "/detokenize", Access::kKey, Where::kLight, post_detokenize},
        {"POST", "/apply-template", Access::kKey, Where::kLight, post_apply_template},
        {"GET", "/v1/hedge/status", Access::kKey, Where::kLight, get_status},
        {"GET", "/v1/hedge/decisions/*", Access::kKey, Where::kLight, get_decision},
        {"POST", "/v1/hedge/decisions/*", Access::kKey, Where::kLight, post_feedback},
        {"GET", "/v1/hedge/sessions", Access::kKey, Where::kLight, list_sessions},
        {"GET", "/v1/hedge/sessions/*", Access::kKey, Where::kLight, get_session},
        {"PUT", "/v1/hedge/sessions/*", Access::kKey, Where::kLight, put_session},
        {"DELETE", "/v1/hedge/sessions/*", Access::kKey, Where::kLight, delete_session},
    };
    for (const api::Dialect* dialect : api::dialects()) {
      list.push_back({"POST", dialect->path, Access::kKey, Where::kLight, nullptr, dialect});
    }
    return list;
  }();
  return all;
}

bool matches(const Route& route, std::string_view path) {
  if (!route.path.ends_with('*')) return route.path == path;
  const std::string_view stem = route.path.substr(0, route.path.size() - 1);
  return path.size() > stem.size() && path.starts_with(stem);
}

bool allows(const Route& route, std::string_view method) {
  return method == route.method || (method == "HEAD" && route.method == "GET");
}

const Route* find_route(std::string_view method, std::string_view path) {
  for (const Route& route : routes()) {
    if (matches(route, path) && allows(route, method)) return &route;
  }
  return nullptr;
}

// The methods of a path, as in the header Allow; empty for an unknown path.
std::string allowed_methods(std::string_view path) {
  std::string out;
  for (const Route& route : routes()) {
    if (!matches(route, path)) continue;
    if (!out.empty()) out += ", ";
    out += route.method;
    if (route.method == "GET") out += ", HEAD";
  }
  return out.empty() ? out : out + ", OPTIONS";
}

Reply get_index(Context&, const HttpRequest&, std::string_view) {
  Reply reply;
  reply.body = fmt::format(R"({{"name":"hedge","version":"{}","routes":[)", HEDGE_VERSION);
  bool first = true;
  for (const Route& route : routes()) {
    reply.body += fmt::format("{}\"{} {}\"", first ? "" : ",", route.method, route.path);
    first = false;
  }
  reply.body += "]}";
  return reply;
}

Reply missing_key() {
  api::ApiError error;
  error.status = 401;
  error.type = "authentication_error";
  error.code = "invalid_api_key";
  error.message = "this server asks for an API key: send it as \"Authorization: Bearer KEY\"";
  Reply reply = error_reply(error);
  reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

Reply with_allow(Reply reply, std::string methods) {
  reply.headers.emplace_back("Allow", std::move(methods));
  return reply;
}

Reply too_many(std::string message) {
  return error_reply(make_error(ErrorCode::kExhausted, std::move(message)));
}

void dispatch_answer(Context& context, const api::Dialect& dialect,
                     std::shared_ptr<const HttpRequest> request, std::shared_ptr<Outbox> outbox) {
  if (!context.slots.try_take(1)) {
    outbox->reply(too_many(fmt::format("{} answers are in the making, no more are taken on at once",
                                       context.options.requests_max)));
    return;
  }
  // A std::function must be copyable; the slot is not, so it is shared.
  auto slot = std::make_shared<SlotHold>(context.slots);
  const bool taken = context.answers.submit([&context, &dialect, request, outbox, slot] {
    answer_call(context, dialect, *request, outbox, std::move(*slot));
  });
  if (!taken) outbox->reply(too_many("no thread is free for another answer"));
}

}  // namespace

std::string_view route_label(std::string_view path) {
  for (const Route& route : routes()) {
    if (matches(route, path)) return route.path;
  }
  return kOtherRoutes;
}

std::optional<Reply> answer_head(const Context& context, const HttpRequest& request) {
  if (context.loopback_only && !request.host.empty() && !is_loopback_host(request.host)) {
    return http_error(
        403, "host_not_allowed",
        "this server listens on loopback only; the Host header must be localhost, 127.0.0.1 or [::1]");
  }
  if (is_foreign_origin(request.origin, request.host)) {
    return http_error(403, "origin_not_allowed", "requests from web pages of other origins are not allowed");
  }
  const std::string methods = allowed_methods(request.path == "*" ? "/" : request.path);
  if (methods.empty()) return http_error(404, "not_found", "no such path; GET / lists them");
  if (request.method == "OPTIONS") {
    Reply reply;
    reply.status = 204;
    return with_allow(std::move(reply), methods);
  }
  const Route* route = find_route(request.method, request.path);
  if (route == nullptr) {
    return with_allow(http_error(405, "method_not_allowed", "this path takes " + methods), methods);
  }
  if (route->access == Access::kKey && !tenant_of(request, context.options)) return missing_key();
  if (context.stopping) return http_error(503, "unavailable", "the server is stopping");
  return std::nullopt;
}

bool makes_answer(const HttpRequest& request) {
  const Route* route = find_route(request.method, request.path);
  return route != nullptr && route->dialect != nullptr;
}

void dispatch(Context& context, std::shared_ptr<const HttpRequest> request, std::shared_ptr<Outbox> outbox) {
  const Route* route = find_route(request->method, request->path);
  HEDGE_CHECK(route != nullptr);
  if (route->access == Access::kKey && context.loading.state() != Loading::State::kLoaded) {
    if (context.loading.wait([&context, request, outbox] { dispatch(context, request, outbox); })) return;
    if (context.loading.state() == Loading::State::kFailed) {
      outbox->reply(model_not_loaded());
      return;
    }
  }
  if (route->dialect != nullptr) {
    dispatch_answer(context, *route->dialect, std::move(request), std::move(outbox));
    return;
  }
  const size_t stem = route->path.ends_with('*') ? route->path.size() - 1 : route->path.size();
  const auto handle = [&context, route, request, outbox, stem] {
    outbox->reply(route->handle(context, *request, std::string_view(request->path).substr(stem)));
  };
  if (route->where == Where::kHere) {
    handle();
  } else if (!context.light.submit(handle)) {
    outbox->reply(too_many("too many requests at once"));
  }
}

}  // namespace hedge::server
