#include "privacy/outbound_gate.h"

#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include "privacy/request_texts.h"

namespace hedge::privacy {
namespace {

// Every value is looked for in every text: a GiB takes a few tenths of a second.
constexpr size_t kSearchBytesMax = size_t{1} << 30;

Passage stays(Outcome outcome, std::string detail) {
  Passage out;
  out.finding = {outcome, std::move(detail)};
  return out;
}

// "EMAIL_ADDRESS 1, PERSON 2": how many placeholders of each type stand in the request.
std::string counts_of(const Masker& masker) {
  std::map<std::string_view, int> counts;
  for (const std::string& placeholder : masker.used()) ++counts[type_of(placeholder)];
  std::string out;
  for (const auto& [type, count] : counts)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", type, count);
  return out;
}

bool begins_with(const std::vector<chat::Message>& messages, const std::vector<chat::Message>& beginning) {
  return beginning.size() <= messages.size() &&
         std::equal(beginning.begin(), beginning.end(), messages.begin());
}

// The values of a request's texts, in the order of the conversation, until so many bytes are read. Returns
// how many were.
size_t learn_texts(const chat::Request& request, const Rules& rules, size_t bytes_max, Masker& masker) {
  size_t bytes = 0;
  const auto learn = [&](Field field, std::string_view text) {
    if (text.size() > bytes_max - bytes) bytes_max = bytes;  // here it ends
    if (bytes == bytes_max) return;
    bytes += text.size();
    masker.set_types(rules.masked(field));
    is_json_text(text) ? masker.learn_json(text) : masker.learn(text);
  };
  each_text(request, learn, [&](std::string_view text, Rigid kind) {
    // So that the second lock knows what escapes hide.
    if (kind == Rigid::kSaid) learn(Field::kTool, text);
  });
  return bytes;
}

// Whether a placeholder took the place of what was no string in JSON: the text would be none any more.
bool placeholder_outside_strings(std::string_view json, const PlaceholderTable& table) {
  bool inside = false;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') inside = !inside;
    if (inside && json[i] == '\\') ++i;
    if (!inside && json[i] == '<') {
      const size_t end = json.find('>', i);
      if (end != std::string_view::npos && table.value(json.substr(i, end + 1 - i)) != nullptr) return true;
    }
  }
  return false;
}

// Whether `stop` may begin, end or stand inside of a placeholder, without being it.
bool meets_placeholder(std::string_view stop, const PlaceholderTable& table) {
  return std::any_of(table.entries().begin(), table.entries().end(), [&](const auto& entry) {
    const std::string_view placeholder = entry.placeholder;
    if (stop == placeholder) return false;
    if (placeholder.find(stop) != std::string_view::npos) return true;
    for (size_t n = 1; n < std::min(stop.size(), placeholder.size()); ++n) {
      if (stop.ends_with(placeholder.substr(0, n)) ||
          stop.starts_with(placeholder.substr(placeholder.size() - n)))
        return true;
    }
    return false;
  });
}

}  // namespace

OutboundGate::OutboundGate(Policy policy, const Tenants& tenants, ScanHooks hooks)
    : policy_(std::move(policy)), hooks_(hooks), device_(policy_, nullptr) {
  for (const auto& [name, classes] : tenants) tenants_.emplace(name, Rules(policy_, &classes));
}

const Rules& OutboundGate::rules_of(std::string_view tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? device_ : found->second;
}

Finding OutboundGate::judge(const chat::Request& request) const {
  return judge_request(request, rules_of(request.routing.tenant), policy_, hooks_);
}

Judged OutboundGate::judge(std::shared_ptr<const chat::Request> request) const {
  Finding finding = judge(*request);
  return {std::move(request), std::move(finding)};
}

