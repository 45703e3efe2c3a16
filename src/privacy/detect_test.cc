#include "privacy/detect.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/utf8.h"
#include "privacy/detector.h"

namespace hedge::privacy {
namespace {

// What the default classes keep on the device: no DOMAIN_NAME.
std::vector<Span> private_in(std::string_view text) {
  DetectWork work;
  return detect(text, detectors_of(Rules(Policy(), nullptr).asked()), work);
}

std::string describe(std::string_view text) {
  std::string out;
  for (const Span& span : private_in(text)) {
    if (!out.empty()) out += " ";
    out += std::string(span.type) + "[" + std::string(text.substr(span.begin, span.end - span.begin)) + "]";
  }
  return out;
}

struct Case {
  const char* text;
  const char* expected;
};

void check(const std::vector<Case>& cases) {
  for (const Case& c : cases) EXPECT_EQ(describe(c.text), c.expected) << c.text;
}

TEST(Detect, EmailAddress) {
  check({
      {"write to jane.doe+lists@mail.example.co.uk.", "EMAIL_ADDRESS[jane.doe+lists@mail.example.co.uk]"},
      {"<a.b@example.com>,c_d@example.org", "EMAIL_ADDRESS[a.b@example.com] EMAIL_ADDRESS[c_d@example.org]"},
      {"mailto:x@y.io?subject=hi", "EMAIL_ADDRESS[x@y.io]"},
      {"o'hara@example.ie", "EMAIL_ADDRESS[o'hara@example.ie]"},
      {"'quoted@example.com'", "EMAIL_ADDRESS[quoted@example.com]"},
      {"\"john smith\"@example.com", "EMAIL_ADDRESS[\"john smith\"@example.com]"},
      {"josé@exämple.com und übung@example.de",
       "EMAIL_ADDRESS[josé@exämple.com] EMAIL_ADDRESS[übung@example.de]"},
      {"请发邮件到abc@example.com谢谢", "EMAIL_ADDRESS[abc@example.com]"},
      {"用户@例子.公司", "EMAIL_ADDRESS[用户@例子.公司]"},
      {"ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ", "EMAIL_ADDRESS[ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ]"},
      {"jane\u200b@exam\u200bple.com", "EMAIL_ADDRESS[jane\u200b@exam\u200bple.com]"},
      {"jane [at] example [dot] com", "EMAIL_ADDRESS[jane [at] example [dot] com]"},
      {"jane(at)example.com", "EMAIL_ADDRESS[jane(at)example.com]"},
      {"jane @ example.com", "EMAIL_ADDRESS[jane @ example.com]"},
      {"john%40example.com&x=1", "EMAIL_ADDRESS[john%40example.com]"},
      {"john&#64;example.com", "EMAIL_ADDRESS[john&#64;example.com]"},
      {"john&#x40;example&#46;com", "EMAIL_ADDRESS[john&#x40;example&#46;com]"},
      {"JOHN [AT] EXAMPLE [DOT] COM", "EMAIL_ADDRESS[JOHN [AT] EXAMPLE [DOT] COM]"},
      {"a@b", ""},
      {"100%40 a%40b &#64; R&D", ""},
      {"npm i react@18.2.0 left-pad@1.0.rc", ""},
      {"@app.route('/x') def f(): pass", ""},
      {"y = x @ self.weight + b", ""},
      {"git clone git@github.com:owner/repo.git", ""},
      {"we meet @ noon", ""},
      {"five (at) most", ""},
  });
}

TEST(Detect, PhoneNumber) {
  check({
      {"+41 (0)96 471 07 95", "PHONE_NUMBER[+41 (0)96 471 07 95]"},
      {"ring +447700900123 now", "PHONE_NUMBER[+447700900123]"},
      {"(415) 555-2671 or 415.555.2671", "PHONE_NUMBER[(415) 555-2671] PHONE_NUMBER[415.555.2671]"},
      {"345-899-3560x4587", "PHONE_NUMBER[345-899-3560x4587]"},
      {"1-800-555-0199 ext. 12", "PHONE_NUMBER[1-800-555-0199 ext. 12]"},
      {"001-253-366-9781", "PHONE_NUMBER[001-253-366-9781]"},
      {"07700 063 966", "PHONE_NUMBER[07700 063 966]"},
      {"01.84.17.61.18", "PHONE_NUMBER[01.84.17.61.18]"},
      {"(08) 8747 6301", "PHONE_NUMBER[(08) 8747 6301]"},
      {"Phone: 467 3395", "PHONE_NUMBER[467 3395]"},
      {"please call me on 9498777106, thanks", "PHONE_NUMBER[9498777106]"},
      {"Desk: 5403926876", "PHONE_NUMBER[5403926876]"},
      {"(37) 788-063-Office", "PHONE_NUMBER[(37) 788-063]"},
      {"\\,+447700 208 815-Fax", "PHONE_NUMBER[+447700 208 815]"},
      {"Phone: (850) 230-6030 1-week camp", "PHONE_NUMBER[(850) 230-6030]"},
      {"我的电话是13812345678。", "PHONE_NUMBER[13812345678]"},
      {"téléphone ０６ １２ ３４ ５６ ７８", "PHONE_NUMBER[０６ １２ ３４ ５６ ７８]"},
      {"+1 415\u2011555\u20112671", "PHONE_NUMBER[+1 415\u2011555\u20112671]"},
      // What is none.
      {"In 2019 there were 1234567 people", ""},
      {"order 9498777106 shipped", ""},
      {"from 1914-1918 and 1939 1945", ""},
      {"on 2023-10-15 at 12:30, or 15.10.2023 08:15", ""},
      {"01.02.2003 04:05:06", ""},
      {"$1,234,567.89 or 1.234.567,89", ""},
      {"pi is 3.14159265358979", ""},
      {"version 10.0.19041.1", ""},
      {"ISBN 978-3-16-148410-0", ""},
      {"id 550e8400-e29b-41d4-a716-446655440000", ""},
      {"Boston, MA 02110-1301", ""},
      {"1 000 000 + 2 500 000", ""},
      {"matrix 12 345 678 910", ""},
      {"(2005) 115-1200", ""},
      {"0.125 0.250 0.375 0.500", ""},
      {"timestamp 1700000000000", ""},
      {"call f(1234)", ""},
      {"#4155552671", ""},
  });
}

TEST(Detect, CreditCard) {
  check({
      {"4111 1111 1111 1111", "CREDIT_CARD[4111 1111 1111 1111]"},
      {"card 4111-1111-1111-1111, 5 pieces", "CREDIT_CARD[4111-1111-1111-1111]"},
      {"378282246310005", "CREDIT_CARD[378282246310005]"},
      {"3782 822463 10005", "CREDIT_CARD[3782 822463 10005]"},
      {"5555555555554444 6011111111111117", "CREDIT_CARD[5555555555554444] CREDIT_CARD[6011111111111117]"},
      {"4222222222222", "CREDIT_CARD[4222222222222]"},
      {"630427373398", "CREDIT_CARD[630427373398]"},
      {"４１１１　１１１１　１１１１　１１１１", "CREDIT_CARD[４１１１　１１１１　１１１１　１１１１]"},
      {"4111\u200b1111\u200b1111\u200b1111", "CREDIT_CARD[4111\u200b1111\u200b1111\u200b1111]"},
      {"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "CREDIT_CARD[4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1]"},
      {"卡号4111111111111111请", "CREDIT_CARD[4111111111111111]"},
      {"4111 1111\n1111 1111", "CREDIT_CARD[4111 1111\n1111 1111]"},
      {"4111\n1111\n1111\n1111", "CREDIT_CARD[4111\n1111\n1111\n1111]"},
      {"4111_1111_1111_1111", "CREDIT_CARD[4111_1111_1111_1111]"},
      {"4111,1111,1111,1111", "CREDIT_CARD[4111,1111,1111,1111]"},
      {"[4111,1111,1111,1111,2222]", ""},         // a list that begins like a card
      {"4111_1111_1111_1111_x", ""},              // part of a name
      {"4111\n\n1111\n\n1111\n\n1111", ""},       // paragraphs
      {"4111111111111112", ""},                   // Luhn fails
      {"7992739871300005", ""},                   // no scheme begins with 7
      {"41111111111111110000000", ""},            // too long
      {"x4111111111111111", ""},                  // part of a name
      {"0.4111111111111111", ""},                 // a fraction
      {"9 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", ""},  // a window of a longer list
  });
}

TEST(Detect, Iban) {
  check({
      {"DE89370400440532013000", "IBAN_CODE[DE89370400440532013000]"},
      {"IBAN: DE89 3704 0044 0532 0130 00 please", "IBAN_CODE[DE89 3704 0044 0532 0130 00]"},
      {"gb42nawi04454264788619", "IBAN_CODE[gb42nawi04454264788619]"},
      {"GB33BUKB20201555555555.", "IBAN_CODE[GB33BUKB20201555555555]"},
      {"MT84MALT011000012345MTLCAST001S", "IBAN_CODE[MT84MALT011000012345MTLCAST001S]"},
      {"NO93 8601 1117 947", "IBAN_CODE[NO93 8601 1117 947]"},
      {"ＤＥ８９３７０４００４４０５３２０１３０００",
       "IBAN_CODE[ＤＥ８９３７０４００４４０５３２０１３０００]"},
      {"DE88370400440532013000", ""},   // mod 97 fails
      {"ZZ89370400440532013000", ""},   // no such country
      {"DE893704004405320130001", ""},  // one too many
      {"XDE89370400440532013000", ""},
  });
}

TEST(Detect, IpAddress) {
  check({
      {"from 86.121.97.248:8080", "IP_ADDRESS[86.121.97.248]"},
      {"http://192.168.0.17/admin", "IP_ADDRESS[192.168.0.17]"},
      {"It is 10.1.2.3.", "IP_ADDRESS[10.1.2.3]"},
      {"192.168.001.010", "IP_ADDRESS[192.168.001.010]"},
      {"the Windows 192.168.1.7 and python 10.0.0.3", "IP_ADDRESS[192.168.1.7] IP_ADDRESS[10.0.0.3]"},
      {"6e40:4041:c617:e898:c11:40d2:c669:2eb4", "IP_ADDRESS[6e40:4041:c617:e898:c11:40d2:c669:2eb4]"},
      {"[2001:db8::7]:443 and fe80::1.", "IP_ADDRESS[2001:db8::7] IP_ADDRESS[fe80::1]"},
      {"::ffff:10.1.2.3", "IP_ADDRESS[::ffff:10.1.2.3]"},
      // Addresses of nobody in particular.
      {"127.0.0.1 0.0.0.0 255.255.255.0 ::1 ::", ""},
      // Versions, numbers, times, code.
      {"Python 3.11.7.1, java 17.0.2.8", ""},
      {"10.000.000.000 people", ""},
      {"1.2.3", ""},
      {"version 1.2.3.4", ""},
      {"v2.10.0.1", ""},
      {"1.2.3.4.5", ""},
      {"300.1.1.1", ""},
      {"01.02.03.04", ""},
      {"12:34:56", ""},
      {"aa:bb:cc:dd:ee:ff", ""},
      {"std::vector<int> a::b dead::beef Ba::Fe1", ""},
  });
}

TEST(Detect, UsSsn) {
  check({
      {"SSN 125-17-4954.", "US_SSN[125-17-4954]"},
      {"666-12-3456 000-12-3456 912-12-3456 123-00-4567 123-45-0000", ""},
      {"1125-17-4954 125-17-49541 125-17-4954-1", ""},
  });
}

TEST(Detect, Secret) {
  check({
      {"key sk-proj-abc123DEF456ghi789JKL012", "SECRET[sk-proj-abc123DEF456ghi789JKL012]"},
      {"AKIAIOSFODNN7EXAMPLE", "SECRET[AKIAIOSFODNN7EXAMPLE]"},
      {"ghp_16C7e42F292c6912E7710c838347Ae178B4a", "SECRET[ghp_16C7e42F292c6912E7710c838347Ae178B4a]"},
      {"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", "SECRET[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]"},
      {"hf_abcdefghijklmnopqrstuvwxyzabcdefgh", "SECRET[hf_abcdefghijklmnopqrstuvwxyzabcdefgh]"},
      {"xoxb-123456789012-abcdefghij", "SECRET[xoxb-123456789012-abcdefghij]"},
      {"AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY", "SECRET[AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY]"},
      {"a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
       "SECRET[-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----]"},
      {"-----BEGIN OPENSSH PRIVATE KEY-----\ncut", "SECRET[-----BEGIN OPENSSH PRIVATE KEY-----\ncut]"},
      {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
       "SECRET[eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P]"},
      {"postgres://admin:s3cr3t@db/x", "SECRET[admin:s3cr3t]"},
      {"password: hunter2", "SECRET[hunter2]"},
      {"Password = \"correct-horse\"", "SECRET[correct-horse]"},
      {"DB_PASSWORD=letmein", "SECRET[letmein]"},
      {"{\"password\": \"Tr0ub4dor&3\"}", "SECRET[Tr0ub4dor&3]"},
      {"my password is hunter2.", "SECRET[hunter2]"},
      {"my password is hunter2secret", "SECRET[hunter2secret]"},
      {"password: hunter2secret and so on", "SECRET[hunter2secret]"},
      {"password=hunter2secret", "SECRET[hunter2secret]"},
      {"contraseña: gato1234", "SECRET[gato1234]"},
      {"export OPENAI_API_KEY=abc123def456", "SECRET[abc123def456]"},
      {"api key: 9f8e7d6c5b", "SECRET[9f8e7d6c5b]"},
      {"Authorization: Bearer a1b2c3d4e5f6a7b8c9", "SECRET[a1b2c3d4e5f6a7b8c9]"},
      {"wJalrXUtnFEMI/K7MDENG/bPxRfiCYzTK5EXAMPL8", "SECRET[wJalrXUtnFEMI/K7MDENG/bPxRfiCYzTK5EXAMPL8]"},
      // What is none.
      {"sk-learn-compatible-estimators-are-nice", ""},
      {"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", ""},
      {"hf_transformers_models_for_sequences_and_more", ""},
      {"the password is required, the password is wrong", ""},
      {"password: db2_password", ""},
      {"password: str", ""},
      {"password = user_password\n", ""},
      {"password=os.environ['PW']", ""},
      {"password: ********", ""},
      {"api_key=\"<your key>\" api_key=${KEY} api_key=YOUR_API_KEY_1", ""},
      {"The password: it must have eight letters", ""},
      {"my password is wrong", ""},
      {"token = tokenizer.next_token()", ""},
      {"max_tokens: 4096, token: word", ""},
      {"commit 3f7866be2c5a1d9e8f0b7a6c5d4e3f2a1b0c9d8e", ""},
      {"getUserAccountByIdentifierAndRegion2", ""},
      {"https://example.com/a/b?c=d", ""},
      {"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", ""},
  });
}

TEST(Detect, DomainName) {
  const auto urls = [](std::string_view text) {
    std::string out;
    for (const Span& span : detect(text)) {
      if (span.type == "DOMAIN_NAME")
        out += "[" + std::string(text.substr(span.begin, span.end - span.begin)) + "]";
    }
    return out;
  };
  EXPECT_EQ(urls("see https://www.example.se/ and (http://a.b.co.uk/x?y=1#z)."),
            "[https://www.example.se/][http://a.b.co.uk/x?y=1#z]");
  EXPECT_EQ(urls("www.example.info, example.com. Example.org/path!"),
            "[www.example.info][example.com][Example.org/path]");
  EXPECT_EQ(urls("http://localhost:8080/v1"), "[http://localhost:8080/v1]");
  EXPECT_EQ(urls("https://en.wikipedia.org/wiki/C_(language)"),
            "[https://en.wikipedia.org/wiki/C_(language)]");
  EXPECT_EQ(urls("a@example.com main.py e.g. this.that node.js 1.2.3 :// http:// www."), "");
  // No reason to stay on the device.
  EXPECT_TRUE(private_in("https://www.example.se/").empty());
}

TEST(Detect, UsDriverLicense) {
  check({
      {"My driver's license number is U62928788557186", "US_DRIVER_LICENSE[U62928788557186]"},
      {"driving licence: 2270-66-1551.", "US_DRIVER_LICENSE[2270-66-1551]"},
      {"Driver License 5130634", "US_DRIVER_LICENSE[5130634]"},
      {"my driver's license expires in 2029", ""},
      {"the license is Apache-2.0, order 5130634", ""},
  });
}

TEST(Detect, SpansAreSortedAndDoNotOverlap) {
  const std::string text =
      "a@b.com 4111 1111 1111 1111 DE89 3704 0044 0532 0130 00 10.1.2.3 +41 44 668 18 00 password: "
      "x1y2z3@q.com";
  const std::vector<Span> spans = detect(text);
  ASSERT_GE(spans.size(), 6u);
  size_t end = 0;
  for (const Span& span : spans) {
    EXPECT_GE(span.begin, end);
    EXPECT_GT(span.end, span.begin);
    EXPECT_GT(span.score, 0);
    EXPECT_LE(span.score, 1);
    end = span.end;
  }
  EXPECT_LE(end, text.size());
}

TEST(Detect, AnyBytesGiveSpansInsideTheText) {
  uint64_t state = 20240611;
  const std::string_view alphabet = "0123456789 .-+()@:/=_aAfF\xff\xc3\xa9\xef\xbc\x91\xe2\x80\x8b\n\"";
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (int i = 0; i < 60; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text.push_back(alphabet[(state >> 33) % alphabet.size()]);
    }
    size_t end = 0;
    for (const Span& span : detect(text)) {
      ASSERT_GE(span.begin, end);
      ASSERT_GT(span.end, span.begin);
      end = span.end;
    }
    ASSERT_LE(end, text.size());
  }
}

// A quadratic scan of 256 KiB takes minutes; a linear one milliseconds. The limit is far from both.
TEST(Detect, HostileTextTakesLinearTime) {
  constexpr size_t kBytes = 256u << 10;
  for (const std::string_view unit : {"1",
                                      "1 ",
                                      "a@",
                                      "@",
                                      "a.",
                                      "1.",
                                      "1:",
                                      ":",
                                      "(1",
                                      "+1",
                                      "sk-",
                                      "eyJ",
                                      "eyJaaaaaaaaaaaa.",
                                      "-----BEGIN ",
                                      "-----BEGIN PRIVATE KEY",
                                      "://a:",
                                      "password:",
                                      "password is ",
                                      "DE89",
                                      "de",
                                      "a-",
                                      "4111 ",
                                      "\"@",
                                      "[at]",
                                      "%40",
                                      "a%40b.",
                                      "4111,",
                                      "4111_",
                                      "a(at)a(dot)",
                                      "aB1",
                                      "=",
                                      "0494 92 ",
                                      "phone 123",
                                      "\xe2\x80\x8b",
                                      "\xef\xbc\x91"}) {
    std::string text;
    while (text.size() < kBytes) text += unit;
    const auto start = std::chrono::steady_clock::now();
    detect(text);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2)) << unit;
  }
}

