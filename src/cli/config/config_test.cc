#include "cli/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/pfr.hpp>
#include <map>
#include <set>

#include "cli/config/check.h"
#include "cli/test_util.h"

namespace hedge::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(const std::string& text) {
  Settings settings;
  const Status status = apply_config(text, "hedge.toml", settings);
  EXPECT_FALSE(status.ok()) << text;
  if (status.ok()) return {};
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  return status.error().detail;
}

TEST(Config, SetsWhatTheFileNamesAndLeavesTheRest) {
  Settings settings;
  const Status status = apply_config(
      "[model]\nmodel = 'm'\nthreads = 2\n[server]\nport = 0\nhost = '::1'\nbody_bytes_max = 4096\n"
      "[upstream]\nbase_url = 'http://h'\nsend_continue_flags = false\n"
      "[policy]\nupstream_tokens_per_day = 5000000000\n[policy.confidence]\nfirst_margin_min = "
      "0.25\nmid_entropy_max = 3\n",
      "hedge.toml", settings);
  ASSERT_TRUE(status.ok()) << status.error().detail;
  EXPECT_EQ(settings.model, "m");
  EXPECT_EQ(settings.engine.threads, 2);
  EXPECT_EQ(settings.engine.slots, engine::Options().slots);
  EXPECT_EQ(settings.server.port, 0);
  EXPECT_EQ(settings.server.host, "::1");
  EXPECT_EQ(settings.server.body_bytes_max, 4096u);
  EXPECT_FALSE(settings.upstream.send_continue_flags);
  EXPECT_EQ(settings.policy.upstream_tokens_per_day, 5000000000);
  EXPECT_DOUBLE_EQ(settings.policy.confidence.first_margin_min, 0.25);
  EXPECT_DOUBLE_EQ(settings.policy.confidence.mid_entropy_max, 3.0);
}

TEST(Config, UnknownKeyNamesLineKeyAndNearest) {
  EXPECT_EQ(error_of("[server]\nhost = 'x'\nprot = 1\n"),
            "hedge.toml:3: unknown key 'prot' in [server]; did you mean 'port'?");
  EXPECT_EQ(error_of("[sever]\n"), "hedge.toml:1: unknown section or key 'sever'; did you mean 'server'?");
  EXPECT_EQ(error_of("\n\nthreads = 2\n"),
            "hedge.toml:3: unknown section or key 'threads'; there is one of that name in [model]");
  EXPECT_THAT(error_of("[policy.confidance]\nenabled = true\n"), HasSubstr("hedge.toml:1: "));
  EXPECT_THAT(error_of("[session]\nqqqqqqqq = 1\n"), HasSubstr("known are data_dir"));
}

TEST(Config, WrongTypesSayWhatCame) {
  EXPECT_EQ(error_of("[server]\nport = '80'\n"),
            "hedge.toml:2: 'port' in [server] must be an integer, got a string");
  EXPECT_EQ(error_of("[server]\nport = 80.5\n"),
            "hedge.toml:2: 'port' in [server] must be an integer, got a number with a fraction");
  EXPECT_EQ(error_of("[policy]\noffline = 1\n"),
            "hedge.toml:2: 'offline' in [policy] must be true or false, got an integer");
  EXPECT_EQ(error_of("[server]\nhost = [1]\n"),
            "hedge.toml:2: 'host' in [server] must be a string, got an array");
  EXPECT_EQ(error_of("server = 3\n"), "hedge.toml:1: 'server' must be a table, [server], got an integer");
  EXPECT_EQ(error_of("\n[[server]]\nport = 1\n"),
            "hedge.toml:2: 'server' must be a table, [server], got an array");
}

