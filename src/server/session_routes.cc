#include "server/session_routes.h"

#include <fmt/format.h>

#include <optional>
#include <string>

#include "api/hedge_api.h"
#include "server/guard.h"
#include "server/info_routes.h"
#include "session/capsule.h"

namespace hedge::server {
namespace {

constexpr std::string_view kCapsuleEnd = "/capsule";

std::string tenant_name(const Context& context, const HttpRequest& request) {
  return std::string(tenant_of(request, context.options).value_or(""));
}

// The session, if the key that came may see it.
Result<session::SessionHead> visible_head(const Context& context, const HttpRequest& request,
                                          std::string_view id) {
  const Error unknown = make_error(ErrorCode::kNotFound, "no session with this id");
  if (context.parts.store == nullptr || id.empty() || id.size() > kIdBytesMax) return unknown;
  const std::string tenant = tenant_name(context, request);
  HEDGE_TRY_SET(const std::string key, context.parts.store->key_of(tenant, std::string(id)));
  auto head = context.parts.store->head(key);
  if (head.ok() && !tenant.empty() && head->tenant != tenant) return unknown;
  return head;
}

Reply refusal(const Error& error) {
  return error.code == ErrorCode::kNotFound ? unknown_id("session") : error_reply(error);
}

// Where the engine has the conversation; none where it cannot tell.
std::optional<session::KvReference> kv_reference(const Context& context, const session::Session& session) {
  std::vector<chat::Message> messages;
  for (const session::Turn& turn : session.turns) messages.push_back(turn.message);
  if (messages.empty()) return std::nullopt;
  const engine::Engine& engine = *context.parts.engine;
  const auto tokens = engine.prompt_format().encode(engine.tokenizer(), messages, "");
  if (!tokens.ok()) return std::nullopt;  // the template takes no such conversation
  const auto name = engine.kv_name(*tokens);
  if (!name) return std::nullopt;
  return session::KvReference{engine.info().model, name->fingerprint, name->key,
                              static_cast<int64_t>(name->tokens)};
}

Reply get_capsule(Context& context, const std::string& id) {
  auto loaded = context.parts.store->load(id);
  if (!loaded.ok()) return refusal(loaded.error());
  session::Capsule capsule;
  capsule.session = std::move(loaded).value();
  capsule.session.head.id = session::public_id(capsule.session.head.id);
  capsule.kv = kv_reference(context, capsule.session);
  return json(session::encode_capsule(capsule));
}

}  // namespace

Reply list_sessions(Context& context, const HttpRequest& request, std::string_view) {
  std::vector<api::SessionEntry> out;
  if (context.parts.store != nullptr) {
    const std::string tenant = tenant_name(context, request);
    const auto heads = context.parts.store->list(tenant.empty() ? std::nullopt : std::optional(tenant));
    if (!heads.ok()) return error_reply(heads.error());
    for (const session::SessionHead& head : *heads) {
      // The device's own key names a session by its key, since ids are each tenant's own.
      out.push_back({tenant.empty() ? head.id : std::string(session::public_id(head.id)), head.tenant,
                     head.is_private, head.created_ms, head.turns, head.used.tokens, head.used.nanos});
    }
  }
  return json(api::sessions_body(out));
}

Reply get_session(Context& context, const HttpRequest& request, std::string_view rest) {
  const bool wants_capsule = rest.ends_with(kCapsuleEnd);
  if (wants_capsule) rest.remove_suffix(kCapsuleEnd.size());
  const auto head = visible_head(context, request, rest);
  if (!head.ok()) return refusal(head.error());
  if (wants_capsule) return get_capsule(context, head->id);
  const auto turns = context.parts.store->turns(head->id);
  if (!turns.ok()) return refusal(turns.error());
  std::vector<api::SessionTurn> out;
  for (const session::Turn& turn : *turns) {
    out.push_back({turn.message, turn.segments, turn.decision_id, turn.created_ms});
  }
  return json(api::session_body(std::string(session::public_id(head->id)), head->is_private, out));
}

Reply put_session(Context& context, const HttpRequest& request, std::string_view rest) {
  if (context.parts.store == nullptr || !rest.ends_with(kCapsuleEnd)) return unknown_id("session");
  rest.remove_suffix(kCapsuleEnd.size());
  auto capsule = session::decode_capsule(request.body);
  if (!capsule.ok()) {
    // A damaged document is the client's, not this server's.
    Error error = std::move(capsule).error();
    if (error.code == ErrorCode::kCorrupt) error.code = ErrorCode::kInvalidArgument;
    return error_reply(error);
  }
  session::SessionHead& head = capsule->session.head;
  if (head.id != rest) {
    return error_reply(make_error(ErrorCode::kInvalidArgument,
                                  "capsule: id: expected the session of the path, got another", "id"));
  }
  // It becomes the session of whoever brings it; the device's own key may bring others'.
  if (const std::string tenant = tenant_name(context, request); !tenant.empty()) head.tenant = tenant;
  const auto adopted = context.parts.store->adopt(capsule->session);
  if (!adopted.ok()) return error_reply(adopted.error());
  return json(fmt::format(R"({{"id":"{}","turns":{},"new":{}}})", head.id, head.turns, *adopted));
}

Reply delete_session(Context& context, const HttpRequest& request, std::string_view rest) {
  const auto head = visible_head(context, request, rest);
  if (!head.ok()) return refusal(head.error());
  const Status removed = context.parts.store->remove(head->id);
  if (!removed.ok()) return refusal(removed.error());
  return json(fmt::format(R"({{"id":"{}","deleted":true}})", session::public_id(head->id)));
}

}  // namespace hedge::server
