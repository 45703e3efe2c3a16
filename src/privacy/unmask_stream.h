// What comes back from an upstream that was sent a masked request: a stream with the values in the place of
// the placeholders, also where one is cut over several pieces. What is left of a placeholder at the end of an
// answer that was cut off is dropped. Facts about tokens are dropped, too: they spell placeholders.
#pragma once

#include <memory>

#include "chat/backend.h"
#include "privacy/mask.h"

namespace hedge::privacy {

std::unique_ptr<chat::Stream> unmasked(std::unique_ptr<chat::Stream> stream,
                                       std::shared_ptr<const PlaceholderTable> table);

}  // namespace hedge::privacy
