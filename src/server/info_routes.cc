#include "server/info_routes.h"

#include <fmt/format.h>

#include "api/hedge_api.h"
#include "api/llama_server_api.h"
#include "api/models_api.h"
#include "route/learned.h"
#include "server/guard.h"
#include "server/model_names.h"
#include "server/status.h"

namespace hedge::server {
namespace {

std::vector<api::Model> served_models(const Context& context) {
  std::vector<api::Model> models;
  const chat::BackendInfo& local = context.parts.engine->info();
  models.push_back({local.model, "hedge", local.context_tokens, context.started_s});
  if (context.parts.upstream != nullptr) {
    const chat::BackendInfo& upstream = context.parts.upstream->info();
    if (!upstream.model.empty() && upstream.model != local.model) {
      models.push_back({upstream.model, upstream.name, upstream.context_tokens, context.started_s});
    }
  }
  return models;
}

// Whether the decision is one of the tenant's whose key came, or the key is the device's own.
bool may_see(const Context& context, const HttpRequest& request, const chat::Trace& trace) {
  const std::string_view tenant = tenant_of(request, context.options).value_or("");
  return tenant.empty() || tenant == trace.tenant;
}

}  // namespace

Reply json(std::string body) {
  Reply reply;
  reply.body = std::move(body);
  return reply;
}

Reply unknown_id(std::string_view what) {
  return http_error(404, "not_found", fmt::format("no {} with this id", what));
}

Reply model_not_loaded() { return http_error(503, "unavailable", "the model could not be loaded"); }

Reply get_health(Context& context, const HttpRequest&, std::string_view) {
  switch (context.loading.state()) {
    case Loading::State::kLoading: {
      Reply reply = http_error(503, "loading", "the model is being loaded");
      reply.headers.emplace_back("Retry-After", "1");
      return reply;
    }
    case Loading::State::kFailed:
      return model_not_loaded();
    case Loading::State::kLoaded:
      break;
  }
  const chat::BackendState state = context.parts.engine->state();
  if (state.available) return json(R"({"status":"ok"})");
  return http_error(503, "unavailable", "the local engine is not available: " + state.unavailable_reason);
}

Reply get_metrics(Context& context, const HttpRequest&, std::string_view) {
  Reply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = context.metrics.text(context.parts, context.slots.taken());
  return reply;
}

Reply get_status(Context& context, const HttpRequest& request, std::string_view) {
  return json(status_json(status_of(context, tenant_of(request, context.options).value_or(""))));
}

Reply get_models(Context& context, const HttpRequest&, std::string_view) {
  return json(api::models_body(served_models(context)));
}

Reply get_model(Context& context, const HttpRequest&, std::string_view rest) {
  for (const api::Model& model : served_models(context)) {
    if (model.id == rest) return json(api::model_body(model));
  }
  return error_reply(unknown_model(context.parts));
}

Reply get_decision(Context& context, const HttpRequest& request, std::string_view rest) {
  if (context.parts.store == nullptr || rest.empty() || rest.size() > kIdBytesMax)
    return unknown_id("decision");
  auto trace = context.parts.store->decision(std::string(rest));
  if (!trace.ok()) {
    return trace.error().code == ErrorCode::kNotFound ? unknown_id("decision") : error_reply(trace.error());
  }
  if (!may_see(context, request, *trace)) return unknown_id("decision");
  if (!trace->tenant.empty()) trace->session = session::public_id(trace->session);
  return json(api::decision_body(trace.value()));
}

Reply post_feedback(Context& context, const HttpRequest& request, std::string_view rest) {
  constexpr std::string_view kEnd = "/feedback";
  if (context.parts.store == nullptr || !rest.ends_with(kEnd) || rest.size() > kIdBytesMax + kEnd.size())
    return unknown_id("decision");
  rest.remove_suffix(kEnd.size());
  const auto name = api::parse_feedback(request.body);
  if (!name.ok()) return error_reply(name.error());
  const auto signal = route::parse_signal(*name);
  if (!signal.ok()) return error_reply(signal.error());
  const std::string id(rest);
  const auto trace = context.parts.store->decision(id);
  if (!trace.ok())
    return trace.error().code == ErrorCode::kNotFound ? unknown_id("decision") : error_reply(trace.error());
  if (!may_see(context, request, *trace)) return unknown_id("decision");
  if (context.parts.note_feedback) {
    if (const Status kept = context.parts.note_feedback(id, *signal); !kept.ok())
      return error_reply(kept.error());
  }
  for (const chat::Fact& fact : trace->facts) {
    const std::optional<size_t> kind =
        fact.name == route::kKindFact ? route::kind_named(fact.text) : std::nullopt;
    if (!kind || !context.parts.learn) continue;
    const Status kept = context.parts.learn(id, *kind, route::vote_of(*signal, trace->route == "local"));
    if (!kept.ok()) return error_reply(kept.error());
  }
  return json(api::feedback_body(id, *name));
}

Reply post_tokenize(Context& context, const HttpRequest& request, std::string_view) {
  const auto call = api::parse_tokenize(request.body);
  if (!call.ok()) return error_reply(call.error());
  const text::Tokenizer& tokenizer = context.parts.engine->tokenizer();
  text::EncodeOptions options;
  options.add_special = call->add_special;
  options.parse_special = call->parse_special;
  std::vector<api::Piece> pieces;
  for (const text::TokenId id : tokenizer.encode(call->content, options)) {
    pieces.push_back({id, call->with_pieces ? std::string(tokenizer.token_bytes(id, true)) : std::string()});
  }
  return json(api::tokenize_body(pieces, call->with_pieces));
}

Reply post_detokenize(Context& context, const HttpRequest& request, std::string_view) {
  const auto tokens = api::parse_detokenize(request.body);
  if (!tokens.ok()) return error_reply(tokens.error());
  const text::Tokenizer& tokenizer = context.parts.engine->tokenizer();
  for (size_t i = 0; i < tokens->size(); ++i) {
    if (tokenizer.valid((*tokens)[i])) continue;
    const std::string field = fmt::format("tokens[{}]", i);
    return error_reply(make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: expected a token id below {}, got {}", field, tokenizer.vocab_size(), (*tokens)[i]),
        field));
  }
  return json(api::detokenize_body(tokenizer.decode(tokens.value(), true)));
}

Reply post_apply_template(Context& context, const HttpRequest& request, std::string_view) {
  const auto conversation = api::parse_apply_template(request.body);
  if (!conversation.ok()) return error_reply(conversation.error());
  const auto prompt =
      context.parts.engine->prompt_format().render(conversation->messages, conversation->assistant_prefix);
  if (!prompt.ok()) return error_reply(prompt.error());
  return json(api::apply_template_body(prompt.value()));
}

}  // namespace hedge::server
