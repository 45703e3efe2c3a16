// A chat::Backend around another (the router): resolves the session, carries its private mark into the
// request, and makes turn and trace durable before it hands on Done.
//
// A session is private when it was marked, when the request marks it, or when the request continues the
// conversation of a private session under another id; the mark is durable before the answer begins. An answer
// that breaks off after its client has seen some of it is recorded as far as it was handed on, with the
// reason kReasonCancelled or kReasonFailed; before, it leaves its decision alone, and only where it has cost
// something.
#pragma once

#include <memory>

#include "chat/backend.h"
#include "session/store.h"

namespace hedge::session {

inline constexpr std::string_view kReasonCancelled = "cancelled";  // the client went, or cancelled
inline constexpr std::string_view kReasonFailed = "failed";        // the answer ended in an error
bool was_broken_off(const chat::Trace& trace);

// Both outlive the recorder, and the recorder its streams. An answer that cannot be made durable ends in an
// error instead of Done.
std::unique_ptr<chat::Backend> make_recorder(chat::Backend& inner, Store& store);

}  // namespace hedge::session
