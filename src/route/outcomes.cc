#include "route/outcomes.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/lines.h"

namespace hedge::route {
namespace {

using nlohmann::json;

Error wrong(std::string_view where, size_t line, std::string_view detail) {
  return make_error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", where, line, detail));
}

Result<json> parse_object(std::string_view line, std::string_view where, size_t number) {
  json object = json::parse(line, nullptr, false);
  if (object.is_discarded() || !object.is_object())
    return wrong(where, number, "expected a JSON object on one line, got something else");
  return object;
}

Result<std::string> text_field(const json& object, const char* key, std::string_view where, size_t number) {
  const auto found = object.find(key);
  if (found == object.end())
    return wrong(where, number, fmt::format("expected a field \"{}\", got none", key));
  if (!found->is_string())
    return wrong(where, number, fmt::format("\"{}\": expected a text, got {}", key, found->type_name()));
  return found->get<std::string>();
}

Result<double> share_field(const json& object, const char* key, std::string_view where, size_t number) {
  const auto found = object.find(key);
  if (found == object.end())
    return wrong(where, number, fmt::format("expected a field \"{}\", got none", key));
  if (found->is_boolean()) return found->get<bool>() ? 1.0 : 0.0;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!(value >= 0 && value <= 1))
    return wrong(where, number,
                 fmt::format("\"{}\": expected a number, 0 to 1, got {}", key,
                             found->is_number() ? fmt::format("{}", value) : found->type_name()));
  return value;
}

// Calls read(object, line number) for each line that is not blank.
template <typename Read>
Status each_object(std::string_view text, std::string_view where, Read&& read) {
  size_t count = 0;
  return each_line(text, [&](std::string_view line, size_t number) -> Status {
    if (is_blank(line)) return {};
    if (++count > kOutcomesMax)
      return wrong(where, number, fmt::format("expected at most {} lines", kOutcomesMax));
    const auto object = parse_object(line, where, number);
    if (!object.ok()) return object.error();
    return read(*object, number);
  });
}

}  // namespace

Result<std::vector<Outcome>> parse_outcomes(std::string_view text, std::string_view where) {
  std::vector<Outcome> outcomes;
  const Status read = each_object(text, where, [&](const json& object, size_t number) -> Status {
    auto prompt = text_field(object, "prompt", where, number);
    if (!prompt.ok()) return prompt.error();
    const auto weak = share_field(object, "weak", where, number);
    if (!weak.ok()) return weak.error();
    const auto strong = share_field(object, "strong", where, number);
    if (!strong.ok()) return strong.error();
    std::string group;
    if (const auto found = object.find("group"); found != object.end() && !found->is_null())
      group = found->is_string() ? found->get<std::string>() : found->dump();
    outcomes.push_back({std::move(prompt).value(), *weak, *strong, std::move(group)});
    return {};
  });
  if (!read.ok()) return read.error();
  return outcomes;
}

Result<std::string> parse_prompt(std::string_view line, std::string_view where, size_t line_number) {
  const auto object = parse_object(line, where, line_number);
  if (!object.ok()) return object.error();
  return text_field(*object, "prompt", where, line_number);
}

Result<std::vector<TopicExample>> parse_topics(std::string_view text, std::string_view where) {
  std::vector<TopicExample> examples;
  const Status read = each_object(text, where, [&](const json& object, size_t number) -> Status {
    auto prompt = text_field(object, "prompt", where, number);
    if (!prompt.ok()) return prompt.error();
    auto topic = text_field(object, "topic", where, number);
    if (!topic.ok()) return topic.error();
    examples.push_back({std::move(prompt).value(), std::move(topic).value()});
    return {};
  });
  if (!read.ok()) return read.error();
  return examples;
}

}  // namespace hedge::route
