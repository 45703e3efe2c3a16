// scripted_upstream [--port N] [--key KEY] [--script SCRIPT] [--sequence SCRIPT]...
// Prints "listening on http://127.0.0.1:PORT" and serves until SIGTERM or
// SIGINT. script.h says what a SCRIPT is.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/scripted_upstream.h"

namespace {

int fail(const std::string& what) {
  std::fprintf(stderr, "scripted_upstream: %s\n", what.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);  // before any thread, so that all inherit it

  hedge::test::ScriptedUpstream::Options options;
  std::vector<hedge::test::Script> sequence;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) return fail(flag + ": expected a value");
    const std::string value = argv[i + 1];
    if (flag == "--port") {
      options.port = static_cast<uint16_t>(std::strtoul(value.c_str(), nullptr, 10));
    } else if (flag == "--key") {
      options.key = value;
    } else if (flag == "--script" || flag == "--sequence") {
      std::string problem;
      const auto script = hedge::test::parse_script(value, problem);
      if (!script) return fail("not understood: " + problem);
      if (flag == "--script") {
        options.script = *script;
      } else {
        sequence.push_back(*script);
      }
    } else {
      return fail("unknown flag " + flag);
    }
  }
  hedge::test::ScriptedUpstream upstream(options);
  upstream.set_sequence(sequence);
  std::printf("listening on %s\n", upstream.base_url().c_str());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop, &signal);
  return 0;
}
