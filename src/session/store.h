// Durable conversations and decision traces in one SQLite database (WAL). Thread-safe; every call is one
// transaction.
//
// What is acknowledged is on the disk: a Status that is ok was synced first (store.cc says how), so it
// survives a kill and a loss of power. The database holds conversations in clear; its file is created
// readable by its owner only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "chat/trace.h"

namespace hedge::session {

// The segment of an assistant's turn that the client itself gave (chat::Request::assistant_prefix).
inline constexpr std::string_view kClientBackend = "client";

inline constexpr size_t kSessionIdBytesMax = 128;  // of [A-Za-z0-9._:-]; longer ones are no ids but data
inline constexpr int kBusyTimeoutMs = 5000;        // wait for another process that writes the same database

struct Turn {
  chat::Message message;
  // Of an assistant's turn that was answered here: who wrote it; together the bytes of the content. A turn
  // that came in a request (an answer of another program, a few-shot example) has none.
  std::vector<chat::Segment> segments;
  std::string decision_id;  // of an assistant's turn that was answered here
  int64_t created_ms = 0;
};

struct Spent {
  std::string tenant;  // empty: of nobody in particular
  int64_t tokens = 0;
  int64_t nanos = 0;  // billionths of the prices' currency
};

class Store {
 public:
  // Opens or creates (the folder must exist); an older schema is migrated, a newer or broken database is an
  // error that says so: kCorrupt (not a database, damaged), kUnsupported (newer schema, another program's
  // database), kPermission (read-only), kIo.
  static Result<std::unique_ptr<Store>> open(const std::string& path);
  virtual ~Store() = default;

  // The session that a request belongs to: the id it names (kInvalidArgument when it is none); else the one
  // that answered the request's history, which is all messages up to its last assistant's turn; else a new
  // id. Of several sessions with that history a private one, else the newest. Never creates rows.
  virtual Result<std::string> resolve(const chat::Request& request) = 0;
  virtual Result<bool> is_private(const std::string& session) = 0;
  // True when the request continues what a private session has said, under whatever session id it comes: some
  // beginning of its messages is the conversation of a private session up to one of its answers, or one of
  // the messages up to its last answer stands in a private session (a client that edits or drops a turn).
  // The system's messages and those of less than 12 bytes tell nothing.
  virtual Result<bool> continues_private(const chat::Request& request) = 0;
  virtual Status mark_private(const std::string& session) = 0;

  // Appends what is new in the request and the answer, with its trace, in one durable transaction. New in the
  // request is what follows the durable turns, when they are the beginning of its messages; else what follows
  // its last assistant's turn (a client that edits, trims or sends only its last turn). A raw prompt is a
  // user's turn. Of a request with several choices the question stands once, and the answers to it after it,
  // in the order in which they ended; a conversation may go on from any of them. The answer's turn is
  // assistant_prefix + answer. The log only grows: a question that is asked again is there again with each
  // answer. A decision that is already there is not appended twice. kInvalidArgument when trace.id is empty
  // or belongs to another session; kIo when the disk is full.
  virtual Status append(const std::string& session, const chat::Request& request, const std::string& answer,
                        const chat::Trace& trace) = 0;

  virtual Result<std::vector<Turn>> turns(const std::string& session) = 0;  // kNotFound
  virtual Result<chat::Trace> decision(const std::string& id) = 0;          // kNotFound
  // What upstreams were paid since a point of time, by tenant, so that budgets survive a restart.
  virtual Result<std::vector<Spent>> upstream_spent_since(int64_t unix_ms) = 0;
  // Calls `each` with every trace recorded since a point of time, in the order of their times, until it
  // returns false. Rows of a later program that cannot be read are passed over; their number is the result.
  virtual Result<int64_t> for_each_decision(int64_t since_unix_ms,
                                            const std::function<bool(const chat::Trace&)>& each) = 0;
};

}  // namespace hedge::session
