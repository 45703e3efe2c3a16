#define PCRE2_CODE_UNIT_WIDTH 8
#include "cli/probe_items.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <unordered_map>

#include "base/lines.h"
#include "base/utf8.h"
#include "cli/terminal.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

using nlohmann::json;

constexpr size_t kLineBytesMax = 1u << 20;
constexpr size_t kMessagesMax = 1000;
// An expression over 24 tokens that needs more steps than this is a trap.
constexpr uint32_t kMatchSteps = 1'000'000;

Error bad_line(const std::string& path, size_t line, std::string what) {
  return make_error(ErrorCode::kInvalidArgument, fmt::format("{}:{}: {}", path, line, std::move(what)));
}

std::optional<chat::Role> role_of(const std::string& name) {
  for (const chat::Role role : {chat::Role::kSystem, chat::Role::kUser, chat::Role::kAssistant})
    if (name == chat::to_string(role)) return role;
  return std::nullopt;
}

// Empty when it is fine.
std::string read_messages(const json& list, ProbeItem& item) {
  if (!list.is_array() || list.empty() || list.size() > kMessagesMax)
    return fmt::format("\"messages\": expected a list of 1 to {} messages", kMessagesMax);
  for (const json& m : list) {
    if (!m.is_object() || !m.contains("role") || !m["role"].is_string() || !m.contains("content") ||
        !m["content"].is_string())
      return "\"messages\": expected objects with the texts \"role\" and \"content\"";
    const auto role = role_of(m["role"].get<std::string>());
    if (!role) return "\"messages\": expected the role system, user or assistant";
    item.messages.push_back({*role, m["content"].get<std::string>(), {}});
  }
  return {};
}

struct Regex {
  explicit Regex(pcre2_code* compiled) : code(compiled), match(pcre2_match_data_create(1, nullptr)) {}
  ~Regex() {
    pcre2_match_data_free(match);
    pcre2_code_free(code);
  }
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
  pcre2_code* const code;
  pcre2_match_data* const match;
};

Result<std::unique_ptr<Regex>> compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    PCRE2_UCHAR text[128] = {};
    pcre2_get_error_message(error, text, sizeof text);
    return make_error(
        ErrorCode::kInvalidArgument,
        fmt::format("\"accept\": expected a Perl-compatible regular expression, got an error at "
                    "character {}: {}",
                    offset, reinterpret_cast<const char*>(text)));
  }
  return std::make_unique<Regex>(code);
}

// sample: 0 for the greedy answer.
chat::Request request_for(const ProbeItem& item, ProbeWish wish, int sample) {
  chat::Request request;
  request.raw = item.raw;
  request.prompt = item.text;
  request.messages = item.messages;
  request.sampling.temperature = sample == 0 ? 0.0f : 1.0f;
  if (sample > 0) request.sampling.seed = static_cast<uint64_t>(sample);
  request.max_tokens = kProbeAnswerTokens;
  request.want_confidence = true;
  request.top_logprobs = 0;
  request.states_every = wish == ProbeWish::kStates ? 1 : 0;
  return request;
}

ProbeMoment moment_of(const route::TokenFacts& facts, const std::shared_ptr<const chat::States>& states,
                      std::optional<float> p_wrong) {
  ProbeMoment moment;
  moment.tokens = facts.tokens();
  if (states != nullptr) moment.answer = states->answer;
  moment.facts = facts.values();
  moment.p_wrong = p_wrong.value_or(0);
  return moment;
}

Result<ProbeAnswer> answer_one(engine::Engine& engine, const ProbeItem& item, ProbeWish wish,
                               int sample = 0) {
  HEDGE_TRY_SET(const std::unique_ptr<chat::Stream> stream, engine.start(request_for(item, wish, sample)));
  ProbeAnswer answer;
  route::TokenFacts facts;
  while (true) {
    if (interrupted()) return make_error(ErrorCode::kCancelled, "interrupted");
    HEDGE_TRY_SET(chat::Event event, stream->next(kNoDeadline));
    if (auto* done = std::get_if<chat::Done>(&event)) {
      answer.end = moment_of(facts, done->states, done->p_wrong);
      if (done->states != nullptr) answer.prompt = done->states->prompt;
      return answer;
    }
    auto* delta = std::get_if<chat::Delta>(&event);
    if (delta == nullptr) continue;
    for (const chat::TokenInfo& token : delta->tokens)
      facts.add(token.chosen.logprob, token.entropy, token.margin);
    answer.text += delta->text;
    const bool at_checkpoint =
        std::binary_search(route::kCheckpoints.begin(), route::kCheckpoints.end(), facts.tokens());
    if (!delta->tokens.empty() && at_checkpoint)
      answer.moments.push_back(moment_of(facts, delta->states, delta->p_wrong));
    bool whole = false;
    const std::string_view word = item.raw ? first_word(answer.text, whole) : std::string_view();
    if (!whole) continue;
    // This token's own state is not known yet: what counts are those before it, the word's.
    answer.end = moment_of(facts, delta->states, delta->p_wrong);
    if (delta->states != nullptr) answer.prompt = delta->states->prompt;
    answer.text.resize(static_cast<size_t>(word.data() + word.size() - answer.text.data()));
    return answer;
  }
}

}  // namespace

