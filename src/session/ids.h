// Ids of sessions and decisions. Private to this folder.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hedge::session {

// kInvalidArgument with the field hedge.session when it is no session id (store.h: kSessionIdBytesMax).
Status check_session_id(std::string_view id);

// "s-" and 16 random hex digits from the system: ids stand in for the conversation, so they cannot be
// guessed.
Result<std::string> make_session_id();
// "hd-" likewise, for an answer whose request has no id.
Result<std::string> make_decision_id();

}  // namespace hedge::session
