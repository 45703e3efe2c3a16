// The store over sql.h, the same for both databases. Private to this folder.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "session/sql.h"
#include "session/store.h"

namespace hedge::session {

class SqlStore final : public Store {
 public:
  // Two connections: one writes, one reads.
  SqlStore(std::unique_ptr<Connection> writer, std::unique_ptr<Connection> reader)
      : writer_(std::move(writer)), reader_(std::move(reader)) {}

  Result<std::string> resolve(const chat::Request& request) override;
  Result<std::string> key_of(const std::string& tenant, const std::string& id) override;
  Result<bool> is_private(const std::string& session) override;
  Result<bool> continues_private(const chat::Request& request) override;
  Status mark_private(const std::string& session, const std::string& tenant) override;
  Result<std::string> writer_of(const std::string& session, const chat::Request& request,
                                const chat::Message* message) override;
  Status append(const std::string& session, const chat::Request& request, const Answer& answer,
                const chat::Trace& trace) override;
  Status append_decision(const std::string& session, const chat::Request& request,
                         const chat::Trace& trace) override;
  Result<std::vector<Turn>> turns(const std::string& session) override;
  Result<SessionHead> head(const std::string& session) override;
  Result<Session> load(const std::string& session) override;
  Result<std::vector<SessionHead>> list(const std::optional<std::string>& tenant) override;
  Status remove(const std::string& session) override;
  Result<bool> adopt(const Session& session) override;
  Result<chat::Trace> decision(const std::string& id) override;
  Result<std::vector<Spent>> upstream_spent_since(int64_t unix_ms) override;
  Result<int64_t> for_each_decision(int64_t since_unix_ms,
                                    const std::function<bool(const chat::Trace&)>& each) override;

 private:
  // Runs `work` on the connection, alone; and again while its failure is one that may pass.
  template <typename Work>
  auto on(Connection& connection, Work&& work) {
    const auto lock = connection.lock();
    auto done = work(connection);
    for (int attempt = 0; !done.ok() && connection.try_again(done.error(), attempt); ++attempt)
      done = work(connection);
    return done;
  }

  // REQUIRES for all: the connection's lock is held; where something is added, in a transaction.
  Result<std::string> resolve_on(Connection& db, const chat::Request& request,
                                 const std::vector<std::string>& histories);
  Result<std::string> key_on(Connection& db, const std::string& tenant, const std::string& id);
  Result<bool> continues_private_on(Connection& db, const chat::Request& request,
                                    const std::vector<std::string>& histories);
  Result<bool> is_private_message(Connection& db, const chat::Message& message, const std::string& tenant);
  Result<std::string> writer_in(Connection& db, const std::string& session, const chat::Message* message);
  Status append_on(Connection& db, const std::string& session, const chat::Request& request,
                   const Turn& answer, const chat::Trace& trace);
  Result<bool> has_decision(Connection& db, const std::string& id);
  Result<bool> adopt_on(Connection& db, const Session& session);
  Result<std::vector<Turn>> turns_on(Connection& db, const std::string& session);
  Result<std::vector<SessionHead>> heads_on(Connection& db, Statement select);

  // Creates the session or takes its lock: who comes later waits for this transaction's end.
  Status add_session(Connection& db, const std::string& session, const std::string& tenant, bool is_private,
                     int64_t now_ms);
  Result<int64_t> turn_count(Connection& db, const std::string& session);
  Result<std::optional<size_t>> known_messages(Connection& db, std::span<const chat::Message> messages,
                                               const std::string& session);
  Result<bool> was_just_asked(Connection& db, std::span<const chat::Message> question,
                              const std::string& session);
  Status add_turn(Connection& db, const std::string& session, int64_t seq, const Turn& turn);
  // With its session. False: it was there already.
  Result<bool> add_new_decision(Connection& db, const std::string& session, const chat::Request& request,
                                const chat::Trace& trace, int64_t now_ms);
  Status add_decision(Connection& db, const std::string& session, const chat::Trace& trace,
                      int64_t created_ms);
  Status add_history(Connection& db, const std::string& session, const std::string& hash);

  const std::unique_ptr<Connection> writer_;
  const std::unique_ptr<Connection> reader_;
};

// What a row has of a message, in this order from column `first` on.
inline constexpr const char kMessageColumns[] = "role, name, content, tool_calls, tool_call_id";
inline constexpr int kMessageColumnCount = 5;
Result<chat::Message> message_in(const Statement& row, int first);

}  // namespace hedge::session
