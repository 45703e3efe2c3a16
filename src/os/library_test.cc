#include "os/library.h"

#include <gtest/gtest.h>

namespace hedge::os {
namespace {

TEST(Library, FindsAFunction) {
  const Result<Library> library = Library::open("libm.so.6");
  ASSERT_TRUE(library.ok()) << library.error().detail;
  double (*round_down)(double) = nullptr;
  ASSERT_TRUE(library->find("floor", round_down).ok());
  EXPECT_EQ(round_down(2.5), 2.0);
}

TEST(Library, NamesWhatIsMissing) {
  const Result<Library> absent = Library::open("libhedge-has-no-such-library.so.1");
  ASSERT_FALSE(absent.ok());
  EXPECT_EQ(absent.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(absent.error().detail.find("libhedge-has-no-such-library.so.1"), std::string::npos);

  const Result<Library> library = Library::open("libm.so.6");
  ASSERT_TRUE(library.ok());
  void (*function)() = nullptr;
  const Status found = library->find("hedge_has_no_such_function", function);
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.error().detail.find("hedge_has_no_such_function"), std::string::npos);
}

}  // namespace
}  // namespace hedge::os
