// Answers one call of a dialect: from the body to events to bytes in the outbox.
#pragma once

#include <memory>

#include "api/dialect.h"
#include "server/context.h"
#include "server/http.h"
#include "server/outbox.h"
#include "server/slots.h"

namespace hedge::server {

// Takes the slot of the first answer; those of further choices are taken here. Blocks until the answer has
// ended; runs on a thread of context.answers.
void answer_call(Context& context, const api::Dialect& dialect, const HttpRequest& request,
                 const std::shared_ptr<Outbox>& outbox, SlotHold slot);

}  // namespace hedge::server
