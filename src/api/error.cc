#include "api/error.h"

#include "api/json_text.h"

namespace hedge::api {
namespace {

struct Row {
  int status;
  const char* type;
  const char* code;
};

constexpr const char* kCallerFault = "invalid_request_error";
constexpr const char* kServerFault = "server_error";

Row row(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return {400, kCallerFault, "invalid_value"};
    case ErrorCode::kContextExceeded:
      return {400, kCallerFault, "context_length_exceeded"};
    case ErrorCode::kNotFound:
      return {404, kCallerFault, "not_found"};
    case ErrorCode::kCorrupt:
      return {502, kServerFault, "bad_upstream_data"};
    case ErrorCode::kUnsupported:
      return {400, kCallerFault, "unsupported_value"};
    case ErrorCode::kPermission:
      return {401, "authentication_error", "invalid_api_key"};
    case ErrorCode::kExhausted:
      return {429, "rate_limit_error", "rate_limit_exceeded"};
    case ErrorCode::kUnavailable:
      return {503, kServerFault, "unavailable"};
    case ErrorCode::kTimeout:
      return {504, kServerFault, "timeout"};
    case ErrorCode::kCancelled:
      return {503, kServerFault, "cancelled"};
    case ErrorCode::kIo:
      return {500, kServerFault, "io_error"};
    case ErrorCode::kInternal:
      return {500, kServerFault, "internal_error"};
  }
  return {500, kServerFault, "internal_error"};
}

}  // namespace

int http_status(ErrorCode code) { return row(code).status; }

ApiError to_api_error(const Error& error) {
  const Row found = row(error.code);
  ApiError api;
  api.status = found.status;
  api.type = found.type;
  api.code = found.code;
  api.message = error.detail.empty() ? std::string(to_string(error.code)) : error.detail;
  if (!error.field.empty() && error.detail.find(error.field) == std::string::npos) {
    api.message = error.field + ": " + error.detail;
  }
  api.param = error.field;
  // Whole seconds upwards: a client that comes back early would only be refused again.
  if (error.retry_after_ms > 0) api.retry_after_s = (error.retry_after_ms + 999) / 1000;
  if (api.status == 429 && api.retry_after_s == 0) api.retry_after_s = 1;
  return api;
}

std::string error_body(const ApiError& error) {
  std::string out = R"({"error":{"message":)";
  append_json_string(out, error.message);
  out += R"(,"type":)";
  append_json_string(out, error.type);
  out += R"(,"param":)";
  if (error.param.empty()) {
    out += "null";
  } else {
    append_json_string(out, error.param);
  }
  out += R"(,"code":)";
  append_json_string(out, error.code);
  out += "}}";
  return out;
}

}  // namespace hedge::api
