#include "tests/support/scripted_upstream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <mutex>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include <nlohmann/json.hpp>

namespace hedge::test {
namespace {

using Json = nlohmann::json;

constexpr size_t kHeadBytesMax = 64u << 10;
constexpr size_t kBodyBytesMax = 64u << 20;
constexpr size_t kHugeLineBytes = 2u << 20;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "scripted upstream: %s: %s\n", what, std::strerror(errno));
  std::exit(2);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// One connection's socket. Every call gives false once the client has gone.
class Wire {
 public:
  explicit Wire(int fd) : fd_(fd) {}
  ~Wire() { close_now(); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void set_per_byte(bool per_byte) { per_byte_ = per_byte; }
  // After so many more bytes send() gives false, as if the client had gone; 0: never.
  void set_limit(size_t bytes) {
    limited_ = bytes > 0;
    left_ = bytes;
  }
  bool limit_reached() const { return limited_ && left_ == 0; }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      if (limit_reached()) return false;
      size_t size = per_byte_ ? 1 : bytes.size();
      if (limited_) size = std::min(size, left_);
      const ssize_t sent = ::send(fd_, bytes.data(), size, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
      if (limited_) left_ -= static_cast<size_t>(sent);
    }
    return true;
  }
  bool send_chunk(std::string_view data) { return send(as_chunk(data)); }
  // With the end of the body in the same segment, as servers that buffer do.
  bool send_last_chunk(std::string_view data) { return send(as_chunk(data) + "0\r\n\r\n"); }

  // Waits; ends early when the client closes.
  bool wait(int ms) {
    pollfd poll_fd{fd_, POLLRDHUP, 0};
    return ms <= 0 || ::poll(&poll_fd, 1, ms) == 0;
  }
  void wait_for_close() {
    pollfd poll_fd{fd_, POLLRDHUP, 0};
    while (::poll(&poll_fd, 1, -1) < 0 && errno == EINTR) {
    }
  }

  // Appends to `buffer` until it holds `mark`, or `size` bytes.
  bool read_until(std::string& buffer, std::string_view mark, size_t size, size_t limit) {
    while (mark.empty() ? buffer.size() < size : buffer.find(mark) == std::string::npos) {
      char bytes[16384];
      const ssize_t got = ::recv(fd_, bytes, sizeof(bytes), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0 || buffer.size() > limit) return false;
      buffer.append(bytes, static_cast<size_t>(got));
    }
    return true;
  }

  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close_now();
  }
  void close_now() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  static std::string as_chunk(std::string_view data) {
    char size[24];
    std::snprintf(size, sizeof(size), "%zx\r\n", data.size());
    return std::string(size).append(data).append("\r\n");
  }

  int fd_;
  bool per_byte_ = false;
  bool limited_ = false;
  size_t left_ = 0;
};

struct Http {
  SeenRequest request;
  bool close = false;
};

