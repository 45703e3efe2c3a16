#include "api/hedge_api.h"

#include "api/hedge_json.h"

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
  out["created_ms"] = trace.created_ms;
  out["total_ms"] = trace.total_ms;
  return dump(out);
}

std::string session_body(const std::string& id, bool is_private, const std::vector<SessionTurn>& turns) {
  OrderedJson list = OrderedJson::array();
  for (const SessionTurn& turn : turns) {
    OrderedJson entry = {{"role", chat::to_string(turn.message.role)}, {"content", turn.message.content}};
    if (!turn.message.name.empty()) entry["name"] = turn.message.name;
    if (!turn.segments.empty()) entry["segments"] = segments_json(turn.segments);
    if (!turn.decision.empty()) entry["decision"] = turn.decision;
    entry["created_ms"] = turn.created_ms;
    list.push_back(std::move(entry));
  }
  return dump({{"id", id}, {"private", is_private}, {"turns", std::move(list)}});
}

}  // namespace hedge::api
