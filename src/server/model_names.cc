#include "server/model_names.h"

namespace hedge::server {

api::ApiError unknown_model(const Parts& parts) {
  api::ApiError error;
  error.status = 404;
  error.type = "invalid_request_error";
  error.code = "model_not_found";
  error.param = "model";
  error.message = "model: not served here; served are \"" + parts.engine->info().model + "\"";
  if (parts.upstream != nullptr && !parts.upstream->info().model.empty()) {
    error.message += " and, upstream, \"" + parts.upstream->info().model + "\"";
  }
  return error;
}

bool resolve_model(const Parts& parts, api::Call& call, std::string& served) {
  const std::string& name = call.model();
  const std::string& local = parts.engine->info().model;
  if (name.empty() || name == "default" || name == local) {
    served = local;
    return true;
  }
  if (parts.upstream == nullptr || name != parts.upstream->info().model) return false;
  served = name;
  for (chat::Request& request : call.requests) {
    if (request.routing.route == chat::Route::kAuto) request.routing.route = chat::Route::kUpstream;
  }
  return true;
}

}  // namespace hedge::server
