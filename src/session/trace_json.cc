#include "session/trace_json.h"

#include <nlohmann/json.hpp>

namespace hedge::session {
namespace {

using Json = nlohmann::json;

// Broken UTF-8 becomes U+FFFD instead of an exception.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Result<Json> parse(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return make_error(ErrorCode::kCorrupt, "stored trace: expected JSON");
  return json;
}

// Each reads one field, which may be absent; a field of another type is damage.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object), ok_(object.is_object()) {}

  void read(const char* key, std::string& out) {
    if (const Json* field = find(key))
      check(field->is_string()) ? void(out = field->get<std::string>()) : void();
  }
  void read(const char* key, double& out) {
    const Json* field = find(key);
    if (!field || field->is_null()) return;  // null is how JSON writes what is not a number
    if (check(field->is_number())) out = field->get<double>();
  }
  void read(const char* key, int64_t& out) {
    const Json* field = find(key);
    if (field && check(field->is_number_integer())) out = field->get<int64_t>();
  }
  void read(const char* key, size_t& out) {
    const Json* field = find(key);
    if (field && check(field->is_number_unsigned())) out = field->get<size_t>();
  }
  // Calls `each` with every item of a list; it returns false for an item of the wrong form.
  template <typename Each>
  void read_list(const char* key, Each each) {
    const Json* field = find(key);
    if (!field || !check(field->is_array())) return;
    for (const Json& item : *field) check(each(item));
  }
  // The same with the name and value of every field of an object.
  template <typename Each>
  void read_items(const char* key, Each each) {
    const Json* field = find(key);
    if (!field || !check(field->is_object())) return;
    for (const auto& [name, item] : field->items()) check(each(name, item));
  }
  bool ok() const { return ok_; }

 private:
  const Json* find(const char* key) const {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  bool check(bool condition) {
    ok_ = ok_ && condition;
    return condition;
  }

  const Json& object_;
  bool ok_;
};

Json to_json(const std::vector<chat::Segment>& segments) {
  Json list = Json::array();
  for (const chat::Segment& segment : segments)
    list.push_back({{"backend", segment.backend}, {"bytes", segment.bytes}});
  return list;
}

bool read_segment(const Json& json, std::vector<chat::Segment>& segments) {
  chat::Segment segment;
  Reader reader(json);
  reader.read("backend", segment.backend);
  reader.read("bytes", segment.bytes);
  segments.push_back(std::move(segment));
  return reader.ok();
}

bool read_step(const Json& json, std::vector<chat::Step>& steps) {
  chat::Step step;
  Reader reader(json);
  reader.read("at_ms", step.at_ms);
  reader.read("what", step.what);
  reader.read("detail", step.detail);
  reader.read("value", step.value);
  reader.read("threshold", step.threshold);
  steps.push_back(std::move(step));
  return reader.ok();
}

bool read_fact(const std::string& name, const Json& json, std::vector<chat::Fact>& facts) {
  if (json.is_null()) return true;  // what is not a number
  if (!json.is_string() && !json.is_number()) return false;
  const bool is_text = json.is_string();
  facts.push_back(
      {name, is_text ? json.get<std::string>() : std::string(), is_text ? 0 : json.get<double>(), is_text});
  return true;
}

bool read_text(const Json& json, std::vector<std::string>& texts) {
  if (!json.is_string()) return false;
  texts.push_back(json.get<std::string>());
  return true;
}

}  // namespace

std::string encode_segments(const std::vector<chat::Segment>& segments) { return dump(to_json(segments)); }

Result<std::vector<chat::Segment>> decode_segments(std::string_view text) {
  HEDGE_TRY_SET(const Json json, parse(text));
  std::vector<chat::Segment> segments;
  bool ok = json.is_array();
  if (ok) {
    for (const Json& item : json) ok = read_segment(item, segments) && ok;
  }
  if (!ok) return make_error(ErrorCode::kCorrupt, "stored segments: expected a list of {backend, bytes}");
  return segments;
}

