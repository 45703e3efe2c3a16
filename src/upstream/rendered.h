// A conversation as the local model reads it: what an endpoint with the same template and tokenizer can be
// sent instead of messages. Whoever has the tokenizer gives the function; this module has none.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "chat/request.h"

namespace hedge::upstream {

struct Rendered {
  std::string text;          // up to where the answer begins; empty: as text it would be read otherwise
  std::vector<int32_t> ids;  // the same as tokens
  std::vector<int32_t> ids_with_start;  // and with Request::assistant_prefix behind them
  bool add_special = false;             // a tokenizer must add BOS to `text`
};

// None when the conversation cannot be rendered. Thread-safe.
using Renderer = std::function<std::optional<Rendered>(const chat::Request&)>;

}  // namespace hedge::upstream