Passage OutboundGate::pass(const Judged& judged, const Leg& leg) const try {
  const chat::Request& asked = judged.request();
  const Rules& rules = rules_of(asked.routing.tenant);
  if (asked.routing.private_session && policy_.private_sessions_stay_local)
    return stays(Outcome::kFound, "private session");
  Finding finding = judged.finding();
  if (policy_.personal_data_stays_local && leg.prefix != asked.assistant_prefix) {
    // The local model's text is new, and goes on from what was said.
    chat::Request fresh;
    fresh.assistant_prefix = leg.prefix;
    const Finding said = judge_request(fresh, rules, policy_, hooks_);
    if (said.outcome != Outcome::kClean && finding.outcome != Outcome::kFound &&
        finding.outcome != Outcome::kUnjudged)
      finding = said;
  }
  if (policy_.personal_data_stays_local &&
      (finding.outcome == Outcome::kFound || finding.outcome == Outcome::kUnjudged))
    return stays(finding.outcome, finding.detail);

  chat::Request request = asked;
  request.assistant_prefix = leg.prefix;
  request.assistant_prefix_tokens.assign(leg.prefix_tokens.begin(), leg.prefix_tokens.end());
  request.max_tokens = leg.max_tokens;
  request.want_confidence = request.heal_prefix = false;  // an upstream has neither
  request.states_every = 0;
  request.routing.escalate_after.reset();
  request.routing.history = nullptr;  // nobody beyond reads it
  if (policy_.personal_data_stays_local && finding.outcome == Outcome::kMasked)
    return mask(std::move(request), asked.routing.history, rules);
  Passage out;
  out.outbound.reset(new chat::Outbound(std::move(request)));
  return out;
} catch (const std::exception&) {  // memory, above all
  return stays(Outcome::kUnjudged, "the scan failed");
}

Passage OutboundGate::pass(const chat::Request& request) const {
  return pass(judge(std::make_shared<const chat::Request>(request)),
              {request.assistant_prefix, request.assistant_prefix_tokens, request.max_tokens});
}

// Numbers the values in the order of the conversation, so that one that goes on has them masked as before; of
// a session's, whose client may have dropped its beginning, in the order of all that was said in it.
Passage OutboundGate::mask(chat::Request request, const History& history, const Rules& rules) const {
  thread_local Scanner scanner;
  auto table = std::make_shared<PlaceholderTable>();
  Masker masker(scanner, *table);
  if (history) {
    auto said = history();
    if (!said.ok()) return stays(Outcome::kUnjudged, "the session's history cannot be read");
    chat::Request earlier;
    earlier.messages = std::move(said).value();
    if (!begins_with(request.messages, earlier.messages))
      learn_texts(earlier, rules, static_cast<size_t>(policy_.scan_bytes_max), masker);
  }
  const size_t bytes = learn_texts(request, rules, SIZE_MAX, masker);
  if (table->entries().size() > kSearchBytesMax / std::max<size_t>(bytes, 1))
    return stays(Outcome::kUnjudged,
                 fmt::format("expected fewer values in so long a text, got {}", table->entries().size()));
  if (ends_inside_value(request.assistant_prefix, *table))
    return stays(Outcome::kUnjudged, "the answer so far ends inside of a value");
  const std::string prefix = request.assistant_prefix;
  each_text(
      request,
      [&](Field field, std::string& text) {
        masker.set_types(rules.masked(field));
        text = is_json_text(text) ? masker.mask_json(text) : masker.mask(text);
      },
      [](std::string_view, Rigid) {});
  for (const chat::Message& message : request.messages) {
    for (const chat::ToolCall& call : message.tool_calls) {
      if (placeholder_outside_strings(call.arguments, *table))
        return stays(Outcome::kFound, "a number in a tool's arguments, where no placeholder can stand");
    }
  }
  // The endpoint would find these in placeholders; the router looks for them in what the client reads.
  std::erase_if(request.stop, [&](const std::string& stop) { return meets_placeholder(stop, *table); });
  if (request.assistant_prefix != prefix) request.assistant_prefix_tokens.clear();
  if (const Finding left = judge_masked(request, *table, rules); left.outcome != Outcome::kClean)
    return stays(left.outcome, "after masking: " + left.detail);
  Passage out;
  out.finding = {Outcome::kMasked, counts_of(masker)};
  out.values = static_cast<int>(masker.used().size());
  out.table = std::move(table);
  out.outbound.reset(new chat::Outbound(std::move(request)));
  return out;
}

// The second lock: no value of the table may stand in a masked text, and no detector may find anything. The
// tagger is not asked again: it marks placeholders, too.
Finding OutboundGate::judge_masked(const chat::Request& masked, const PlaceholderTable& table,
                                   const Rules& rules) const {
  bool held = false;
  const auto look = [&](std::string_view text) {
    held = held || holds_value(text, table);
    if (held || !is_json_text(text)) return;
    JsonWork work;
    each_member(text, work, [&](const JsonPiece&, std::string_view said, size_t label) {
      held = held || holds_value(said.substr(label), table);
    });
  };
  each_text(
      masked, [&](Field, const std::string& text) { look(text); },
      [&](std::string_view text, Rigid) { look(text); });
  if (held) return {Outcome::kFound, "a value"};
  return judge_request(masked, rules.strict(), policy_, hooks_);
}

}  // namespace hedge::privacy
