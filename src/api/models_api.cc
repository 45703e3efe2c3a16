#include "api/models_api.h"

#include "api/json_reader.h"

namespace hedge::api {
namespace {

OrderedJson model_json(const Model& model) {
  OrderedJson out = {
      {"id", model.id}, {"object", "model"}, {"created", model.created_s}, {"owned_by", model.owner}};
  // The names under which vLLM and llama-server tell it.
  if (model.context_tokens > 0) {
    out["max_model_len"] = model.context_tokens;
    out["meta"] = {{"n_ctx", model.context_tokens}};
  }
  return out;
}

}  // namespace

std::string models_body(const std::vector<Model>& models) {
  OrderedJson data = OrderedJson::array();
  for (const Model& model : models) data.push_back(model_json(model));
  return dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string model_body(const Model& model) { return dump(model_json(model)); }

}  // namespace hedge::api
