// Private to server/: which names of models a request may use.
#pragma once

#include "api/call.h"
#include "api/error.h"
#include "server/server.h"

namespace hedge::server {

// 404 model_not_found, listing what is served.
api::ApiError unknown_model(const Parts& parts);

// Empty and "default" mean the local model. The upstream's name asks for the upstream, where the request says
// nothing else about its route. False when the name is unknown. `served` becomes the name for the answer.
bool resolve_model(const Parts& parts, api::Call& call, std::string& served);

}  // namespace hedge::server
