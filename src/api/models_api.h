// OpenAI's model list. Pure functions to JSON text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hedge::api {

struct Model {
  std::string id;
  std::string owner;       // "hedge", or the upstream's name
  int context_tokens = 0;  // 0: unknown
  int64_t created_s = 0;
};

std::string models_body(const std::vector<Model>& models);  // GET /v1/models
std::string model_body(const Model& model);                 // GET /v1/models/ID

}  // namespace hedge::api
