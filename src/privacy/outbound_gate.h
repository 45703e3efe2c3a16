// The privacy gate: the one place where a request becomes something that may leave the device. It judges
// every text of it, masks where the policy says so, and looks once more at what it has masked. Nothing else
// can make a chat::Outbound, and an upstream takes nothing else.
//
// Thread-safe: any thread may ask at once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/outbound.h"
#include "privacy/judge.h"
#include "privacy/mask.h"
#include "privacy/policy.h"

namespace hedge::privacy {

// A request that was judged, with what was found. The gate alone makes it, and it holds the very request that
// was judged, which nobody can change.
class Judged {
 public:
  const chat::Request& request() const { return *request_; }
  const Finding& finding() const { return finding_; }

 private:
  friend class OutboundGate;
  Judged(std::shared_ptr<const chat::Request> request, Finding finding)
      : request_(std::move(request)), finding_(std::move(finding)) {}

  std::shared_ptr<const chat::Request> request_;
  Finding finding_;
};

// How an answer that has begun here goes on elsewhere; by default the request as it is.
struct Leg {
  std::string_view prefix;                   // what the assistant's turn begins with by now
  std::span<const int32_t> prefix_tokens{};  // the local model's own tokens of it; empty: not known
  int max_tokens = -1;                       // of what is still to be written
};

// What came of asking to leave.
struct Passage {
  std::unique_ptr<const chat::Outbound> outbound;  // null: it stays
  Finding finding;                                 // kMasked: it leaves masked; else why it stays
  // Of a masked one: what stands for what. It never leaves; what comes back is read with it
  // (unmask_stream.h).
  std::shared_ptr<const PlaceholderTable> table;
  int values = 0;  // that were masked
};

class OutboundGate {
 public:
  // A tenant's own classes by its name.
  using Tenants = std::map<std::string, Classes, std::less<>>;

  explicit OutboundGate(Policy policy = {}, const Tenants& tenants = {}, ScanHooks hooks = {});

  // What stands in the request, by the rules of its tenant. Never throws; allocates nothing for clean texts.
  Finding judge(const chat::Request& request) const;
  Judged judge(std::shared_ptr<const chat::Request> request) const;

  // Lets a judged request pass, if its finding and what was written since allow it.
  Passage pass(const Judged& judged, const Leg& leg) const;
  // Both at once, of a request whose answer has not begun here.
  Passage pass(const chat::Request& request) const;

  const Policy& policy() const { return policy_; }

 private:
  const Rules& rules_of(std::string_view tenant) const;
  using History = decltype(chat::Routing::history);
  Passage mask(chat::Request request, const History& history, const Rules& rules) const;
  Finding judge_masked(const chat::Request& masked, const PlaceholderTable& table, const Rules& rules) const;

  const Policy policy_;
  const ScanHooks hooks_;
  const Rules device_;
  std::map<std::string, Rules, std::less<>> tenants_;
};

}  // namespace hedge::privacy