std::string encode_tool_calls(const std::vector<chat::ToolCall>& calls) {
  if (calls.empty()) return {};
  Json list = Json::array();
  for (const chat::ToolCall& call : calls) {
    list.push_back({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
    if (!call.extra.empty()) list.back()["extra"] = call.extra;
  }
  return dump(list);
}

Result<std::vector<chat::ToolCall>> decode_tool_calls(std::string_view text) {
  std::vector<chat::ToolCall> calls;
  if (text.empty()) return calls;
  HEDGE_TRY_SET(const Json json, parse(text));
  bool ok = json.is_array();
  for (const Json& item : json) {
    chat::ToolCall call;
    Reader reader(item);
    reader.read("id", call.id);
    reader.read("name", call.name);
    reader.read("arguments", call.arguments);
    reader.read("extra", call.extra);
    calls.push_back(std::move(call));
    ok = ok && reader.ok();
  }
  if (!ok)
    return make_error(ErrorCode::kCorrupt, "stored tool calls: expected a list of {id, name, arguments}");
  return calls;
}

namespace {

Json to_json(const chat::Trace& trace) {
  Json steps = Json::array();
  for (const chat::Step& step : trace.steps) {
    steps.push_back({{"at_ms", step.at_ms},
                     {"what", step.what},
                     {"detail", step.detail},
                     {"value", step.value},
                     {"threshold", step.threshold}});
  }
  Json facts = Json::object();
  for (const chat::Fact& fact : trace.facts) {
    facts[fact.name] = fact.is_text ? Json(fact.text) : Json(fact.number);
  }
  Json out = {{"id", trace.id},
              {"session", trace.session},
              {"route", trace.route},
              {"reasons", trace.reasons},
              {"segments", to_json(trace.segments)},
              {"steps", std::move(steps)},
              {"upstream_tokens", trace.upstream_tokens},
              {"upstream_nanos", trace.upstream_nanos},
              {"tenant", trace.tenant},
              {"facts", std::move(facts)},
              {"created_ms", trace.created_ms},
              {"total_ms", trace.total_ms}};
  if (!trace.path.empty()) out["path"] = trace.path;
  if (trace.upstream) out["upstream"] = to_json(*trace.upstream);
  return out;
}

bool read_trace(const Json& json, int depth, chat::Trace& trace) {
  Reader reader(json);
  reader.read("id", trace.id);
  reader.read("session", trace.session);
  reader.read("route", trace.route);
  reader.read_list("reasons", [&](const Json& item) { return read_text(item, trace.reasons); });
  reader.read_list("segments", [&](const Json& item) { return read_segment(item, trace.segments); });
  reader.read_list("steps", [&](const Json& item) { return read_step(item, trace.steps); });
  reader.read("upstream_tokens", trace.upstream_tokens);
  reader.read("upstream_nanos", trace.upstream_nanos);
  reader.read("tenant", trace.tenant);
  reader.read_items(
      "facts", [&](const std::string& name, const Json& item) { return read_fact(name, item, trace.facts); });
  reader.read("created_ms", trace.created_ms);
  reader.read("total_ms", trace.total_ms);
  reader.read("path", trace.path);
  if (const auto found = json.is_object() ? json.find("upstream") : json.end();
      json.is_object() && found != json.end() && depth < chat::kTraceDepthMax) {
    auto inner = std::make_shared<chat::Trace>();
    if (!read_trace(*found, depth + 1, *inner)) return false;
    trace.upstream = std::move(inner);
  }
  return reader.ok();
}

}  // namespace

std::string encode_trace(const chat::Trace& trace) { return dump(to_json(trace)); }

Result<chat::Trace> decode_trace(std::string_view text) {
  HEDGE_TRY_SET(const Json json, parse(text));
  chat::Trace trace;
  if (!read_trace(json, 0, trace))
    return make_error(ErrorCode::kCorrupt, "stored trace: a field is of the wrong type");
  return trace;
}

}  // namespace hedge::session
