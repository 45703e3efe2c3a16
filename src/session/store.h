// Durable conversations and decision traces in one SQLite database (WAL). Thread-safe; every call is one transaction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "chat/trace.h"

namespace hedge::session {

struct Turn {
  chat::Message message;
  std::vector<chat::Segment> segments;  // of an assistant's turn: who wrote it
  std::string decision_id;              // of an assistant's turn
  int64_t created_ms = 0;
};

class Store {
 public:
  // Opens or creates; an older schema is migrated, a newer or broken database is an error that says so.
  static Result<std::unique_ptr<Store>> open(const std::string& path);
  virtual ~Store() = default;

  // The session that a request belongs to: the id it names; else the one whose durable turns are the request's history
  // (all messages before the last user turn); else a new id. Never creates rows.
  virtual Result<std::string> resolve(const chat::Request& request) = 0;
  virtual Result<bool> is_private(const std::string& session) = 0;
  virtual Status mark_private(const std::string& session) = 0;

  // Appends what is new in the request and the answer, with its trace, in one durable transaction.
  virtual Status append(const std::string& session, const chat::Request& request, const std::string& answer,
                        const chat::Trace& trace) = 0;

  virtual Result<std::vector<Turn>> turns(const std::string& session) = 0;        // kNotFound
  virtual Result<chat::Trace> decision(const std::string& id) = 0;                // kNotFound
  // Upstream tokens recorded since a point of time, so that a budget survives a restart.
  virtual Result<int64_t> upstream_tokens_since(int64_t unix_ms) = 0;
};

}  // namespace hedge::session