std::string_view first_word(std::string_view text, bool& whole) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  const size_t end = begin == std::string_view::npos ? begin : text.find_first_of(kSpace, begin);
  whole = end != std::string_view::npos;
  return text.substr(0, end);
}

Result<std::vector<ProbeItem>> read_probe_items(const std::string& path, bool need_accept) {
  HEDGE_TRY_SET(const std::string text, os::read_file(path, kProbeFileBytesMax));
  return parse_probe_items(text, path, need_accept);
}

Result<std::vector<ProbeItem>> parse_probe_items(std::string_view text, const std::string& path,
                                                 bool need_accept) {
  std::vector<ProbeItem> items;
  std::map<std::string, uint32_t> cells, groups;
  uint32_t next_group = 0;
  HEDGE_TRY(each_line(text, [&](std::string_view line, size_t number) -> Status {
    if (is_blank(line)) return {};
    if (line.size() > kLineBytesMax)
      return bad_line(path, number,
                      fmt::format("expected at most {} bytes a line, got {}", kLineBytesMax, line.size()));
    if (items.size() == kProbeItemsMax)
      return bad_line(path, number, fmt::format("expected at most {} items", kProbeItemsMax));
    const json object = json::parse(line, nullptr, false);
    if (!object.is_object()) return bad_line(path, number, "expected a JSON object");
    ProbeItem item;
    if (object.contains("messages") == object.contains("text"))
      return bad_line(path, number, "expected either \"messages\" or \"text\"");
    if (object.contains("messages")) {
      if (std::string problem = read_messages(object["messages"], item); !problem.empty())
        return bad_line(path, number, std::move(problem));
    } else {
      if (!object["text"].is_string() || object["text"].get_ref<const std::string&>().empty())
        return bad_line(path, number, "\"text\": expected a text that is not empty");
      item.raw = true;
      item.text = object["text"].get<std::string>();
    }
    const auto name = [&](const char* key, std::string& value) -> bool {
      if (!object.contains(key)) return true;
      if (!object[key].is_string()) return false;
      value = object[key].get<std::string>();
      return true;
    };
    std::string cell, group;
    if (!name("accept", item.accept)) return bad_line(path, number, "\"accept\": expected a text");
    if (!name("cell", cell)) return bad_line(path, number, "\"cell\": expected a text");
    if (!name("group", group)) return bad_line(path, number, "\"group\": expected a text");
    if (need_accept && item.accept.empty())
      return bad_line(path, number,
                      "expected \"accept\", a regular expression that right answers match; got none");
    // 0 is "not known".
    item.cell = cell.empty() ? 0 : cells.emplace(cell, static_cast<uint32_t>(cells.size()) + 1).first->second;
    const auto known = group.empty() ? groups.end() : groups.find(group);
    item.group = known == groups.end() ? next_group++ : known->second;
    if (!group.empty()) groups.emplace(group, item.group);
    items.push_back(std::move(item));
    return {};
  }));
  if (items.empty())
    return make_error(ErrorCode::kInvalidArgument, path + ": expected a JSON object a line, got no line");
  return items;
}