// Every type of the list finds something in this file's own positives, so that no line of the list is dead.
TEST(Detect, EveryDetectorOfTheListFindsSomething) {
  const std::string text =
      "a@b.com, 4111111111111111, DE89370400440532013000, 10.1.2.3, +41 44 668 18 00, 125-17-4954, password: "
      "hunter2, https://example.com/, driver's license number D1234567";
  std::set<std::string_view> found;
  for (const Span& span : detect(text)) found.insert(span.type);
  for (const DetectorEntry& detector : kDetectors) EXPECT_TRUE(found.count(detector.type)) << detector.type;
}

// Precision and recall by type over microsoft/presidio-research's synthetic texts; a span is right when it
// overlaps one of its type. Floors are the figures measured (2 of 64 phone numbers have neither shape nor
// label).
TEST(Detect, FindsWhatThePresidioSetMarks) {
  const char* shared = std::getenv("HEDGE_SHARED_DATA");
  std::ifstream file(std::string(shared ? shared : "") + "/privacy/synth_dataset_v2.json");
  if (shared == nullptr || !file)
    GTEST_SKIP() << "privacy/synth_dataset_v2.json of the shared data is absent";
  const nlohmann::json set = nlohmann::json::parse(file);
  struct Score {
    int found = 0, missed = 0, wrong = 0;
  };
  std::map<std::string, Score> scores;
  for (const auto& item : set) {
    const std::string text = item["full_text"];
    std::vector<size_t> offsets;  // of each code point
    for (size_t position = 0; position < text.size(); utf8_next(text, position)) offsets.push_back(position);
    offsets.push_back(text.size());
    const std::vector<Span> spans = detect(text);
    std::vector<bool> right(spans.size(), false);
    for (const auto& gold : item["spans"]) {
      const std::string type = gold["entity_type"];
      const size_t begin = offsets[gold["start_position"].get<size_t>()];
      const size_t end = offsets[gold["end_position"].get<size_t>()];
      bool hit = false;
      for (size_t i = 0; i < spans.size(); ++i) {
        if (spans[i].type != type || spans[i].begin >= end || spans[i].end <= begin) continue;
        right[i] = true;
        hit = true;
      }
      ++(hit ? scores[type].found : scores[type].missed);
    }
    for (size_t i = 0; i < spans.size(); ++i) scores[std::string(spans[i].type)].wrong += right[i] ? 0 : 1;
  }
  const std::map<std::string, std::pair<double, double>> floors = {
      // recall, precision
      {"CREDIT_CARD", {1.0, 1.0}}, {"EMAIL_ADDRESS", {1.0, 1.0}},  {"IBAN_CODE", {1.0, 1.0}},
      {"IP_ADDRESS", {1.0, 1.0}},  {"PHONE_NUMBER", {0.98, 0.98}}, {"US_SSN", {1.0, 1.0}}};
  for (const auto& [type, floor] : floors) {
    const Score& score = scores[type];
    const double recall = static_cast<double>(score.found) / (score.found + score.missed);
    const double precision = static_cast<double>(score.found) / (score.found + score.wrong);
    std::printf("%-14s recall %.3f precision %.3f of %d\n", type.c_str(), recall, precision,
                score.found + score.missed);
    EXPECT_GE(recall, floor.first) << type;
    EXPECT_GE(precision, floor.second) << type;
  }
  EXPECT_EQ(scores["SECRET"].wrong, 0);
}

// What the gate costs: prompts without personal data that it would keep on the device.
TEST(Detect, CleanPromptsAreLeftAlone) {
  const char* shared = std::getenv("HEDGE_SHARED_DATA");
  int prompts = 0;
  for (const auto& [name, field] :
       {std::pair("gsm8k_test.jsonl", "question"), std::pair("humaneval.jsonl", "prompt")}) {
    std::ifstream file(std::string(shared ? shared : "") + "/tasks/" + name);
    if (shared == nullptr || !file) GTEST_SKIP() << "tasks/" << name << " of the shared data is absent";
    for (std::string line; std::getline(file, line); ++prompts) {
      const std::string text = nlohmann::json::parse(line)[field];
      EXPECT_EQ(describe(text), "");
    }
  }
  EXPECT_EQ(prompts, 1319 + 164);
}

}  // namespace
}  // namespace hedge::privacy
