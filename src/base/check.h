// HEDGE_CHECK ends the process on a bug of ours, in release builds too. Never used on bytes from outside.
#pragma once

namespace hedge {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace hedge

#define HEDGE_CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::hedge::check_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define HEDGE_DCHECK(condition) void(0)
#else
#define HEDGE_DCHECK(condition) HEDGE_CHECK(condition)
#endif
