// Errors on the wire: one table from our codes to HTTP status and OpenAI's error object. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hedge::api {

// What a client is told. The texts are OpenAI's where it has one for the case.
struct ApiError {
  int status = 500;
  std::string type;       // "invalid_request_error", "server_error", ...
  std::string code;       // stable, for programs: "context_length_exceeded"
  std::string message;    // for people
  std::string param;      // the request field at fault; empty: null on the wire
  int retry_after_s = 0;  // 0: no Retry-After header
};

// The one table of ErrorCode and HTTP status.
int http_status(ErrorCode code);
ApiError to_api_error(const Error& error);

// {"error":{"message","type","param","code"}}
std::string error_body(const ApiError& error);

}  // namespace hedge::api