std::string header_value(const std::string& head, const std::string& name) {
  const std::string all = lower(head);
  const size_t at = all.find("\r\n" + name + ":");
  if (at == std::string::npos) return {};
  const size_t begin = head.find_first_not_of(' ', at + name.size() + 3);
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

bool read_request(Wire& wire, std::string& buffer, Http& out) {
  if (!wire.read_until(buffer, "\r\n\r\n", 0, kHeadBytesMax)) return false;
  const size_t head_end = buffer.find("\r\n\r\n") + 4;
  const std::string head = buffer.substr(0, head_end);
  const size_t length = std::strtoul(header_value(head, "content-length").c_str(), nullptr, 10);
  if (length > kBodyBytesMax ||
      !wire.read_until(buffer, "", head_end + length, kBodyBytesMax + kHeadBytesMax))
    return false;
  const size_t space = head.find(' ');
  out.request.method = head.substr(0, space);
  out.request.path = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
  out.request.authorization = header_value(head, "authorization");
  out.request.body = buffer.substr(head_end, length);
  out.close = lower(header_value(head, "connection")) == "close";
  buffer.erase(0, head_end + length);
  return true;
}

std::string response(int status, std::string_view type, std::string_view body,
                     const std::string& extra = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " Scripted\r\nContent-Type: " + std::string(type) + "\r\n" +
         extra + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

std::string error_body(std::string_view message, std::string_view type, const Json& code,
                       std::string_view param = {}) {
  Json error = {{"message", message}, {"type", type}, {"code", code}};
  error["param"] = param.empty() ? Json() : Json(param);
  return Json{{"error", error}}.dump();
}

// Everything about one answer that does not depend on the socket.
struct Answer {
  bool chat = true;
  bool stream = false;
  bool usage = false;
  std::string model;
  std::string text;  // all that is sent
  std::vector<std::string> pieces;
  std::string finish = "stop";
  size_t prompt_tokens = 0;

  Json frame(const char* object) const {
    return {{"id", "scripted-1"}, {"object", object}, {"created", 1'700'000'000}, {"model", model}};
  }
  std::string event(const Json& choice_rest, const Json& finish_reason = nullptr) const {
    Json chunk = frame(chat ? "chat.completion.chunk" : "text_completion");
    Json choice = choice_rest;
    choice["index"] = 0;
    choice["finish_reason"] = finish_reason;
    chunk["choices"] = Json::array({choice});
    return "data: " + chunk.dump() + "\n\n";
  }
  std::string piece_event(const std::string& piece) const {
    return chat ? event({{"delta", {{"content", piece}}}}) : event({{"text", piece}});
  }
  Json usage_json() const {
    return {{"prompt_tokens", prompt_tokens},
            {"completion_tokens", pieces.size()},
            {"total_tokens", prompt_tokens + pieces.size()}};
  }
  std::string whole() const {
    Json body = frame(chat ? "chat.completion" : "text_completion");
    Json choice = chat ? Json{{"message", {{"role", "assistant"}, {"content", text}}}} : Json{{"text", text}};
    choice["index"] = 0;
    choice["finish_reason"] = finish;
    body["choices"] = Json::array({choice});
    body["usage"] = usage_json();
    return body.dump();
  }
};

std::string string_at(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// What stands between "script: " and ';' in the last user message, so that each of many conversations at once
// can carry its own script.
std::string script_in_message(const Json& body) {
  std::string user;
  const auto messages = body.find("messages");
  if (messages == body.end() || !messages->is_array()) return user;
  for (const Json& message : *messages) {
    if (string_at(message, "role") == "user") user = string_at(message, "content");
  }
  constexpr std::string_view kMark = "script: ";
  const size_t begin = user.find(kMark), end = user.find(';', begin);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return user.substr(begin + kMark.size(), end - begin - kMark.size());
}

// A refusal's body, empty when there is none.
std::string refusal(const Json& body, const Script& script) {
  if (script.mode == "flags" && body.value("continue_final_message", false) &&
      body.value("add_generation_prompt", true)) {
    return error_body("`add_generation_prompt` must be false with `continue_final_message`",
                      "BadRequestError", 400);
  }
  if (!script.strict) return {};
  // One string, since clang-format gives each element of a list a line.
  static const std::string kKnown =
      " model messages prompt stream stream_options max_tokens max_completion_tokens temperature top_p n "
      "stop "
      "presence_penalty frequency_penalty logprobs top_logprobs seed user ";
  for (const auto& [name, value] : body.items()) {
    if (kKnown.find(" " + name + " ") == std::string::npos) {
      return error_body("Unknown parameter: '" + name + "'.", "invalid_request_error", "unknown_parameter",
                        name);
    }
  }
  if (body.contains("max_tokens") && body.contains("max_completion_tokens")) {
    return error_body("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                      "invalid_request_error", "invalid_parameter_combination");
  }
  return {};
}

// "<role>content" per message, then "<assistant>": the chat template of scripts with `tokens`.
std::string rendered(const Json& body) {
  std::string out;
  if (const auto messages = body.find("messages"); messages != body.end() && messages->is_array()) {
    for (const Json& message : *messages)
      out += "<" + string_at(message, "role") + ">" + string_at(message, "content");
  }
  return out + "<assistant>";
}

// A token is a byte.
std::string text_of_ids(const Json& ids) {
  std::string out;
  for (const Json& id : ids) out.push_back(static_cast<char>(id.get<int>()));
  return out;
}

// The count that clients use to find out how an answer is continued.
constexpr std::string_view kCountAsked = "Count from one to twelve";

Answer make_answer(const Json& body, const Script& script, bool chat) {
  Answer answer;
  answer.chat = chat;
  answer.stream = body.value("stream", false) && !script.plain;
  answer.usage = body.contains("stream_options") && body["stream_options"].value("include_usage", false);
  answer.model = string_at(body, "model");
  std::string user = string_at(body, "prompt"), start;
  if (chat && body.contains("messages") && body["messages"].is_array()) {
    for (const Json& message : body["messages"]) {
      const std::string role = string_at(message, "role"), content = string_at(message, "content");
      answer.prompt_tokens += scripted_pieces(content).size();
      if (role == "user") user = content;
      start = role == "assistant" ? content : std::string();
    }
  }
  if (!chat) {
    if (const auto prompt = body.find("prompt"); prompt != body.end() && prompt->is_array())
      user = text_of_ids(*prompt);
    if (const size_t at = user.rfind("<assistant>"); at != std::string::npos) {
      start = user.substr(at + std::strlen("<assistant>"));
      user.resize(at);
    }
  }
  const bool both = body.value("continue_final_message", false) && !body.value("add_generation_prompt", true);
  Script effective = script;
  if (script.mode == "flags" && !both) effective.mode = "fresh";
  if (!chat && script.tokens) effective.mode = "continue";
  std::string base = scripted_answer(user);
  if (user.find(kCountAsked) != std::string::npos)
    base = effective.mode == "fresh" ? "Certainly: one, two" : start + " eight, nine";
  answer.text = scripted_reply(effective, start, base);
  const bool one_piece = script.mode == "echo" && answer.text.starts_with(start);
  answer.pieces = scripted_pieces(one_piece ? answer.text.substr(start.size()) : answer.text);
  if (one_piece && !start.empty()) {
    if (answer.pieces.empty()) answer.pieces.emplace_back();
    answer.pieces.front() = start + answer.pieces.front();
  }
  const int limit = body.value("max_tokens", body.value("max_completion_tokens", -1));
  if (limit >= 0 && answer.pieces.size() > static_cast<size_t>(limit)) {
    answer.pieces.resize(static_cast<size_t>(limit));
    answer.finish = "length";
    answer.text.clear();
    for (const std::string& piece : answer.pieces) answer.text += piece;
  }
  return answer;
}

enum class Next { kKeep, kClose, kGone };

// Sends one answer as the script says.
class Player {
 public:
  Player(Wire& wire, const Script& script, const Answer& answer)
      : wire_(wire), script_(script), answer_(answer) {}

  Next play() {
    wire_.set_per_byte(script_.per_byte);
    if (script_.after_bytes <= 0) return play_all();
    wire_.set_limit(static_cast<size_t>(script_.after_bytes));
    const Next next = play_all();
    const bool broken = wire_.limit_reached();
    wire_.set_limit(0);
    return broken ? break_off() : next;
  }

 private:
  Next play_all() {
    if (!wire_.wait(script_.first_delay_ms)) return Next::kGone;
    if (script_.after < 0 && script_.fault != "none") return break_off();
    if (script_.fault == "empty") return sent(response(200, "text/event-stream", ""));
    if (script_.fault == "html") {
      return sent(response(200, "text/html", "<html><body><h1>It works!</h1></body></html>"));
    }
    if (script_.fault == "status") return sent(error_response());
    if (!answer_.stream) {
      return script_.fault == "none" || script_.after_bytes > 0
                 ? sent(response(200, "application/json", answer_.whole()))
                 : play_broken_whole();
    }
    return play_stream();
  }

  bool fault_is(std::string_view name) const { return script_.fault == name; }
  Next sent(const std::string& bytes) { return wire_.send(bytes) ? Next::kKeep : Next::kGone; }

  std::string error_response() const {
    std::string extra;
    if (script_.retry_after_ms > 0) {
      extra = script_.retry_after_ms % 1000 == 0
                  ? "Retry-After: " + std::to_string(script_.retry_after_ms / 1000) + "\r\n"
                  : "retry-after-ms: " + std::to_string(script_.retry_after_ms) + "\r\n";
    }
    const char* type = script_.status == 429 ? "rate_limit_exceeded" : "server_error";
    return response(script_.status, "application/json", error_body("scripted failure", type, script_.status),
                    extra);
  }

  // stall, reset and cut, at the present place.
  Next break_off() {
    if (fault_is("stall")) {
      wire_.wait_for_close();
      return Next::kGone;
    }
    if (fault_is("reset")) wire_.reset();
    return Next::kClose;
  }

  Next play_broken_whole() {
    const std::string all = response(200, "application/json", answer_.whole());
    if (!wire_.send(std::string_view(all).substr(0, all.size() - answer_.text.size() / 2 - 10)))
      return Next::kGone;
    return break_off();
  }

  Next play_stream() {
    if (!wire_.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"))
      return Next::kGone;
    if (answer_.chat && !script_.no_role) {
      if (!wire_.send_chunk(answer_.event({{"delta", {{"role", "assistant"}, {"content", ""}}}})))
        return Next::kGone;
    }
    for (size_t i = 0; i <= answer_.pieces.size(); ++i) {
      if (static_cast<int>(i) == script_.after && script_.after_bytes == 0) {
        const auto next = fault_at(i);
        if (next) return *next;
      }
      if (i == answer_.pieces.size()) break;
      if (!wire_.wait(script_.delay_ms) || !wire_.send_chunk(answer_.piece_event(answer_.pieces[i])))
        return Next::kGone;
    }
    std::string tail;
    if (!fault_is("no_finish")) {
      tail = answer_.chat ? answer_.event({{"delta", Json::object()}}, answer_.finish)
                          : answer_.event({{"text", ""}}, answer_.finish);
    }
    if (fault_is("stall_tail") || fault_is("cut_tail")) {
      if (!wire_.send_chunk(tail)) return Next::kGone;
      if (fault_is("stall_tail")) wire_.wait_for_close();
      return Next::kClose;
    }
    if (answer_.usage) {
      Json chunk = answer_.frame(answer_.chat ? "chat.completion.chunk" : "text_completion");
      chunk["choices"] = Json::array();
      chunk["usage"] = answer_.usage_json();
      tail += "data: " + chunk.dump() + "\n\n";
    }
    if (!fault_is("no_done")) tail += "data: [DONE]\n\n";
    return wire_.send_last_chunk(tail) ? Next::kKeep : Next::kGone;
  }

  // The fault before piece `i`; none when the script has none for this place.
  std::optional<Next> fault_at(size_t i) {
    const std::string piece = i < answer_.pieces.size() ? answer_.pieces[i] : std::string(" extra");
    if (fault_is("stall") || fault_is("reset") || fault_is("cut")) return break_off();
    if (fault_is("cut_word")) return then_cut(answer_.piece_event(piece.substr(0, (piece.size() + 1) / 2)));
    if (fault_is("cut_utf8")) {
      std::string event = answer_.piece_event("@");
      event.replace(event.find('@'), 1, "\xc3");
      return then_cut(event);
    }
    if (fault_is("cut_json")) {
      const std::string event = answer_.piece_event(piece);
      return then_cut(event.substr(0, event.size() / 2));
    }
    if (fault_is("bad_json")) return then_end("data: {\"choices\":[{\"delta\":{\"content\":\n\n");
    if (fault_is("not_object")) return then_end("data: [\"not\",\"an\",\"object\"]\n\n");
    if (fault_is("huge_line")) return then_end("data: " + std::string(kHugeLineBytes, 'x') + "\n\n");
    if (fault_is("error"))
      return then_end("data: " + error_body("scripted failure", "server_error", 500) + "\n\n");
    if (fault_is("response_error")) {
      return then_end(
          "event: response.error\ndata: " + error_body("scripted failure", "server_error", nullptr) + "\n\n");
    }
    if (fault_is("end")) return then_end("");
    if (fault_is("stop")) {
      return then_end((answer_.chat ? answer_.event({{"delta", Json::object()}}, "stop")
                                    : answer_.event({{"text", ""}}, "stop")) +
                      "data: [DONE]\n\n");
    }
    if (fault_is("bad_chunk")) {
      wire_.send("zz\r\nno length\r\n");
      return Next::kClose;
    }
    return std::nullopt;
  }

  Next then_cut(const std::string& event) { return wire_.send_chunk(event) ? Next::kClose : Next::kGone; }
  Next then_end(const std::string& event) {
    const bool whole = (event.empty() || wire_.send_chunk(event)) && wire_.send("0\r\n\r\n");
    return whole ? Next::kKeep : Next::kGone;
  }

  Wire& wire_;
  const Script& script_;
  const Answer& answer_;
};

}  // namespace

class ScriptedUpstream::Server {
 public:
  explicit Server(Options options) : options_(std::move(options)), script_(options_.script) {
    port_ = options_.port;
    listen_again();
  }

  ~Server() {
    stop_listening();
    {
      std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return handlers_ == 0; });
  }

  void listen_again() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener_ < 0) give_up("socket");
    const int yes = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) give_up("bind");
    if (::listen(listener_, 512) != 0) give_up("listen");
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this, fd = listener_] { accept_loop(fd); });
  }

  void stop_listening() {
    if (listener_ < 0) return;
    ::shutdown(listener_, SHUT_RDWR);  // wakes accept()
    acceptor_.join();
    ::close(std::exchange(listener_, -1));
  }

  void reset_all() {
    std::lock_guard lock(mutex_);
    const linger now{1, 0};
    for (const int fd : open_) {
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
      ::shutdown(fd, SHUT_RDWR);
    }
  }

  const Options options_;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;
  Script script_;
  std::deque<Script> sequence_;
  std::deque<SeenRequest> seen_;
  std::set<int> open_;
  size_t connections_ = 0, gone_ = 0;

 private:
  void accept_loop(int listener) {
    while (true) {
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      if (fd < 0) return;
      const int yes = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
      {
        std::lock_guard lock(mutex_);
        ++connections_;
        ++handlers_;
        open_.insert(fd);
      }
      std::thread([this, fd] { serve(fd); }).detach();
    }
  }

  void serve(int fd) {
    {
      Wire wire(fd);
      std::string buffer;
      Next next = Next::kKeep;
      for (Http http; next == Next::kKeep && read_request(wire, buffer, http); http = {}) {
        try {
          next = answer(wire, http.request);
        } catch (const Json::exception&) {  // a field of the wrong type
          wire.send(
              response(400, "application/json", error_body("wrong type", "invalid_request_error", 400)));
          next = Next::kClose;
        }
        if (http.close && next == Next::kKeep) next = Next::kClose;
      }
      std::lock_guard lock(mutex_);
      open_.erase(fd);  // before the descriptor is closed and its number used again
      if (next == Next::kGone) ++gone_;
    }
    std::lock_guard lock(mutex_);
    if (--handlers_ == 0) idle_.notify_all();
  }

  Next answer(Wire& wire, const SeenRequest& request) {
    wire.set_per_byte(false);
    const auto send = [&](const std::string& bytes) { return wire.send(bytes) ? Next::kKeep : Next::kGone; };
    if (request.path.starts_with("/scripted/")) return send(control(request));
    {
      std::lock_guard lock(mutex_);
      seen_.push_back(request);
      if (seen_.size() > kSeenMax) seen_.pop_front();
    }
    if (!options_.key.empty() && request.authorization != "Bearer " + options_.key) {
      const std::string told = "Incorrect API key provided: " + request.authorization;
      return send(response(401, "application/json",
                           error_body(told, "invalid_request_error",
                                      request.authorization.substr(request.authorization.find(' ') + 1))));
    }
    if (request.path == "/health") return send(response(200, "application/json", "{\"status\":\"ok\"}"));
    if (request.path == "/v1/models") {
      return send(response(200, "application/json",
                           "{\"object\":\"list\",\"data\":[{\"id\":\"scripted\",\"object\":\"model\"}]}"));
    }
    if (request.path == "/tokenize" || request.path == "/apply-template") {
      const Json body = Json::parse(request.body, nullptr, false);
      const std::optional<Script> script = choose("", "");
      if (!script || !script->tokens || !body.is_object())
        return send(response(404, "application/json", error_body("no such route", "not_found_error", 404)));
      Json out = {{"prompt", rendered(body)}};
      if (request.path == "/tokenize") {
        out = {{"tokens", Json::array()}};
        for (const char c : string_at(body, "content"))
          out["tokens"].push_back(static_cast<unsigned char>(c));
      }
      return send(response(200, "application/json", out.dump()));
    }
    const bool chat = request.path == "/v1/chat/completions";
    if (request.method != "POST" || (!chat && request.path != "/v1/completions")) {
      return send(response(404, "application/json", error_body("no such route", "not_found_error", 404)));
    }
    const Json body = Json::parse(request.body, nullptr, false);
    if (!body.is_object())
      return send(response(400, "application/json", error_body("no JSON", "invalid_request_error", 400)));
    const std::optional<Script> script = choose(string_at(body, "model"), script_in_message(body));
    if (!script)
      return send(
          response(400, "application/json",
                   error_body("bad script in the model name", "invalid_request_error", 400, "model")));
    if (const std::string refused = refusal(body, *script); !refused.empty())
      return send(response(400, "application/json", refused));
    const Answer made = make_answer(body, *script, chat);
    return Player(wire, *script, made).play();
  }

  std::optional<Script> choose(const std::string& model, const std::string& in_message) {
    std::lock_guard lock(mutex_);
    if (!sequence_.empty()) {
      const Script script = sequence_.front();
      sequence_.pop_front();
      return script;
    }
    std::string problem;
    if (!in_message.empty()) return parse_script(in_message, problem);
    return model.find('?') == std::string::npos ? script_ : parse_script(model, problem);
  }

  std::string control(const SeenRequest& request) {
    std::lock_guard lock(mutex_);
    if (request.path == "/scripted/seen") {
      Json requests = Json::array();
      for (const SeenRequest& one : seen_) {
        requests.push_back({{"method", one.method},
                            {"path", one.path},
                            {"authorization", one.authorization},
                            {"body", one.body}});
      }
      const Json all = {{"requests", requests}, {"connections", connections_}, {"gone", gone_}};
      return response(200, "application/json", all.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
    if (request.path == "/scripted/forget") {
      seen_.clear();
      return response(200, "text/plain", "forgotten\n");
    }
    const bool sequence = request.path == "/scripted/sequence";
    if (!sequence && request.path != "/scripted/default")
      return response(404, "text/plain", "no such control\n");
    std::deque<Script> scripts;
    for (size_t at = 0; at < request.body.size();) {
      const size_t end = std::min(request.body.find('\n', at), request.body.size());
      std::string problem;
      const auto script = parse_script(std::string_view(request.body).substr(at, end - at), problem);
      if (!script) return response(400, "text/plain", "not understood: " + problem + "\n");
      scripts.push_back(*script);
      at = end + 1;
    }
    if (sequence) {
      sequence_ = std::move(scripts);
    } else {
      script_ = scripts.empty() ? Script{} : scripts.front();
    }
    return response(200, "text/plain", "set\n");
  }

  int listener_ = -1;
  std::thread acceptor_;
  size_t handlers_ = 0;
  std::condition_variable idle_;
};

ScriptedUpstream::ScriptedUpstream(Options options) : server_(std::make_unique<Server>(std::move(options))) {}
ScriptedUpstream::~ScriptedUpstream() = default;

uint16_t ScriptedUpstream::port() const { return server_->port_; }
std::string ScriptedUpstream::base_url() const { return "http://127.0.0.1:" + std::to_string(port()); }

void ScriptedUpstream::set_script(const Script& script) {
  std::lock_guard lock(server_->mutex_);
  server_->script_ = script;
}

void ScriptedUpstream::set_sequence(std::vector<Script> scripts) {
  std::lock_guard lock(server_->mutex_);
  server_->sequence_.assign(scripts.begin(), scripts.end());
}

void ScriptedUpstream::refuse_connections() { server_->stop_listening(); }
void ScriptedUpstream::accept_connections() { server_->listen_again(); }
void ScriptedUpstream::reset_connections() { server_->reset_all(); }

std::vector<SeenRequest> ScriptedUpstream::seen() const {
  std::lock_guard lock(server_->mutex_);
  return {server_->seen_.begin(), server_->seen_.end()};
}

size_t ScriptedUpstream::connections() const {
  std::lock_guard lock(server_->mutex_);
  return server_->connections_;
}

size_t ScriptedUpstream::gone() const {
  std::lock_guard lock(server_->mutex_);
  return server_->gone_;
}

size_t ScriptedUpstream::open_connections() const {
  std::lock_guard lock(server_->mutex_);
  return server_->open_.size();
}

}  // namespace hedge::test
