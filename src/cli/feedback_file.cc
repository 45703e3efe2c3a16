#include "cli/feedback_file.h"

#include <fmt/format.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/lines.h"
#include "cli/terminal.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

using Json = nlohmann::json;

constexpr const char* kOlder = ".1";

Result<bool> correct_of(const Json& object) {
  const auto wrong = [](std::string detail) {
    return make_error(ErrorCode::kInvalidArgument, std::move(detail));
  };
  if (const auto signal = object.find("signal"); signal != object.end()) {
    if (!signal->is_string()) return wrong("\"signal\": expected a text");
    HEDGE_TRY_SET(const route::Signal parsed, route::parse_signal(signal->get<std::string>()));
    return route::says_right(parsed);
  }
  const auto correct = object.find("correct");
  if (correct == object.end()) return wrong("expected a field \"correct\" or \"signal\", got none");
  if (correct->is_boolean()) return correct->get<bool>();
  if (correct->is_number() && (*correct == 0 || *correct == 1)) return *correct == 1;
  return wrong("\"correct\": expected true, false, 1 or 0");
}

// Whether the last line of `text` about the decision has this signal.
bool says(std::string_view text, const std::string& decision, route::Signal signal) {
  const size_t at =
      text.rfind("\"id\":" + Json(decision).dump(-1, ' ', false, Json::error_handler_t::replace));
  if (at == text.npos) return false;
  const size_t begin = text.rfind('\n', at) + 1;  // 0 where there is none
  const Json line = Json::parse(text.substr(begin, text.find('\n', at) - begin), nullptr, false);
  const auto said = line.is_object() ? line.find("signal") : line.end();
  return said != line.end() && said->is_string() &&
         said->get_ref<const std::string&>() == route::name_of(signal);
}

}  // namespace

Status append_feedback(const std::string& path, const std::string& decision, route::Signal signal) {
  static std::mutex one_by_one;  // what is looked up is appended before another looks
  const std::lock_guard lock(one_by_one);
  const auto entry = os::file_entry(path);
  if (entry.ok() && entry->size_bytes >= kFeedbackBytesMax) {
    HEDGE_TRY(os::rename_file(path, path + kOlder));
  } else if (entry.ok()) {
    HEDGE_TRY_SET(const std::string text, os::read_file(path, 2 * kFeedbackBytesMax));
    if (says(text, decision, signal)) return {};
  }
  const Json line = {{"id", decision}, {"signal", route::name_of(signal)}, {"at_ms", unix_time_ms()}};
  return os::append_file(path, line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", 0600);
}

Status parse_labels(std::string_view text, std::string_view where, Labels& labels, int64_t& left_out) {
  return each_line(text, [&](std::string_view line, size_t number) -> Status {
    if (is_blank(line)) return {};
    const auto wrong = [&](std::string_view detail) {
      return make_error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", where, number, detail));
    };
    const Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) return wrong("expected a JSON object on one line");
    const auto id = object.find("id");
    if (id == object.end() || !id->is_string())
      return wrong("expected a field \"id\" with the id of a decision");
    const auto correct = correct_of(object);
    if (!correct.ok()) return wrong(correct.error().detail);
    if (!labels.set(id->get_ref<const std::string&>(), *correct)) ++left_out;
    return {};
  });
}

Status read_feedback(const std::string& path, Labels& labels, int64_t& left_out) {
  for (const std::string& file : {path + kOlder, path}) {
    if (!os::file_exists(file)) continue;
    HEDGE_TRY_SET(const std::string text, os::read_file(file, 2 * kFeedbackBytesMax));
    // The last line may be half written by a process that was killed.
    const std::string_view whole = std::string_view(text).substr(0, text.rfind('\n') + 1);
    HEDGE_TRY(parse_labels(whole, file, labels, left_out));
  }
  return {};
}

}  // namespace hedge::cli
