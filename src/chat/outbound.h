// What may leave this device, as a type. An Outbound is a request that the privacy gate has let pass (and,
// where the policy says so, masked); privacy::OutboundGate alone can make one, and a chat::Upstream takes
// nothing else. So the compiler holds that no request reaches the network around the gate. docs/privacy.md
// has the whole argument.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

#include "chat/backend.h"

namespace hedge::privacy {
class OutboundGate;
}

namespace hedge::chat {

class Outbound {
 public:
  const Request& request() const { return request_; }

 private:
  friend class privacy::OutboundGate;
  explicit Outbound(Request request) : request_(std::move(request)) {}

  Request request_;
};

static_assert(!std::is_default_constructible_v<Outbound> && !std::is_aggregate_v<Outbound>);
static_assert(!std::is_constructible_v<Outbound, Request> && !std::is_convertible_v<Request, Outbound>);

// Whoever answers beyond this device. As chat::Backend, but for what start() takes.
class Upstream {
 public:
  virtual ~Upstream() = default;

  virtual const BackendInfo& info() const = 0;
  virtual BackendState state() const = 0;
  virtual Result<std::unique_ptr<Stream>> start(const Outbound& outbound) = 0;
};

}  // namespace hedge::chat
