#include "upstream/endpoint.h"

#include <unistd.h>
#include <cstdlib>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace hedge::upstream {
namespace {

TEST(Endpoint, BaseUrlIsNormalised) {
  for (const char* url : {"http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1//"}) {
    const auto out = normal_base_url(url, "base_url");
    ASSERT_TRUE(out.ok()) << url;
    EXPECT_EQ(*out, "http://h:1") << url;
  }
  EXPECT_EQ(*normal_base_url("https://api.example.com/openai/v1", "u"), "https://api.example.com/openai");
  EXPECT_EQ(*normal_base_url("http://[::1]:8080", "u"), "http://[::1]:8080");
}

TEST(Endpoint, BadBaseUrlsAreNamed) {
  for (const char* url : {"", "h:1", "ftp://h", "file:///etc/passwd", "http://", "http://:80", "http:///v1",
                          "http://user:secret@h", "http://h/?x=1", "http://h/#x", "http://h/a b",
                          "http://h\r\nX: y", "gopher://h"}) {
    const auto out = normal_base_url(url, "base_url");
    ASSERT_FALSE(out.ok()) << url;
    EXPECT_EQ(out.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(out.error().field, "base_url");
    EXPECT_EQ(out.error().detail.find("secret"), std::string::npos);
  }
}

class KeyFile {
 public:
  explicit KeyFile(const std::string& text)
      : path_(std::filesystem::temp_directory_path() / ("hedge_key_test_" + std::to_string(::getpid()))) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~KeyFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

TEST(Endpoint, KeyFromFileIsItsFirstLineTrimmed) {
  EXPECT_EQ(*read_key("", KeyFile("  sk-12345 \r\nmore\n").path()), "sk-12345");
  EXPECT_EQ(*read_key("", KeyFile("sk-12345").path()), "sk-12345");
  EXPECT_EQ(*read_key("", ""), "");
}

TEST(Endpoint, KeyFromEnvironmentGoesFirst) {
  ::setenv("HEDGE_TEST_KEY", "sk-env\n", 1);
  EXPECT_EQ(*read_key("HEDGE_TEST_KEY", KeyFile("sk-file").path()), "sk-env");
  ::unsetenv("HEDGE_TEST_KEY");
}

TEST(Endpoint, BadKeySourcesAreNamedAndTheKeyIsNot) {
  const auto unset = read_key("HEDGE_TEST_KEY_UNSET", "");
  ASSERT_FALSE(unset.ok());
  EXPECT_EQ(unset.error().code, ErrorCode::kPermission);
  EXPECT_NE(unset.error().detail.find("HEDGE_TEST_KEY_UNSET"), std::string::npos);
  const auto absent = read_key("", "/nonexistent/key");
  ASSERT_FALSE(absent.ok());
  EXPECT_NE(absent.error().detail.find("/nonexistent/key"), std::string::npos);
  EXPECT_FALSE(read_key("", "/").ok());
  for (const char* text : {"", "\n", "  \nsk-second-line", "sk-with space", "sk-\x01", "sk-\xc3\xa9"}) {
    const auto bad = read_key("", KeyFile(text).path());
    ASSERT_FALSE(bad.ok()) << text;
    EXPECT_EQ(bad.error().detail.find("sk-"), std::string::npos);
  }
  EXPECT_FALSE(read_key("", KeyFile(std::string(100'000, 'k')).path()).ok());
}

TEST(Endpoint, RedactReplacesEveryOccurrence) {
  EXPECT_EQ(redact("a sk-1234 b sk-1234", "sk-1234"), "a [key] b [key]");
  EXPECT_EQ(redact("[key][key]", "[key]"), "[key][key]");  // ends
  EXPECT_EQ(redact("nothing", ""), "nothing");
}

}  // namespace
}  // namespace hedge::upstream
