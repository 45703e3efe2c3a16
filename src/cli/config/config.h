// The TOML file of `hedge serve`: read strictly against one table of keys, and written from it with every key
// explained.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "cli/config/settings.h"

namespace hedge::cli {

// Where a key's value lives in a Settings; the alternative is the key's type.
using Field = std::variant<std::string*, bool*, int*, int64_t*, uint16_t*, size_t*, double*>;

struct ConfigKey {
  const char* section;
  const char* name;
  Field (*field)(Settings& settings);
  double min;  // of numbers
  double max;
  const char* help;
};

struct ConfigSection {
  const char* name;
  const char* help;
};

std::span<const ConfigKey> config_keys();
std::span<const ConfigSection> config_sections();

// What errors call the upstream of that index: "upstream", "upstream[2]", ...
std::string upstream_section(size_t index);

// Sets in `settings` what the text names. Everything unknown, doubled, of the wrong type or out of range is
// an error that begins "WHERE:LINE: " and says what would be right.
Status apply_config(std::string_view text, std::string_view where, Settings& settings);
Status apply_config_file(const std::string& path, Settings& settings);
// What a command that looks at recorded things begins with: the file's settings, where one is given, and the
// data folder of the command line above the file's.
Result<Settings> settings_from(const std::string& config_path, const std::string& data_dir);

// Remembers that `flag` gave the value of the key whose field is `field`.
void note_flag(Settings& settings, const void* field, const std::string& flag);
// The error that what was given for a key is wrong, and where it was given: "FILE:LINE: 'KEY' in [SECTION]:
// WHAT",
// "--FLAG: WHAT", or of a default "'KEY' in [SECTION]: WHAT".
Error wrong_value(const Settings& settings, const std::string& section, const std::string& name,
                  std::string_view what);
// The same of an error that came from below with the name of the key as its field; others stay as they are.
Error located(const Settings& settings, const std::string& section, Error error);

// The whole file, annotated: keys that differ from their defaults are set, all others stand commented out.
std::string config_text(const Settings& settings);

}  // namespace hedge::cli
