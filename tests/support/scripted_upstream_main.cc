// An OpenAI-compatible server that behaves as scripted (scripted_upstream.h), as a program; usage() says how.
#include <charconv>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/support/scripted_upstream.h"

namespace {

constexpr const char* kUsage =
    R"(Usage: scripted_upstream [--port N] [--key KEY] [--script SCRIPT] [--sequence SCRIPT]...

An OpenAI-compatible server on 127.0.0.1 that answers and fails as it is told. It prints "listening on URL" and serves
until SIGTERM or SIGINT.

  --port N            0 (default): the system picks one
  --key KEY           requests without "Authorization: Bearer KEY" get 401
  --script SCRIPT     what is done with a request that nothing else says anything of
  --sequence SCRIPT   of the next request; may be given several times
  --help              this text

The answer is what follows "say: " in the last user message, else words drawn by a hash of it. A request's script is the
next of the sequence; else what stands in its last user message between "script: " and ';'; else in its model's name after
'?' ("x?fault=cut&after=2"); else --script.

  POST /scripted/sequence   one script per line; replaces the sequence
  POST /scripted/default    one script, in place of --script
  GET  /scripted/seen       the requests that came, connections, clients that went away
  POST /scripted/forget     empties what was seen

A SCRIPT is key=value pairs joined by '&', ',' or ' ':

)";

int usage() {
  std::printf("%s%s", kUsage, hedge::test::script_help().c_str());
  return 0;
}

int fail(const std::string& what) {
  std::fprintf(stderr, "scripted_upstream: %s\n`scripted_upstream --help` explains.\n", what.c_str());
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
    if (flag == "--help" || flag == "-h") return usage();
    if (i + 1 >= argc) return fail(flag + ": expected a value");
    const std::string value = argv[i + 1];
    if (flag == "--port") {
      const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), options.port);
      if (failed != std::errc() || end != value.data() + value.size())
        return fail("--port: expected a number from 0 to 65535, got '" + value + "'");
    } else if (flag == "--key") {
      options.key = value;
    } else if (flag == "--script" || flag == "--sequence") {
      std::string problem;
      const auto script = hedge::test::parse_script(value, problem);
      if (!script) return fail(flag + ": expected known keys and values, got '" + problem + "'");
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
