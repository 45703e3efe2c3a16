#include "cli/session_store.h"

#include <fmt/format.h>

#include "cli/models/store.h"
#include "cli/terminal.h"
#include "os/file.h"

namespace hedge::cli {

Result<std::string> data_folder(const Settings& settings) {
  if (!settings.data_dir.empty()) return settings.data_dir;
  HEDGE_TRY_SET(const ModelStore models, ModelStore::from_environment());
  return models.home();
}

std::string store_address(const Settings& settings, const std::string& data_folder) {
  return settings.session_store.empty() ? data_folder + "/hedge.db" : settings.session_store;
}

std::string printable_address(const std::string& address) {
  const size_t scheme = address.find("://");
  std::string out = address.substr(0, address.find('?'));  // its parameters may hold a password too
  if (scheme == std::string::npos) return printable(address);
  const size_t at = out.rfind('@');
  const size_t colon = out.find(':', scheme + 3);
  if (at != std::string::npos && colon < at) out.replace(colon, at - colon, ":***");
  return printable(out);
}

Status find_recorded(const Settings& settings) {
  HEDGE_TRY_SET(const std::string folder, data_folder(settings));
  const std::string address = store_address(settings, folder);
  constexpr std::string_view kSqlite = "sqlite:";
  const std::string path = address.starts_with(kSqlite) ? address.substr(kSqlite.size()) : address;
  if (address.find("://") != std::string::npos || os::file_exists(path)) return {};
  const bool in_folder = settings.session_store.empty();
  const std::string got = in_folder && !os::file_exists(folder)
                              ? fmt::format("there is no folder '{}'", printable(folder))
                              : fmt::format("there is no file '{}'", printable(path));
  return make_error(
      ErrorCode::kNotFound,
      fmt::format("expected {}: {}; `hedge serve` makes it, --data-dir or --config says where",
                  in_folder ? "a data folder with a session database" : "a session database", got));
}

Result<std::unique_ptr<session::Store>> open_recorded(const Settings& settings) {
  HEDGE_TRY(find_recorded(settings));
  HEDGE_TRY_SET(const std::string folder, data_folder(settings));
  return session::Store::open(store_address(settings, folder));
}

}  // namespace hedge::cli