TEST(Config, NumbersKeepTheirRange) {
  EXPECT_EQ(error_of("[server]\nport = 65536\n"),
            "hedge.toml:2: 'port' in [server] must be 0 to 65535, got 65536");
  EXPECT_THAT(error_of("[server]\nport = -1\n"), HasSubstr("got -1"));
  EXPECT_THAT(error_of("[policy.confidence]\nfirst_margin_min = 1.5\n"),
              HasSubstr("must be 0 to 1, got 1.5"));
  EXPECT_THAT(error_of("[policy.confidence]\nfirst_margin_min = nan\n"), HasSubstr("must be 0 to 1"));
}

TEST(Config, BrokenTomlNamesItsLine) {
  EXPECT_THAT(error_of("[server]\nport = = 1\n"), StartsWith("hedge.toml:2: "));
  EXPECT_THAT(error_of("[server]\nport = 1\nport = 2\n"), StartsWith("hedge.toml:3: "));
}

TEST(Config, UpstreamMayBeAListOfOne) {
  Settings settings;
  ASSERT_TRUE(apply_config("[[upstream]]\nname = 'big'\n", "hedge.toml", settings).ok());
  EXPECT_EQ(settings.upstream.name, "big");
  Settings several;
  ASSERT_TRUE(apply_config("[[upstream]]\nname = 'fog'\nbase_url = 'http://f'\nmodel = 'm'\n"
                           "[[upstream]]\nname = 'cloud'\nbase_url = 'https://c'\nmodel = 'big'\n",
                           "hedge.toml", several)
                  .ok());
  EXPECT_EQ(several.upstream.name, "fog");
  ASSERT_EQ(several.more_upstreams.size(), 1u);
  EXPECT_EQ(several.more_upstreams[0].name, "cloud");
  EXPECT_EQ(several.origins["upstream.name"].place, "hedge.toml:2");
  EXPECT_EQ(several.origins["upstream[2].name"].place, "hedge.toml:6");
  Settings again;
  ASSERT_TRUE(apply_config(config_text(several), "again.toml", again).ok());
  EXPECT_EQ(config_text(again), config_text(several));
  EXPECT_EQ(again.more_upstreams[0].base_url, "https://c");
  std::string nine;
  for (int i = 0; i < 9; ++i) nine += "[[upstream]]\nname = 'a'\n";
  EXPECT_THAT(error_of(nine), HasSubstr("at most 8 [[upstream]]"));
  EXPECT_THAT(error_of("[[upstream]]\nname = 'a'\n[[upstream]]\nnome = 'b'\n"), HasSubstr("4: unknown key"));
}

TEST(Config, EveryKeyIsInOneKnownSectionOnce) {
  std::set<std::string> sections, keys;
  for (const ConfigSection& s : config_sections()) EXPECT_TRUE(sections.insert(s.name).second) << s.name;
  for (const ConfigKey& k : config_keys()) {
    EXPECT_TRUE(sections.count(k.section)) << k.section;
    EXPECT_TRUE(keys.insert(std::string(k.section) + "." + k.name).second) << k.name;
    EXPECT_STRNE(k.help, "");
  }
}

// A field that is added to an options struct needs a key here, or a reason why it has none.
TEST(Config, EveryFieldOfTheOptionsHasAKey) {
  std::map<std::string, size_t> keys;
  for (const ConfigKey& k : config_keys()) ++keys[k.section];
  // And the model itself; `warn` and `probe` are code, `state_blocks` follow from a probe.
  EXPECT_EQ(keys["model"], boost::pfr::tuple_size_v<engine::Options> - 3 + 1);
  // The keys come from environment variables or files; two more keys are not the server's.
  EXPECT_EQ(keys["server"], boost::pfr::tuple_size_v<server::Options> - 2 + 4);
  EXPECT_EQ(keys["upstream"], boost::pfr::tuple_size_v<upstream::Options> + 2);  // and its prices
  // Without `confidence`, `prompt`, `rules` and `tenants`; of `prices` all but the upstream's two, of
  // `privacy` its two gates.
  EXPECT_EQ(keys["policy"],
            boost::pfr::tuple_size_v<route::Policy> - 6 + boost::pfr::tuple_size_v<route::Prices> - 2 + 2);
  EXPECT_EQ(keys["privacy"], boost::pfr::tuple_size_v<privacy::Policy> - 3 + privacy::kTypeCount);
  EXPECT_EQ(keys["privacy.fields"], privacy::kFieldCount);
  EXPECT_EQ(keys["policy.prompt"], boost::pfr::tuple_size_v<route::PromptRule>);
  EXPECT_EQ(keys["policy.confidence"], boost::pfr::tuple_size_v<route::Confidence>);
}

