// A chat::Backend around another (the router): resolves the session, carries its private mark into the request, and
// makes turn and trace durable before it hands on Done.
#pragma once

#include <memory>

#include "chat/backend.h"
#include "session/store.h"

namespace hedge::session {

// Both outlive the recorder. An answer that cannot be made durable ends in an error instead of Done.
std::unique_ptr<chat::Backend> make_recorder(chat::Backend& inner, Store& store);

}  // namespace hedge::session
