// Durable conversations and decision traces, in a file of SQLite (WAL) or in a PostgreSQL server that several
// Hedges may share. Thread-safe; every call is one transaction.
//
// What is acknowledged is on the disk: a Status that is ok was synced first (sqlite.h says how; PostgreSQL by
// its own settings), so it survives a kill and a loss of power. The database holds conversations in clear;
// SQLite's file is created readable by its owner only. A lost connection to PostgreSQL is opened again and
// the transaction run anew, for kReconnectMs; an answer is known by its decision, so none is kept twice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/request.h"
#include "chat/trace.h"

namespace hedge::session {

// The segment of an assistant's turn that the client itself gave (chat::Request::assistant_prefix).
inline constexpr std::string_view kClientBackend = "client";
// The reason of an answer that was given elsewhere and came in a capsule.
inline constexpr std::string_view kReasonAdopted = "capsule.import";

inline constexpr size_t kSessionIdBytesMax = 128;  // of [A-Za-z0-9._:-]; longer ones are no ids but data
inline constexpr int kBusyTimeoutMs = 5000;        // wait for another process that writes the same database
inline constexpr int kReconnectMs = 10'000;        // a database server may be gone for so long
inline constexpr size_t kListedSessionsMax = 1000;

// Each tenant has ids of its own. The first session of an id is kept under it; another tenant's of the same
// id under "TENANT/ID", a key that no client can name. This is the id as its tenant knows it.
std::string_view public_id(std::string_view key);

struct Turn {
  chat::Message message;
  // Of an assistant's turn that was answered here: who wrote it; together the bytes of the content. A turn
  // that came in a request (an answer of another program, a few-shot example) has none.
  std::vector<chat::Segment> segments;
  std::string writer;       // the backend that wrote its end, tool calls included (chat::writer_of())
  std::string decision_id;  // of an assistant's turn that was answered here
  int64_t created_ms = 0;

  bool operator==(const Turn&) const = default;
};

// What a backend has answered.
struct Answer {
  Answer(std::string its_text) : text(std::move(its_text)) {}
  Answer(const char* its_text) : text(its_text) {}
  Answer(std::string its_text, std::vector<chat::ToolCall> calls, std::string its_writer)
      : text(std::move(its_text)), tool_calls(std::move(calls)), writer(std::move(its_writer)) {}

  std::string text;
  std::vector<chat::ToolCall> tool_calls;
  std::string writer;  // the backend that wrote its end; empty: that of the last segment
};

struct Used {
  int64_t tokens = 0;
  int64_t nanos = 0;  // billionths of the prices' currency

  bool operator==(const Used&) const = default;
};

// A session without its turns.
struct SessionHead {
  std::string id;      // its key; of one to be adopted, the id
  std::string tenant;  // with whose key it came; empty: the device's own
  bool is_private = false;
  int64_t created_ms = 0;
  int64_t turns = 0;
  Used used;  // upstream, before it came here too

  bool operator==(const SessionHead&) const = default;
};

struct Session {
  SessionHead head;
  std::string model, tags;  // of its last decision, as the client named them; tags joined by ','
  std::vector<Turn> turns;
};

struct Spent {
  std::string tenant;  // empty: of nobody in particular
  int64_t tokens = 0;
  int64_t nanos = 0;  // billionths of the prices' currency
};

class Store {
 public:
  // `where` is a file's path, also as "sqlite:PATH", or the address of a PostgreSQL database, as
  // "postgresql://USER@HOST:PORT/NAME" (libpq reads it, so its parameters and variables hold).
  //
  // Opens or creates (a file's folder, and a server's database, must exist); an older schema is migrated, a
  // newer or broken database is an error that says so: kCorrupt (not a database, damaged), kUnsupported
  // (newer schema, another program's database), kPermission (read-only, not let in), kUnavailable (no server,
  // no libpq), kIo.
  static Result<std::unique_ptr<Store>> open(const std::string& path);
  virtual ~Store() = default;

