// What an operator says about personal data: a class per type and per field of a request, for the device and
// for each tenant. Plain data, read from the configuration by cli/, and the rules that come of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hedge::privacy {

// What a find means for the request, the stricter the greater.
enum class Class : uint8_t {
  kAllow,  // nothing
  kMask,   // it may leave with a placeholder in the value's place
  kLocal,  // the request is answered on this device
};
// "allow", "mask", "local".
std::optional<Class> parse_class(std::string_view name);
// Whether it may stand for a type ("allow", "mask", "local"), or for a field ("types", "mask", "local"); the
// error lists what may.
Status check_type_word(std::string_view word);
Status check_field_word(std::string_view word);

enum class Field : uint8_t {
#define HEDGE_PRIVACY_FIELD(enumerator, key, help) enumerator,
#include "privacy/field_list.inc"
#undef HEDGE_PRIVACY_FIELD
};

// Who wrote a text that cannot be masked: the program (definitions of tools, ids, names of functions, a
// header), for which the tagger is not asked, as it takes words of a description for names; or a user or
// model.
enum class Rigid : uint8_t { kSet, kSaid };

inline constexpr std::string_view kClassTypes[] = {
#define HEDGE_PRIVACY_CLASS(type, key, standard, help) type,
#include "privacy/class_list.inc"
#undef HEDGE_PRIVACY_CLASS
};
inline constexpr std::string_view kClassKeys[] = {
#define HEDGE_PRIVACY_CLASS(type, key, standard, help) key,
#include "privacy/class_list.inc"
#undef HEDGE_PRIVACY_CLASS
};
inline constexpr std::string_view kFieldKeys[] = {
#define HEDGE_PRIVACY_FIELD(enumerator, key, help) key,
#include "privacy/field_list.inc"
#undef HEDGE_PRIVACY_FIELD
};
inline constexpr size_t kTypeCount = std::size(kClassTypes);
inline constexpr size_t kFieldCount = std::size(kFieldKeys);
static_assert(kTypeCount <= 32);  // sets of types are bits

// Index of a type in kClassTypes; kTypeCount for one that stands not there.
constexpr size_t type_index(std::string_view type) {
  size_t i = 0;
  while (i < kTypeCount && kClassTypes[i] != type) ++i;
  return i;
}

using TypeSet = uint32_t;  // bit i: kClassTypes[i]
constexpr TypeSet set_of(std::string_view type) { return TypeSet{1} << type_index(type); }
inline constexpr TypeSet kAllTypes = (TypeSet{1} << kTypeCount) - 1;
// Those that the tagger alone finds.
extern const TypeSet kTaggedOnly;
// "EMAIL_ADDRESS, US_SSN"
std::string type_names(TypeSet types);

// As the configuration has them; an empty one of a tenant is the device's.
struct Classes {
  std::array<std::string, kTypeCount> types;
  // "types": what the types say; "mask": everything that is found there, of any type, is masked; "local": a
  // request with a text there stays here.
  std::array<std::string, kFieldCount> fields;
};
Classes default_classes();

struct Policy {
  // The two gates as wholes. A policy may open them; a request never can.
  bool private_sessions_stay_local = true;
  bool personal_data_stays_local = true;  // false: the classes below are not asked
  // A tenant's own classes make stricter; with this they may also loosen.
  bool tenants_may_loosen = false;
  // Texts of more bytes in sum, or a scan that takes longer, are not judged and stay here. 1 MiB takes some
  // 20 ms, and no context of a small model holds it.
  int64_t scan_bytes_max = 1 << 20;
  int scan_ms_max = 1000;
  Classes classes = default_classes();
};

// What holds for the requests of one tenant, or of the device's owner.
class Rules {
 public:
  // An unknown word counts as "local".
  Rules(const Policy& policy, const Classes* tenant);

  // Types that mask or keep a text of this field.
  TypeSet masked(Field field) const { return masked_[static_cast<size_t>(field)]; }
  TypeSet local(Field field) const { return local_[static_cast<size_t>(field)]; }
  TypeSet asked(Field field) const { return masked(field) | local(field); }
  bool closed(Field field) const { return closed_[static_cast<size_t>(field)]; }
  // Of any field: for what can be no field's, or of two.
  TypeSet asked() const { return asked_; }
  TypeSet local() const { return kept_; }
  // The same where what is masked has been: whatever a detector still finds stays here.
  Rules strict() const;

 private:
  std::array<TypeSet, kFieldCount> masked_{}, local_{};
  std::array<bool, kFieldCount> closed_{};
  TypeSet asked_ = 0, kept_ = 0;
};

}  // namespace hedge::privacy
