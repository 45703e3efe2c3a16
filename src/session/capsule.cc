#include "session/capsule.h"

#include <initializer_list>
#include <nlohmann/json.hpp>

#include "session/history.h"
#include "session/ids.h"

namespace hedge::session {
namespace {

using Json = nlohmann::json;

constexpr int kDepthMax = 16;  // a capsule needs six

// Broken UTF-8 becomes U+FFFD instead of an exception. Members are in the order of their names, so equal
// documents have equal bytes.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string checksum_of(const Json& without_checksum) { return hex_of(sha256(dump(without_checksum))); }

Error wrong(const std::string& field, std::string_view expected) {
  return make_error(ErrorCode::kInvalidArgument, "capsule: " + field + ": expected " + std::string(expected),
                    field);
}

// Reads the fields of one object; the first that is wrong gives the error.
class Fields {
 public:
  Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object.is_object()) fail("", "an object");
  }

  void only(std::initializer_list<std::string_view> known) {
    if (!object_.is_object()) return;
    for (const auto& [name, value] : object_.items()) {
      bool found = false;
      for (const std::string_view one : known) found = found || name == one;
      // A name from outside stands in no message.
      if (!found) fail("", "only fields that this version knows");
    }
  }
  void text(const char* name, std::string& out, bool required = false) {
    if (const Json* field = find(name, required); field != nullptr) {
      field->is_string() ? void(out = field->get<std::string>()) : fail(name, "a string");
    }
  }
  void count(const char* name, int64_t& out, bool required = false) {
    if (const Json* field = find(name, required); field != nullptr) {
      const bool fits = field->is_number_unsigned() && field->get<uint64_t>() < uint64_t{1} << 62;
      fits ? void(out = field->get<int64_t>()) : fail(name, "a whole number from 0 on");
    }
  }
  void flag(const char* name, bool& out, bool required = false) {
    if (const Json* field = find(name, required); field != nullptr) {
      field->is_boolean() ? void(out = field->get<bool>()) : fail(name, "true or false");
    }
  }
  const Json* list(const char* name, size_t count_max, bool required = false) {
    const Json* field = find(name, required);
    if (field == nullptr) return nullptr;
    if (field->is_array() && field->size() <= count_max) return field;
    fail(name, "a list of at most " + std::to_string(count_max));
    return nullptr;
  }
  const Json* find(const char* name, bool required) {
    const auto found = object_.is_object() ? object_.find(name) : object_.end();
    if (object_.is_object() && found != object_.end()) return &*found;
    if (required) fail(name, "it to be there");
    return nullptr;
  }
  void fail(const std::string& name, std::string_view expected) {
    if (!error_) error_ = wrong(name.empty() ? path_ : path_ + "." + name, expected);
  }
  Status status() const { return error_ ? Status(*error_) : Status(); }

 private:
  const Json& object_;
  const std::string path_;
  std::optional<Error> error_;
};

Json turn_json(const Turn& turn) {
  Json out = {{"role", chat::to_string(turn.message.role)},
              {"content", turn.message.content},
              {"created_ms", turn.created_ms}};
  if (!turn.message.name.empty()) out["name"] = turn.message.name;
  if (!turn.message.tool_call_id.empty()) out["tool_call_id"] = turn.message.tool_call_id;
  for (const chat::ToolCall& call : turn.message.tool_calls) {
    Json one = {{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}};
    if (!call.extra.empty()) one["provider_state"] = call.extra;
    out["tool_calls"].push_back(std::move(one));
  }
  for (const chat::Segment& segment : turn.segments)
    out["segments"].push_back({{"backend", segment.backend}, {"bytes", segment.bytes}});
  if (!turn.writer.empty()) out["writer"] = turn.writer;
  if (!turn.decision_id.empty()) out["decision"] = turn.decision_id;
  return out;
}

Result<Turn> read_turn(const Json& json, const std::string& path) {
  Fields fields(json, path);
  fields.only({"role", "content", "created_ms", "name", "tool_call_id", "tool_calls", "segments", "writer",
               "decision"});
  Turn turn;
  std::string role;
  fields.text("role", role, true);
  bool known = false;
  for (const chat::Role one :
       {chat::Role::kSystem, chat::Role::kUser, chat::Role::kAssistant, chat::Role::kTool}) {
    if (role != chat::to_string(one)) continue;
    turn.message.role = one;
    known = true;
  }
  if (!known) fields.fail("role", "system, user, assistant or tool");
  fields.text("content", turn.message.content, true);
  fields.text("name", turn.message.name);
  fields.text("tool_call_id", turn.message.tool_call_id);
  fields.count("created_ms", turn.created_ms);
  fields.text("writer", turn.writer);
  fields.text("decision", turn.decision_id);
  if (!turn.decision_id.empty() && !check_session_id(turn.decision_id).ok())
    fields.fail("decision", "an id of letters, digits, '.', '_', ':' and '-'");
  if (const Json* calls = fields.list("tool_calls", 128)) {
    for (const Json& item : *calls) {
      Fields call_fields(item, path + ".tool_calls[]");
      call_fields.only({"id", "name", "arguments", "provider_state"});
      chat::ToolCall call;
      call_fields.text("id", call.id, true);
      call_fields.text("name", call.name, true);
      call_fields.text("arguments", call.arguments, true);
      call_fields.text("provider_state", call.extra);
      HEDGE_TRY(call_fields.status());
      turn.message.tool_calls.push_back(std::move(call));
    }
  }
  size_t bytes = 0;
  if (const Json* segments = fields.list("segments", 4096)) {
    for (const Json& item : *segments) {
      Fields segment_fields(item, path + ".segments[]");
      segment_fields.only({"backend", "bytes"});
      std::string backend;
      int64_t count = 0;
      segment_fields.text("backend", backend, true);
      segment_fields.count("bytes", count, true);
      HEDGE_TRY(segment_fields.status());
      chat::append_segment(turn.segments, backend, static_cast<size_t>(count));
      bytes += static_cast<size_t>(count);
    }
    if (bytes != turn.message.content.size()) fields.fail("segments", "bytes that add up to the content's");
  }
  HEDGE_TRY(fields.status());
  return turn;
}

