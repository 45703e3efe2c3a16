// The engine against Python's jinja2 (tests/golden/template), and against templates that mean harm.
#include "text/jinja.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"
#include "text/jinja_test_values.h"

namespace hedge::text::jinja {
namespace {

using Json = nlohmann::ordered_json;

const std::string kGoldens = HEDGE_GOLDEN_DIR "/../template/";

Result<std::string> render(const std::string& source, const Value& context, const Limits& limits = {}) {
  HEDGE_TRY_SET(const Template parsed, Template::parse(source));
  return parsed.render(context, golden_time(), limits);
}

Result<std::string> render(const std::string& source) { return render(source, Value::dict({})); }

std::string fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  char hex[17];
  std::snprintf(hex, sizeof(hex), "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

TEST(Jinja, RendersSmallTemplatesAsPythonDoes) {
  const Json cases = Json::parse(read_text(kGoldens + "expressions.json"));
  ASSERT_GT(cases.size(), 600u);
  for (const Json& c : cases) {
    const std::string source = c["template"];
    SCOPED_TRACE(source);
    const auto text = render(source, value_of(c.value("context", Json::object())));
    if (c["text"].is_null()) {
      EXPECT_FALSE(text.ok()) << "Jinja raises, we give " << text.value();
      continue;
    }
    ASSERT_TRUE(text.ok()) << text.error().to_text();
    EXPECT_EQ(text.value(), c["text"].get<std::string>());
  }
}

// The context that transformers gives a template.
Value context_of(const Json& conversation, bool prompted) {
  Json context = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"tools", nullptr}, {"documents", nullptr}};
  context.update(conversation["context"]);
  context["add_generation_prompt"] = prompted;
  return value_of(context);
}

TEST(Jinja, RendersPopularTemplatesAsPythonDoes) {
  const char* shared = std::getenv("HEDGE_SHARED_DATA");
  const std::filesystem::path folder =
      std::filesystem::path(shared != nullptr ? shared : "") / "chat_templates";
  if (!std::filesystem::is_directory(folder)) {
    GTEST_SKIP() << "no chat templates: HEDGE_SHARED_DATA names no folder that holds chat_templates/";
  }
  const Json goldens = Json::parse(read_text(kGoldens + "goldens.json"));
  const Json conversations = Json::parse(read_text(kGoldens + "conversations.json"));
  for (const auto& [name, row] : goldens.items()) {
    SCOPED_TRACE(name);
    const auto parsed = Template::parse(read_text(folder / name));
    ASSERT_TRUE(parsed.ok()) << parsed.error().to_text();
    ASSERT_EQ(row.size(), conversations.size() * 2);
    for (size_t i = 0; i < row.size(); ++i) {
      const Json& conversation = conversations[i / 2];
      SCOPED_TRACE(conversation["name"].get<std::string>());
      const auto text = parsed->render(context_of(conversation, i % 2 == 0), golden_time());
      if (row[i] == "error") {
        EXPECT_FALSE(text.ok());
      } else {
        ASSERT_TRUE(text.ok()) << text.error().to_text();
        EXPECT_EQ(fnv1a(text.value()), row[i].get<std::string>()) << text.value();
      }
    }
  }
}

TEST(Jinja, SyntaxErrorsTellLineAndWhatWasExpected) {
  const struct {
    const char* source;
    const char* detail;
  } cases[] = {
      {"a\n{{ x", "line 2: expected '}}', found the end of the template"},
      {"{% if x %}\n\n{% endfor %}", "line 3: unknown tag 'endfor'"},
      {"{% if x %}", "line 1: expected 'elif', found the end of the template"},
      {"\n\n{{ a b }}", "line 3: expected '}}', found 'b'"},
      {"{{ (1, 2] }}", "line 1: expected ')', found ']'"},
      {"{% break %}", "line 1: 'break' outside a loop"},
      {"{{ 'a }}", "line 1: string without its closing quote"},
      {"{{ a § b }}", "line 1: unexpected character '§'"},
      {"{% set true = 1 %}", "line 1: cannot assign to 'true'"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.source);
    const auto parsed = Template::parse(c.source);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(parsed.error().detail, std::string("chat template ") + c.detail);
  }
}

TEST(Jinja, NamesWhatItDoesNotSupport) {
  const struct {
    const char* source;
    const char* detail;
  } cases[] = {
      {"\n{% include 'x' %}", "line 2: tag 'include'"},
      {"{% extends 'x' %}", "line 1: tag 'extends'"},
      {"{% for x in y recursive %}{% endfor %}", "line 1: recursive loop"},
      {"{{ x | wordwrap }}", "line 1: filter 'wordwrap'"},
      {"{{ x is odder }}", "line 1: test 'odder'"},
      {"{{ 99999999999999999999 }}", "line 1: integer does not fit in 64 bits"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.source);
    const auto parsed = Template::parse(c.source);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported);
    EXPECT_EQ(parsed.error().detail, std::string("chat template ") + c.detail);
  }
  // Where it may never be reached, it costs nothing until it is.
  const std::string sometimes = "{% if use %}{{ 1 | wordwrap }}{% endif %}ok";
  EXPECT_EQ(render(sometimes).value(), "ok");
  const auto reached = render(sometimes, value_of({{"use", true}}));
  ASSERT_FALSE(reached.ok());
  EXPECT_EQ(reached.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(render("{{ 9223372036854775807 + 1 }}").error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(render("{{ 'x'.encode() }}").error().code, ErrorCode::kUnsupported);
}

TEST(Jinja, RenderErrorsTellLineAndCause) {
  EXPECT_EQ(render("\n{{ nobody.name }}").error().detail, "chat template line 2: 'nobody' is undefined");
  EXPECT_EQ(render("{{ {}.a.b }}").error().detail, "chat template line 1: a dict here has no 'a'");
  EXPECT_EQ(render("{{ [1].append(2) }}").error().detail,
            "chat template line 1: templates may not change a list");
  EXPECT_EQ(render("{{ 'a' + 1 }}").error().detail,
            "chat template line 1: unsupported operand types for +: 'str' and 'int'");
}

TEST(Jinja, GivesTheTemplatesOwnWords) {
  const auto refused = render("a\n{{ raise_exception('System role not supported') }}");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().detail, "System role not supported");
  // Words may quote the conversation: they are cut, at the end of a character.
  const auto long_words = render("{{ raise_exception('é' * 5000) }}");
  ASSERT_FALSE(long_words.ok());
  EXPECT_EQ(long_words.error().detail.size(), 1000u);
}

std::string repeat(std::string_view text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(Jinja, HostileTemplatesEndInAnError) {
  const std::string nested_list =
      "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}";
  const std::string wide =
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
  const struct {
    const char* name;
    std::string source;
  } cases[] = {
      {"deep brackets", "{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}"},
      {"deep lists", "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}"},
      {"deep minus", "{{ " + repeat("-", 100000) + "1 }}"},
      {"deep not", "{{ " + repeat("not ", 50000) + "1 }}"},
      {"deep blocks", repeat("{% if 1 %}", 10000) + repeat("{% endif %}", 10000)},
      {"long sum", "{{ 1" + repeat("+1", 100000) + " }}"},
      {"long filter chain", "{{ 1" + repeat("|string", 30000) + " }}"},
      {"long attribute chain", "{{ x" + repeat(".x", 100000) + " }}"},
      {"long conditional", "{{ 1" + repeat(" if 1 else 1", 20000) + " }}"},
      {"too large", std::string(kMaxSourceBytes + 1, ' ')},
      {"nested loops", repeat("{% for i in range(100000) %}", 8) + "x" + repeat("{% endfor %}", 8)},
      {"endless recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
      {"branching recursion", "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"},
      {"recursion that prints", "{% macro m() %}{{ 'x' * 1000000 }}{{ m() }}{% endmacro %}{{ m() }}"},
      {"long string", "{{ 'x' * 1000000000000 }}"},
      {"long list", "{{ [1] * 1000000000000 }}"},
      {"doubling string",
       "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"},
      {"doubling list",
       "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"},
      {"many strings",
       "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = ns.l + ['x' * 1000000 ~ i] "
       "%}{% endfor %}"},
      {"nested values", nested_list},
      {"shared values printed", wide + "{{ ns.l }}"},
      {"shared values as JSON", wide + "{{ ns.l | tojson }}"},
      {"shared values compared", wide + "{% set a = ns.l %}" + wide + "{{ a == ns.l }}"},
      {"much output", "{% for i in range(100000) %}" + std::string(10000, 'x') + "{% endfor %}"},
      {"growing replace", "{{ ('x' * 100000).replace('x', 'y' * 100000) }}"},
      {"growing replace between", "{{ ('x' * 100000).replace('', 'y' * 100000) }}"},
      {"growing join", "{{ ('y' * 100000).join('x' * 100000) }}"},
      {"growing indent", "{{ ('x\n' * 100000) | indent(100000) }}"},
      {"wide centre", "{{ 'x' | center(1000000000000) }}"},
      {"wide fill", "{{ 'x'.ljust(1000000000000) }}"},
      {"wide format", "{{ '%1000000000d' % 1 }}"},
      {"wide braces", "{{ '{:>1000000000}'.format('x') }}"},
      {"deep braces", "{{ ('{0:' * 100 ~ '}' * 100).format(1) }}"},
      {"wide JSON", "{{ [[[[1]]]] | tojson(indent=1000000000) }}"},
      {"wide batch", "{{ [1] | batch(1000000000, 'x') | list }}"},
      {"many slices", "{{ [1] | slice(1000000000) | list }}"},
      {"long range", "{{ range(1000000000) }}"},
      {"range to the end of numbers",
       "{{ range(9223372036854775800, 9223372036854775807, 100)|list|length }}{{ 1/0 }}"},
      {"many macros",
       "{% for i in range(100000) %}{% for j in range(100000) %}{% macro m() %}{% endmacro %}{% endfor %}{% "
       "endfor %}"},
      {"long time", "{{ strftime_now('%c' * 1000) }}"},
      {"wide time", "{{ strftime_now('%9999999d') }}"},
      {"large power", "{{ 3 ** 1000000000000 }}"},
      {"smallest divided", "{{ (-9223372036854775807 - 1) // -1 }}"},
      {"slow sort", "{% for i in range(1000) %}{% set x = range(100000) | sort(reverse=true) %}{% endfor %}"},
      {"slow unique", "{{ range(100000) | unique | list | length }}"},
      {"slow search",
       "{% set n = 'a' * 100000 ~ 'b' %}{% set t = 'a' * 1000000 %}{% for i in range(100000) %}{% set x = "
       "t.split(n) %}{% set x = n in t %}{% set x = t.replace(n, '') %}{% endfor %}"},
      {"slow search from the right", "{{ ('a' * 1000000).rsplit('b' ~ 'a' * 100000) | length }}"},
      {"slow strip",
       "{% for i in range(100000) %}{% set x = ('x' * 100000).strip('y' * 1000 ~ 'x') %}{% endfor %}"},
  };
  Limits limits;
  limits.steps /= 10;  // for the test's own speed
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto start = std::chrono::steady_clock::now();
    const auto text = render(c.source, Value::dict({}), limits);
    EXPECT_FALSE(text.ok());
    if (!text.ok()) {
      EXPECT_LT(text.error().detail.size(), 300u);
    }
    // A tenth of a second or less; generous, so that a loaded machine or a sanitizer does not fail it.
    // Without limits these run for hours.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  }
}

TEST(Jinja, RecursionFitsASmallStack) {
#if defined(__SANITIZE_ADDRESS__)
  constexpr size_t kStackBytes = size_t{8} << 20;
#else
  constexpr size_t kStackBytes = size_t{1} << 20;
#endif
  const auto deepest = [](void*) -> void* {
    // Each as deep as the parser lets it, evaluated as deep as the limits let it.
    const std::string brackets = repeat("[", kMaxNesting - 5) + "m()" + repeat("]", kMaxNesting - 5);
    const std::string sum = "{{ 1" + repeat(" + 1", kMaxExprDepth - 5) + " + m() }}";
    for (const std::string& body :
         {std::string("{{ m() }}"), "{{ " + brackets + " }}", sum,
          std::string("{% for i in [1] %}{% if 1 %}{{ m() | trim ~ 1 }}{% endif %}{% endfor %}")}) {
      const auto text = render("{% macro m() %}" + body + "{% endmacro %}{{ m() }}");
      EXPECT_FALSE(text.ok());
      if (!text.ok()) {
        EXPECT_NE(text.error().detail.find("recursive deeper than 500"), std::string::npos)
            << text.error().detail;
      }
    }
    EXPECT_FALSE(render("{{ " + repeat("(", 1000) + "1" + repeat(")", 1000) + " }}").ok());
    return nullptr;
  };
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kStackBytes), 0);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attributes, deepest, nullptr), 0);
  EXPECT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