// A value of the key's type that differs from its default.
void change(Field field) {
  std::visit(
      [](auto* value) {
        using T = std::remove_cvref_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          *value = "a \"quoted\" \\ value\n";
        } else if constexpr (std::is_same_v<T, bool>) {
          *value = !*value;
        } else if constexpr (std::is_same_v<T, double>) {
          *value += *value < 0.5 ? 0.25 : -0.25;
        } else {
          *value = static_cast<T>(*value + 1);
        }
      },
      field);
}

TEST(Config, EveryKeySurvivesBeingWrittenAndRead) {
  for (const ConfigKey& key : config_keys()) {
    Settings changed;
    change(key.field(changed));
    const std::string text = config_text(changed);
    Settings read;
    const Status status = apply_config(text, "written", read);
    ASSERT_TRUE(status.ok()) << key.section << "." << key.name << ": " << status.error().detail;
    EXPECT_TRUE(config_text(read) == text) << key.section << "." << key.name;
    EXPECT_TRUE(text != config_text(Settings())) << key.section << "." << key.name;
  }
}

// Every default, with the '#' taken away, must be accepted.
TEST(Config, TheExampleIsCurrentAndCompleteAndValid) {
  const std::string example = read_whole(HEDGE_SOURCE_DIR "/deploy/hedge.example.toml");
  EXPECT_TRUE(example == config_text(Settings()))
      << "make it anew: hedge serve --print-config > deploy/hedge.example.toml";
  std::string all;
  size_t keys = 0;
  for (size_t begin = 0; begin < example.size();) {
    const size_t end = example.find('\n', begin);
    std::string line = example.substr(begin, end - begin);
    if (line.starts_with("#") && !line.starts_with("# ")) {
      line.erase(0, 1);
      ++keys;
    }
    all += line + "\n";
    begin = end + 1;
  }
  EXPECT_EQ(keys, config_keys().size());
  Settings settings;
  const Status status = apply_config(all, "example", settings);
  EXPECT_TRUE(status.ok()) << status.error().detail;
}

// ---- Rules and tenants

constexpr const char* kRules = R"([policy]
use = "local-first"
[[policy.rules]]
name = "factory night"
when = {all = [{time = "22:00-06:00"}, {not = {network = "metered"}}]}
use = "local-only"
[[policy.rules]]
when = {tag = ["a", "b.*"], tools = true, battery_below = 20.5, day = "mon"}
use = "deadline"
deadline_ms = 500
[[policy.rules]]
name = "rest"
use = "cheapest-sufficient"
value_per_answer = 0.5
[tenants.office]
key_env = "OFFICE_KEY"
upstream_tokens_per_day = 1000
upstream_money_per_day = 0.5
use = "race"
[tenants.guest]
key_file = "/run/guest"
)";