// A parser that calls itself would end the process on a document that is deep enough.
bool too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDepthMax) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

// Whose tool loop or state the conversation ends in: for readers, and for a Hedge that has no such backend.
Json bound_json(const Session& session) {
  std::vector<chat::Message> messages;
  for (const Turn& turn : session.turns) messages.push_back(turn.message);
  const Binding binding = binding_of(messages);
  if (binding.message == nullptr) return nullptr;
  const Turn& turn = session.turns[static_cast<size_t>(binding.message - messages.data())];
  if (turn.writer.empty()) return nullptr;
  return {{"backend", turn.writer}, {"by", binding.by_state ? "provider_state" : "tool_loop"}};
}

}  // namespace

std::string encode_capsule(const Capsule& capsule) {
  const Session& session = capsule.session;
  Json turns = Json::array();
  for (const Turn& turn : session.turns) turns.push_back(turn_json(turn));
  Json out = {
      {"capsule", kCapsuleVersion},
      {"id", session.head.id},
      {"tenant", session.head.tenant},
      {"private", session.head.is_private},
      {"created_ms", session.head.created_ms},
      {"model", session.model},
      {"tags", session.tags},
      {"used", {{"upstream_tokens", session.head.used.tokens}, {"upstream_nanos", session.head.used.nanos}}},
      {"bound", bound_json(session)},
      {"turns", std::move(turns)}};
  if (capsule.kv) {
    out["kv"] = {{"model", capsule.kv->model},
                 {"fingerprint", capsule.kv->fingerprint},
                 {"key", capsule.kv->key},
                 {"tokens", capsule.kv->tokens}};
  }
  out["sha256"] = checksum_of(out);
  return dump(out) + "\n";
}

Result<Capsule> decode_capsule(std::string_view text) {
  if (text.size() > kCapsuleBytesMax) {
    return make_error(ErrorCode::kInvalidArgument, "capsule: expected at most " +
                                                       std::to_string(kCapsuleBytesMax) + " bytes, got " +
                                                       std::to_string(text.size()));
  }
  Json json = too_deep(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object())
    return make_error(ErrorCode::kInvalidArgument, "capsule: expected one JSON object");
  int64_t version = 0;
  Fields fields(json, "capsule");
  fields.count("capsule", version, true);
  HEDGE_TRY(fields.status());
  if (version != kCapsuleVersion) {
    return make_error(ErrorCode::kUnsupported, "capsule: expected version " +
                                                   std::to_string(kCapsuleVersion) + ", got " +
                                                   std::to_string(version) + "; a later Hedge wrote it");
  }
  std::string said;
  fields.text("sha256", said, true);
  HEDGE_TRY(fields.status());
  json.erase("sha256");
  if (said != checksum_of(json)) {
    return make_error(ErrorCode::kCorrupt,
                      "capsule: the checksum in sha256 is not this document's: it was altered or cut",
                      "sha256");
  }

  fields.only(
      {"capsule", "id", "tenant", "private", "created_ms", "model", "tags", "used", "bound", "turns", "kv"});
  Capsule out;
  SessionHead& head = out.session.head;
  fields.text("id", head.id, true);
  if (!check_session_id(head.id).ok()) fields.fail("id", "a session's id");
  fields.text("tenant", head.tenant, true);
  fields.flag("private", head.is_private, true);
  fields.count("created_ms", head.created_ms);
  fields.text("model", out.session.model);
  fields.text("tags", out.session.tags);
  if (const Json* used = fields.find("used", true)) {
    Fields inner(*used, "used");
    inner.only({"upstream_tokens", "upstream_nanos"});
    inner.count("upstream_tokens", head.used.tokens);
    inner.count("upstream_nanos", head.used.nanos);
    HEDGE_TRY(inner.status());
  }
  if (const Json* kv = fields.find("kv", false)) {
    Fields inner(*kv, "kv");
    inner.only({"model", "fingerprint", "key", "tokens"});
    out.kv.emplace();
    inner.text("model", out.kv->model);
    inner.text("fingerprint", out.kv->fingerprint);
    inner.text("key", out.kv->key);
    inner.count("tokens", out.kv->tokens);
    HEDGE_TRY(inner.status());
  }
  const Json* turns = fields.list("turns", kCapsuleTurnsMax, true);
  HEDGE_TRY(fields.status());
  for (size_t i = 0; i < turns->size(); ++i) {
    HEDGE_TRY_SET(Turn turn, read_turn((*turns)[i], "turns[" + std::to_string(i) + "]"));
    out.session.turns.push_back(std::move(turn));
  }
  head.turns = static_cast<int64_t>(out.session.turns.size());
  // It follows from the turns; a capsule that says otherwise is not to be trusted with who may go on.
  if (const auto bound = json.find("bound"); bound == json.end() || *bound != bound_json(out.session))
    return wrong("bound", "the backend that the turns show");
  return out;
}

std::string transcript_hash(std::span<const chat::Message> messages) {
  std::string hash;
  for (const chat::Message& message : messages) hash = extend_history(hash, message);
  return hex_of(hash);
}

}  // namespace hedge::session
