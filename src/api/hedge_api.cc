#include "api/hedge_api.h"

#include "api/hedge_json.h"
#include "api/openai_tools.h"

namespace hedge::api {
namespace {

OrderedJson segments_json(const std::vector<chat::Segment>& segments) {
  OrderedJson out = OrderedJson::array();
  for (const chat::Segment& segment : segments) {
    out.push_back({{"backend", segment.backend}, {"bytes", segment.bytes}});
  }
  return out;
}

}  // namespace

OrderedJson hedge_object(const chat::Trace& trace) {
  OrderedJson out = {{"id", trace.id},
                     {"session", trace.session},
                     {"route", trace.route},
                     {"reasons", trace.reasons},
                     {"segments", segments_json(trace.segments)}};
  if (!trace.path.empty()) out["path"] = trace.path;
  if (trace.upstream) {
    out["upstream"] = hedge_object(*trace.upstream);
    out["upstream"].erase("session");  // its own affair
  }
  return out;
}

std::string decision_body(const chat::Trace& trace) {
  OrderedJson out = hedge_object(trace);
  OrderedJson steps = OrderedJson::array();
  for (const chat::Step& step : trace.steps) {
    steps.push_back({{"at_ms", step.at_ms},
                     {"what", step.what},
                     {"detail", step.detail},
                     {"value", step.value},
                     {"threshold", step.threshold}});
  }
  out["steps"] = std::move(steps);
  out["upstream_tokens"] = trace.upstream_tokens;
  out["upstream_cost"] = static_cast<double>(trace.upstream_nanos) * 1e-9;
  if (!trace.tenant.empty()) out["tenant"] = trace.tenant;
  OrderedJson facts = OrderedJson::object();
  for (const chat::Fact& fact : trace.facts) {
    facts[fact.name] = fact.is_text ? OrderedJson(fact.text) : OrderedJson(fact.number);
  }
  out["facts"] = std::move(facts);
  out["created_ms"] = trace.created_ms;
  out["total_ms"] = trace.total_ms;
  return dump(out);
}

Result<std::string> parse_feedback(std::string_view body) {
  HEDGE_TRY_SET(const Json object, parse_object(body));
  Reader reader(object);
  reader.only({"signal"});
  std::string signal;
  if (!reader.string("signal", signal) && reader.ok()) {
    return make_error(ErrorCode::kInvalidArgument, "signal: expected a string, got nothing", "signal");
  }
  HEDGE_TRY(reader.status());
  return signal;
}

std::string feedback_body(const std::string& decision, const std::string& signal) {
  return dump({{"decision", decision}, {"signal", signal}});
}

std::string sessions_body(const std::vector<SessionEntry>& sessions) {
  OrderedJson list = OrderedJson::array();
  for (const SessionEntry& session : sessions) {
    list.push_back({{"id", session.id},
                    {"tenant", session.tenant},
                    {"private", session.is_private},
                    {"created_ms", session.created_ms},
                    {"turns", session.turns},
                    {"upstream_tokens", session.upstream_tokens},
                    {"upstream_cost", static_cast<double>(session.upstream_nanos) * 1e-9}});
  }
  return dump({{"sessions", std::move(list)}});
}

std::string session_body(const std::string& id, bool is_private, const std::vector<SessionTurn>& turns) {
  OrderedJson list = OrderedJson::array();
  for (const SessionTurn& turn : turns) {
    OrderedJson entry = {{"role", chat::to_string(turn.message.role)}, {"content", turn.message.content}};
    if (!turn.message.name.empty()) entry["name"] = turn.message.name;
    if (!turn.message.tool_calls.empty())
      entry["tool_calls"] = tool_calls_json(turn.message.tool_calls, false);
    if (!turn.message.tool_call_id.empty()) entry["tool_call_id"] = turn.message.tool_call_id;
    if (!turn.segments.empty()) entry["segments"] = segments_json(turn.segments);
    if (!turn.decision.empty()) entry["decision"] = turn.decision;
    entry["created_ms"] = turn.created_ms;
    list.push_back(std::move(entry));
  }
  return dump({{"id", id}, {"private", is_private}, {"turns", std::move(list)}});
}

}  // namespace hedge::api