Result<std::vector<bool>> judge_probe_answers(const std::vector<ProbeItem>& items,
                                              const std::vector<std::string>& answers) {
  std::unordered_map<std::string, std::unique_ptr<Regex>> compiled;
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> limits(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(limits.get(), kMatchSteps);
  std::vector<bool> right;
  for (size_t i = 0; i < items.size(); ++i) {
    std::unique_ptr<Regex>& regex = compiled[items[i].accept];
    if (regex == nullptr) {
      auto made = compile(items[i].accept);
      if (!made.ok()) {
        Error error = made.error();
        error.detail = fmt::format("item {}: {}", i + 1, error.detail);
        return error;
      }
      regex = std::move(made).value();
    }
    const std::string& answer = answers[i];
    const int found = pcre2_match(regex->code, reinterpret_cast<PCRE2_SPTR>(answer.data()), answer.size(), 0,
                                  0, regex->match, limits.get());
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
      return make_error(
          ErrorCode::kInvalidArgument,
          fmt::format("item {}: \"accept\" could not be searched within {} steps", i + 1, kMatchSteps));
    right.push_back(found >= 0);
  }
  return right;
}

namespace {

// Runs answer(i) for all i below count on several threads, and hands what it gives to take(i, ...) in order
// on the calling one. The workers run ahead by no more than kAhead, so that memory stays bounded.
template <typename Answers>
Status in_order(size_t count, const std::function<Result<Answers>(size_t)>& answer,
                const std::function<void(size_t, Answers)>& take) {
  constexpr size_t kAhead = 256;
  constexpr int kWorkers = 8;
  std::mutex mutex;
  std::condition_variable changed;
  std::map<size_t, Result<Answers>> ready;
  size_t next = 0, taken = 0;
  bool stop = false;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || next >= count || next < taken + kAhead; });
      if (stop || next >= count) return;
      const size_t i = next++;
      lock.unlock();
      Result<Answers> given = answer(i);
      lock.lock();
      ready.emplace(i, std::move(given));
      changed.notify_all();
    }
  };
  std::vector<std::thread> workers;
  for (int t = 0; t < kWorkers; ++t) workers.emplace_back(work);
  Status status;
  for (; taken < count && status.ok();) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ready.contains(taken); });
    Result<Answers> given = std::move(ready.extract(taken).mapped());
    lock.unlock();
    if (given.ok()) {
      take(taken, std::move(given).value());
    } else {
      Error error = std::move(given).error();
      if (error.code != ErrorCode::kCancelled)
        error.detail = fmt::format("item {}: {}", taken + 1, error.detail);
      status = std::move(error);
    }
    lock.lock();
    ++taken;
    stop = !status.ok();
    changed.notify_all();
  }
  for (std::thread& worker : workers) worker.join();
  return status;
}

route::ProbeExample::Answer example_answer(ProbeMoment moment, bool wrong) {
  return {std::move(moment.answer), moment.facts, wrong};
}

// At the first token there is nothing of the answer yet.
route::ProbeExample example_of(const ProbeItem& item, const ProbeAnswer& greedy, bool wrong) {
  route::ProbeExample example;
  example.prompt = greedy.prompt;
  example.answer = example_answer(greedy.end, wrong);
  for (const ProbeMoment& moment : greedy.moments)
    if (moment.tokens > 1) example.beginnings.push_back(example_answer(moment, wrong));
  example.group = item.group;
  example.task = item.cell;
  return example;
}

}  // namespace

Status answer_probe_items(engine::Engine& engine, const std::vector<ProbeItem>& items, ProbeWish wish,
                          const std::function<void(size_t, ProbeAnswer)>& take) {
  return in_order<ProbeAnswer>(
      items.size(), [&](size_t i) { return answer_one(engine, items[i], wish); }, take);
}

Result<LabelledItems> label_probe_items(engine::Engine& engine, const std::vector<ProbeItem>& items,
                                        int samples, const std::function<void(size_t)>& progress) {
  std::vector<std::vector<ProbeAnswer>> all(items.size());  // the greedy one first
  const auto answer = [&](size_t i) -> Result<std::vector<ProbeAnswer>> {
    std::vector<ProbeAnswer> answers;
    for (int sample = 0; sample <= samples; ++sample) {
      HEDGE_TRY_SET(ProbeAnswer one, answer_one(engine, items[i], ProbeWish::kStates, sample));
      if (sample > 0) one.moments.clear(), one.prompt.clear();
      answers.push_back(std::move(one));
    }
    return answers;
  };
  HEDGE_TRY(in_order<std::vector<ProbeAnswer>>(items.size(), answer, [&](size_t i, auto answers) {
    all[i] = std::move(answers);
    progress(i + 1);
  }));
  LabelledItems labelled;
  labelled.greedy.resize(items.size());
  labelled.examples.resize(items.size());
  for (size_t k = 0; k <= static_cast<size_t>(samples); ++k) {
    std::vector<std::string> texts;
    for (const std::vector<ProbeAnswer>& answers : all) texts.push_back(answers[k].text);
    HEDGE_TRY_SET(const std::vector<bool> right, judge_probe_answers(items, texts));
    for (size_t i = 0; i < items.size(); ++i) {
      if (k == 0) {
        labelled.examples[i] = example_of(items[i], all[i][0], !right[i]);
        labelled.greedy[i] = std::move(all[i][0]);
      } else {
        labelled.examples[i].sampled.push_back(example_answer(std::move(all[i][k].end), !right[i]));
      }
    }
  }
  return labelled;
}

}  // namespace hedge::cli
