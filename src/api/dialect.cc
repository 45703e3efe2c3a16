#include "api/dialect.h"

namespace hedge::api {

std::span<const Dialect* const> dialects() {
#define HEDGE_DIALECT(name) &name,
  static constexpr const Dialect* kAll[] = {
#include "api/dialect_list.inc"
  };
#undef HEDGE_DIALECT
  return kAll;
}

}  // namespace hedge::api
