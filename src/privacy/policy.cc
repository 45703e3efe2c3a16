#include "privacy/policy.h"

#include <algorithm>

#include <fmt/format.h>

namespace hedge::privacy {
namespace {

constexpr std::string_view kStandard[] = {
#define HEDGE_PRIVACY_CLASS(type, key, standard, help) standard,
#include "privacy/class_list.inc"
#undef HEDGE_PRIVACY_CLASS
};

constexpr std::string_view kByTypes = "types";

constexpr std::string_view kDetected[] = {
#define HEDGE_DETECTOR(name, type) type,
#include "privacy/detector_list.inc"
#undef HEDGE_DETECTOR
};

// Every type that can be found has a class: one without would be let pass.
#define HEDGE_DETECTOR(name, type) static_assert(type_index(type) < kTypeCount);
#include "privacy/detector_list.inc"
#undef HEDGE_DETECTOR
#define HEDGE_TAGGED_TYPE(name) static_assert(type_index(#name) < kTypeCount);
#include "privacy/type_list.inc"
#undef HEDGE_TAGGED_TYPE

constexpr TypeSet tagged_only() {
  TypeSet out = kAllTypes;
  for (size_t i = 0; i < kTypeCount; ++i) {
    for (const std::string_view type : kDetected) {
      if (type == kClassTypes[i]) out &= ~(TypeSet{1} << i);
    }
  }
  return out;
}

// Of a field: what is the least for every type in it.
Class floor_of(const std::string& word) {
  return word == kByTypes ? Class::kAllow : parse_class(word).value_or(Class::kLocal);
}

Class combined(Class device, Class own, bool may_loosen) { return may_loosen ? own : std::max(device, own); }

}  // namespace

constinit const TypeSet kTaggedOnly = tagged_only();

std::optional<Class> parse_class(std::string_view name) {
  if (name == "allow") return Class::kAllow;
  if (name == "mask") return Class::kMask;
  if (name == "local") return Class::kLocal;
  return std::nullopt;
}

Status check_type_word(std::string_view word) {
  if (parse_class(word)) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("expected allow, mask or local, got '{}'", word.substr(0, 32)));
}

Status check_field_word(std::string_view word) {
  if (word == kByTypes || word == "mask" || word == "local") return {};
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("expected types, mask or local, got '{}'", word.substr(0, 32)));
}

std::string type_names(TypeSet types) {
  std::string out;
  for (size_t i = 0; i < kTypeCount; ++i) {
    if ((types >> i & 1) == 0) continue;
    if (!out.empty()) out += ", ";
    out += kClassTypes[i];
  }
  return out;
}

Classes default_classes() {
  Classes out;
  std::copy(std::begin(kStandard), std::end(kStandard), out.types.begin());
  out.fields.fill(std::string(kByTypes));
  return out;
}

Rules::Rules(const Policy& policy, const Classes* tenant) {
  std::array<Class, kTypeCount> types{};
  for (size_t i = 0; i < kTypeCount; ++i) {
    types[i] = parse_class(policy.classes.types[i]).value_or(Class::kLocal);
    if (tenant != nullptr && !tenant->types[i].empty())
      types[i] = combined(types[i], parse_class(tenant->types[i]).value_or(Class::kLocal),
                          policy.tenants_may_loosen);
  }
  for (size_t f = 0; f < kFieldCount; ++f) {
    Class floor = floor_of(policy.classes.fields[f]);
    if (tenant != nullptr && !tenant->fields[f].empty())
      floor = combined(floor, floor_of(tenant->fields[f]), policy.tenants_may_loosen);
    closed_[f] = floor == Class::kLocal;
    for (size_t i = 0; i < kTypeCount; ++i) {
      const Class held = std::max(types[i], floor);
      if (held == Class::kMask) masked_[f] |= TypeSet{1} << i;
      if (held == Class::kLocal) local_[f] |= TypeSet{1} << i;
    }
    asked_ |= masked_[f] | local_[f];
    kept_ |= local_[f];
  }
}

Rules Rules::strict() const {
  Rules out = *this;
  for (size_t f = 0; f < kFieldCount; ++f) {
    out.local_[f] = (masked_[f] | local_[f]) & ~kTaggedOnly;
    out.masked_[f] = 0;
  }
  out.kept_ = out.asked_ &= ~kTaggedOnly;
  return out;
}

}  // namespace hedge::privacy