TEST(Jinja, CyclesAreFreedAndCannotBePrinted) {
  // Run under a leak checker these show what the end of a render must clear.
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns] %}ok").value(), "ok");
  EXPECT_EQ(render("{% for i in [1] %}{% set x = loop.changed(loop) %}ok{% endfor %}").value(), "ok");
  EXPECT_EQ(
      render("{% macro m() %}{% macro k() %}{% endmacro %}{% set k2 = k %}ok{% endmacro %}{{ m() }}").value(),
      "ok");
  EXPECT_FALSE(render("{% set ns = namespace() %}{% set ns.l = [ns] %}{{ ns.l }}").ok());
}

TEST(Jinja, LimitsAreThoseOfTheCaller) {
  const Value none = Value::dict({});
  Limits limits;
  limits.steps = 100;
  EXPECT_EQ(render("{% for i in range(1000) %}{% endfor %}", none, limits).error().code,
            ErrorCode::kExhausted);
  limits = {};
  limits.output_bytes = 10;
  EXPECT_EQ(render("0123456789", none, limits).value(), "0123456789");
  EXPECT_EQ(render("0123456789a", none, limits).error().code, ErrorCode::kExhausted);
  limits = {};
  limits.string_bytes = 10;
  EXPECT_TRUE(render("{{ 'x' * 10 }}", none, limits).ok());
  EXPECT_EQ(render("{{ 'x' * 11 }}", none, limits).error().code, ErrorCode::kExhausted);
  limits = {};
  limits.depth = 20;
  EXPECT_EQ(
      render("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(9) }}", none, limits)
          .error()
          .code,
      ErrorCode::kExhausted);
}

TEST(Jinja, DeepContextIsRefused) {
  Value value = Value::integer(1);
  for (int i = 0; i < kMaxValueDepth; ++i) value = Value::list({value});
  EXPECT_EQ(render("{{ x }}", Value::dict({{"x", value}})).error().code, ErrorCode::kExhausted);
}

TEST(Jinja, OneTemplateServesSeveralThreads) {
  const auto parsed = Template::parse(
      "{% set ns = namespace(t='') %}{% for i in range(200) %}{% set ns.t = ns.t ~ who ~ i %}{% endfor %}{{ "
      "ns.t }}");
  ASSERT_TRUE(parsed.ok());
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < texts.size(); ++i) {
    threads.emplace_back([&, i] {
      texts[i] =
          parsed
              ->render(Value::dict({{"who", Value::string(std::string(1, static_cast<char>('a' + i)))}}),
                       golden_time())
              .value();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < texts.size(); ++i) {
    std::string expected;
    for (int n = 0; n < 200; ++n) expected += static_cast<char>('a' + i) + std::to_string(n);
    EXPECT_EQ(texts[i], expected);
  }
}

}  // namespace
}  // namespace hedge::text::jinja