TEST(Config, RulesAndTenantsAreReadAndWritten) {
  Settings settings;
  const Status status = apply_config(kRules, "hedge.toml", settings);
  ASSERT_TRUE(status.ok()) << status.error().detail;
  const route::Policy& policy = settings.policy;
  ASSERT_EQ(policy.rules.size(), 3u);
  EXPECT_EQ(policy.rules[0].name, "factory night");
  EXPECT_EQ(policy.rules[0].when.parts[1].condition, route::Condition::kNot);
  EXPECT_EQ(policy.rules[1].name, "rule 2");
  EXPECT_EQ(policy.rules[1].when.parts.size(), 4u);
  EXPECT_EQ(policy.rules[1].deadline_ms, 500);
  EXPECT_EQ(policy.rules[2].use, route::Strategy::kCheapestSufficient);
  ASSERT_EQ(policy.tenants.size(), 2u);
  EXPECT_EQ(settings.tenant_keys[1].name, policy.tenants[1].name);
  EXPECT_EQ(policy.tenants[1].upstream_tokens_per_day, 1000);
  EXPECT_EQ(policy.tenants[1].use, route::Strategy::kRace);

  const std::string text = config_text(settings);
  Settings again;
  const Status read = apply_config(text, "written", again);
  ASSERT_TRUE(read.ok()) << read.error().detail;
  EXPECT_EQ(config_text(again), text);
  EXPECT_EQ(again.policy.rules.size(), 3u);
  EXPECT_EQ(again.policy.tenants.size(), 2u);
}

TEST(Config, WrongRulesSayWhereAndWhatIsRight) {
  const auto of_when = [](const std::string& when) {
    return error_of("[[policy.rules]]\nname = 'r'\nuse = 'race'\nwhen = " + when + "\n");
  };
  EXPECT_EQ(of_when("{tim = '22:00-06:00'}"),
            "hedge.toml:4: rule 'r': unknown key 'tim'; did you mean 'time'?");
  EXPECT_EQ(of_when("{time = '22-06'}"),
            "hedge.toml:4: rule 'r': 'time': expected two times of day like \"22:00-06:00\", got \"22-06\"");
  EXPECT_EQ(of_when("{network = 'wifi'}"),
            "hedge.toml:4: rule 'r': 'network': expected offline, metered, unmetered, got \"wifi\"");
  EXPECT_EQ(of_when("{all = {tools = true}}"),
            "hedge.toml:4: rule 'r': 'all' must be a list of tables, got a table");
  EXPECT_EQ(of_when("{tools = 'yes'}"),
            "hedge.toml:4: rule 'r': 'tools' must be true or false, got a string");
  EXPECT_EQ(of_when("{battery_below = 'low'}"),
            "hedge.toml:4: rule 'r': 'battery_below' must be a number, got a string");
  EXPECT_THAT(of_when("{battery_below = nan}"), HasSubstr("'battery_below' must be"));
  EXPECT_THAT(of_when("{}"), HasSubstr("'when' is empty"));
  EXPECT_THAT(of_when("'always'"), HasSubstr("'when' must be a table"));
  EXPECT_THAT(of_when("{any = []}"), HasSubstr("must have 1 to"));
  std::string deep = "{tools = true}";
  for (int i = 0; i < 20; ++i) deep = "{not = " + deep + "}";
  EXPECT_THAT(of_when(deep), HasSubstr("nest at most"));
  EXPECT_EQ(error_of("[[policy.rules]]\nname = 'r'\nuse = 'upstream'\n"),
            "hedge.toml:3: rule 'r': 'use': expected local-only, local-first, upstream-first, race, "
            "cheapest-sufficient, deadline, got \"upstream\"");
  EXPECT_THAT(error_of("[[policy.rules]]\nname = 'r'\n"),
              HasSubstr("hedge.toml:1: rule 'r': 'use' is missing"));
  EXPECT_THAT(error_of("[policy]\nrules = 3\n"), HasSubstr("must be a list of tables"));
  EXPECT_THAT(error_of("[[policy.rule]]\nuse = 'race'\n"), HasSubstr("did you mean 'rules'?"));
  EXPECT_THAT(error_of("[tenants.office]\nuse = 'race'\n"),
              HasSubstr("hedge.toml:1: [tenants.office]: expected either 'key_env' or 'key_file'"));
  EXPECT_THAT(error_of("[tenants.office]\nkey = 'secret'\n"), HasSubstr("unknown key 'key'"));
  EXPECT_THAT(error_of("[tenants.'a b']\nkey_env = 'X'\n"), HasSubstr("expected a name of"));
  EXPECT_THAT(error_of("tenants = 1\n"), HasSubstr("'tenants' must be tables"));
}