  // The session that a request belongs to: the id it names (kInvalidArgument when it is none); else the one
  // that answered the request's history, which is all messages up to its last assistant's turn; else a new
  // id. Of several sessions with that history a private one, else the newest. Never creates rows. A tenant
  // has sessions of its own; without one kInvalidArgument where the named session is a tenant's. Gives the
  // session's key, as all below take it.
  virtual Result<std::string> resolve(const chat::Request& request) = 0;
  // The key of a tenant's session of this id, whether there is one or not; of no tenant, the id.
  virtual Result<std::string> key_of(const std::string& tenant, const std::string& id) = 0;
  virtual Result<bool> is_private(const std::string& session) = 0;
  // True when the request continues what a private session has said, under whatever session id it comes: some
  // beginning of its messages is the conversation of a private session up to one of its answers, or one of
  // the messages up to its last answer stands in a private session (a client that edits or drops a turn).
  // The system's messages and those of less than 12 bytes tell nothing. A tenant's request is held against
  // that tenant's sessions alone, so that nobody can try out what another has said; one of no tenant, against
  // all.
  virtual Result<bool> continues_private(const chat::Request& request) = 0;
  virtual Status mark_private(const std::string& session, const std::string& tenant = {}) = 0;
  // Who wrote `message`, an answer given here, in this session or in another that holds the conversation up
  // to it; empty: unknown. Null: the session's last answer.
  virtual Result<std::string> writer_of(const std::string& session, const chat::Request& request,
                                        const chat::Message* message) = 0;

  // Appends what is new in the request and the answer, with its trace, in one durable transaction. New in the
  // request is what follows the durable turns, when they are the beginning of its messages; else what follows
  // its last assistant's turn (a client that edits, trims or sends only its last turn). A raw prompt is a
  // user's turn. Of a request with several choices the question stands once, and the answers to it after it,
  // in the order in which they ended; a conversation may go on from any of them. The answer's turn is
  // assistant_prefix + answer. Two appends to one session at once, of two programs too, stand
  // one after the other. The log only grows: a question that is asked again is there again with each
  // answer. A decision that is already there is not appended twice. kInvalidArgument when trace.id is empty
  // or belongs to another session; kIo when the disk is full.
  virtual Status append(const std::string& session, const chat::Request& request, const Answer& answer,
                        const chat::Trace& trace) = 0;
  // The decision alone: of an answer that nobody has seen anything of, but that was paid for.
  virtual Status append_decision(const std::string& session, const chat::Request& request,
                                 const chat::Trace& trace) = 0;

  virtual Result<std::vector<Turn>> turns(const std::string& session) = 0;  // kNotFound
  virtual Result<SessionHead> head(const std::string& session) = 0;         // kNotFound
  virtual Result<Session> load(const std::string& session) = 0;             // kNotFound; one snapshot
  // The newest first, at most kListedSessionsMax; those of a tenant, or all.
  virtual Result<std::vector<SessionHead>> list(const std::optional<std::string>& tenant) = 0;
  // With all its turns and decisions. kNotFound.
  virtual Status remove(const std::string& session) = 0;
  // A session from elsewhere (capsule.h) becomes one of ours, its answers with decisions that say so. One
  // that is here already is taken on where its turns are the beginning of the other's, and else refused with
  // kInvalidArgument: neither side loses turns. A private mark on either side holds. True: something is new.
  // Where the id is another tenant's this one gets a key of its own (key_of), and so do answers whose
  // decisions' ids another session has: nobody learns what others keep.
  virtual Result<bool> adopt(const Session& session) = 0;
  virtual Result<chat::Trace> decision(const std::string& id) = 0;  // kNotFound
  // What upstreams were paid since a point of time, by tenant, so that budgets survive a restart.
  virtual Result<std::vector<Spent>> upstream_spent_since(int64_t unix_ms) = 0;
  // Calls `each` with every trace recorded since a point of time, in the order of their times, until it
  // returns false. Rows of a later program that cannot be read are passed over; their number is the result.
  virtual Result<int64_t> for_each_decision(int64_t since_unix_ms,
                                            const std::function<bool(const chat::Trace&)>& each) = 0;
};

}  // namespace hedge::session
