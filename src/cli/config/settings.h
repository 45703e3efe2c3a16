// Everything `hedge serve` can be told, as one value: the defaults, then the TOML file, then the flags.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "route/router.h"
#include "server/server.h"
#include "upstream/openai_backend.h"

namespace hedge::cli {

// Where a value was given.
struct Origin {
  std::string place;  // "FILE:LINE", or the flag
  bool is_flag = false;
};

// Where a tenant's API key is found; the tenant itself is in the policy, at the same place of the list.
struct TenantKey {
  std::string name;
  std::string key_env;
  std::string key_file;
  std::string place;  // "FILE:LINE: [tenants.NAME]"
};

struct Settings {
  std::string model;  // MODEL: a name or a path
  engine::Options engine;
  server::Options server;
  std::string api_key_env;  // where server.api_key comes from, when not from the command line
  std::string api_key_file;
  bool allow_anonymous = false;
  std::string log_level = "info";
  std::string data_dir;                           // of the session database; empty: the home of Hedge
  std::string session_store;                      // session/store.h; empty: hedge.db in data_dir
  upstream::Options upstream;                     // used when base_url is set
  std::vector<upstream::Options> more_upstreams;  // the second [[upstream]] and those after it
  route::Policy policy;
  std::vector<TenantKey> tenant_keys;
  std::map<std::string, Origin>
      origins;  // by "SECTION.KEY" ("upstream[2].KEY") of the file; none: the default
};

}  // namespace hedge::cli
