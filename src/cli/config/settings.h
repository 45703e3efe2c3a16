// Everything `hedge serve` can be told, as one value: the defaults, then the TOML file, then the flags.
#pragma once

#include <string>

#include "engine/engine.h"
#include "route/router.h"
#include "server/server.h"
#include "upstream/openai_backend.h"

namespace hedge::cli {

struct Settings {
  std::string model;  // MODEL: a name or a path
  engine::Options engine;
  server::Options server;
  std::string api_key_env;  // where server.api_key comes from, when not from the command line
  std::string api_key_file;
  bool allow_anonymous = false;
  std::string log_level = "info";
  std::string data_dir;        // of the session database; empty: the home of Hedge
  upstream::Options upstream;  // used when base_url is set
  route::Policy policy;
};

}  // namespace hedge::cli
