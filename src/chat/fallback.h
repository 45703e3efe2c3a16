// When one backend could not answer: whether it is worth asking another.
#pragma once

#include "base/result.h"

namespace hedge::chat {

// Whether another backend may do what one did not: not so for a request that is wrong in itself, which is
// wrong everywhere, nor for one that was cancelled.
bool another_may_answer(ErrorCode code);

}  // namespace hedge::chat
