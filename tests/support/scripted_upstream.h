// An OpenAI-compatible server that behaves as scripted (script.h): real sockets on loopback, one thread per
// connection, HTTP/1.1 with keep-alive. For tests in this process, and as the program `scripted_upstream` for
// tests of the binary.
//
// Serves POST /v1/chat/completions and /v1/completions, GET /v1/models and /health. Which script a request
// gets: the next of the sequence while there is one; else the one in its last user message, between "script:
// " and ';'; else the one in its model name ("x?fault=cut&after=2"); else the default.
//
// For tests in other processes:
//   POST /scripted/sequence  body: one script per line; replaces the sequence
//   POST /scripted/default   body: one script
//   GET  /scripted/seen {"requests":[{"method","path","authorization","body"}...],"connections":N,"gone":N}
//   POST /scripted/forget    empties what was seen
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/script.h"

namespace hedge::test {

struct SeenRequest {
  std::string method;
  std::string path;
  std::string authorization;
  std::string body;
};

class ScriptedUpstream {
 public:
  struct Options {
    uint16_t port = 0;  // 0: the system picks one
    std::string key;    // when set, requests without "Bearer KEY" get 401, whose body repeats what they sent
    Script script;      // the default
  };

  ScriptedUpstream() : ScriptedUpstream(Options{}) {}
  // Listens when it returns; ends the process with a message when it cannot (tests have no use for less).
  explicit ScriptedUpstream(Options options);
  ~ScriptedUpstream();

  uint16_t port() const;
  std::string base_url() const;  // "http://127.0.0.1:PORT"

  void set_script(const Script& script);
  void set_sequence(std::vector<Script> scripts);

  // Closes the listening socket: connections are refused. Open connections go on.
  void refuse_connections();
  // Listens again, on the same port.
  void accept_connections();
  // Resets all open connections.
  void reset_connections();

  // The last kSeenMax requests, oldest first; /scripted/* is not among them.
  std::vector<SeenRequest> seen() const;
  size_t connections() const;  // accepted so far
  size_t gone() const;         // answers during which the client closed the connection
  size_t open_connections() const;

  static constexpr size_t kSeenMax = 20'000;

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace hedge::test