constexpr const char* kPrivacy = R"([privacy]
email_address = "mask"
tenants_may_loosen = true
[privacy.fields]
tool = "local"
[tenants.office]
key_env = "OFFICE_KEY"
[tenants.office.privacy]
person = "local"
[tenants.office.privacy.fields]
system = "mask"
)";

TEST(Config, ClassesOfPersonalDataAreReadAndWritten) {
  Settings settings;
  const Status status = apply_config(kPrivacy, "hedge.toml", settings);
  ASSERT_TRUE(status.ok()) << status.error().detail;
  const privacy::Policy& policy = settings.policy.privacy;
  EXPECT_EQ(policy.classes.types[privacy::type_index("EMAIL_ADDRESS")], "mask");
  EXPECT_EQ(policy.classes.types[privacy::type_index("PERSON")], "allow");
  EXPECT_EQ(policy.classes.fields[static_cast<size_t>(privacy::Field::kTool)], "local");
  EXPECT_TRUE(policy.tenants_may_loosen);
  const privacy::Classes& office = settings.policy.tenants.at(0).privacy;
  EXPECT_EQ(office.types[privacy::type_index("PERSON")], "local");
  EXPECT_EQ(office.types[privacy::type_index("EMAIL_ADDRESS")], "");
  EXPECT_EQ(office.fields[static_cast<size_t>(privacy::Field::kSystem)], "mask");
  EXPECT_TRUE(check_policy(settings).ok());

  const std::string text = config_text(settings);
  Settings again;
  const Status read = apply_config(text, "written", again);
  ASSERT_TRUE(read.ok()) << read.error().detail;
  EXPECT_EQ(config_text(again), text);
  EXPECT_EQ(again.policy.tenants.at(0).privacy.types, office.types);
}

TEST(Config, WrongClassesSayWhereAndWhatIsRight) {
  const auto checked = [](const std::string& text) {
    Settings settings;
    const Status read = apply_config(text, "hedge.toml", settings);
    if (!read.ok()) return read.error().detail;
    const Status valid = check_policy(settings);
    return valid.ok() ? "" : valid.error().detail;
  };
  EXPECT_EQ(checked("[privacy]\nperson = 'hide'\n"),
            "hedge.toml:2: 'person' in [privacy]: expected allow, mask or local, got 'hide'");
  EXPECT_EQ(checked("[privacy.fields]\ntool = 'allow'\n"),
            "hedge.toml:2: 'tool' in [privacy.fields]: expected types, mask or local, got 'allow'");
  EXPECT_THAT(checked("[privacy]\npersons = 'mask'\n"), HasSubstr("did you mean 'person'?"));
  const std::string tenant = "[tenants.a]\nkey_env = 'X'\n";
  EXPECT_EQ(checked(tenant + "privacy.person = 'hide'\n"),
            "hedge.toml:3: [tenants.a.privacy]: 'person': expected allow, mask or local, got 'hide'");
  EXPECT_THAT(checked(tenant + "privacy.persons = 'mask'\n"), HasSubstr("did you mean 'person'?"));
  EXPECT_THAT(checked(tenant + "privacy.fields.tools = 'mask'\n"), HasSubstr("did you mean 'tool'?"));
  EXPECT_THAT(checked(tenant + "privacy = 'mask'\n"), HasSubstr("expected a table"));
}

TEST(Config, FilesThatAreAbsentAreAnError) {
  Settings settings;
  EXPECT_FALSE(apply_config_file("/nonexistent/hedge.toml", settings).ok());
}

}  // namespace
}  // namespace hedge::cli
