#include "cli/probes.h"

#include <gtest/gtest.h>

#include <string>

#include "base/hash.h"
#include "os/file.h"

namespace hedge::cli {
namespace {

route::Probe some_probe() { return std::move(route::Probe::parse(route::default_probes()[0])).value(); }

std::string written(const route::Thresholds& thresholds) {
  const std::string path = testing::TempDir() + "hedge-probes-test.thresholds";
  EXPECT_TRUE(os::write_file_atomic(path, thresholds.to_text()).ok());
  return path;
}

TEST(Probes, ThresholdsBelongToTheirProbe) {
  const route::Probe probe = some_probe();
  route::Thresholds thresholds;
  thresholds.probe = fnv1a(probe.to_bytes());
  thresholds.checkpoints = {{1, 0.75, 0.25}};
  const auto found = find_thresholds(written(thresholds), probe);
  ASSERT_TRUE(found.ok()) << found.error().to_text();
  EXPECT_EQ((*found)->at(1)->send_above, 0.75);
  ++thresholds.probe;
  const auto other = find_thresholds(written(thresholds), probe);
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().detail.find("`hedge route calibrate`"), std::string::npos) << other.error().detail;
  EXPECT_FALSE(find_thresholds("/nowhere/at/all", probe).ok());
}

TEST(Probes, TheProgramsOwnThresholdsAreThoseOfItsProbes) {
  for (const std::string_view text : route::default_thresholds()) {
    const auto thresholds = route::Thresholds::parse(text);
    ASSERT_TRUE(thresholds.ok()) << thresholds.error().to_text();
    bool known = false;
    for (const std::string_view bytes : route::default_probes())
      known = known || fnv1a(bytes) == thresholds->probe;
    EXPECT_TRUE(known);
  }
  route::Probe unknown = some_probe();
  unknown.model.fingerprint ^= 1;
  const auto none = find_thresholds("", unknown);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(*none, nullptr);
}

}  // namespace
}  // namespace hedge::cli
