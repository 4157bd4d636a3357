// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/floors/floors.h"

#include "gtest/gtest.h"
#include "weft/core/cpu.h"

namespace weft::benchmarks::floors {
namespace {

class FloorsTest : public ::testing::TestWithParam<Floor> {};

TEST_P(FloorsTest, IsMeasured) {
  const auto cores = AllowedCores();
  if (cores.size() < 2) GTEST_SKIP() << "spinning processes need a core each";
  const absl::StatusOr<Figure> figure = Measure(
      GetParam(),
      {.client_core = cores[0], .server_core = cores[1], .duration = absl::Milliseconds(300)});
  if (figure.status().code() == absl::StatusCode::kUnimplemented) GTEST_SKIP() << figure.status();
  ASSERT_TRUE(figure.ok()) << figure.status();
  EXPECT_EQ(figure->name, Name(GetParam()));
  EXPECT_GT(figure->value, 0);
  EXPECT_TRUE(figure->unit == "us" || figure->unit == "requests/s" || figure->unit == "GB/s");
}

INSTANTIATE_TEST_SUITE_P(All, FloorsTest, ::testing::ValuesIn(kAllFloors));

TEST(FloorsErrorTest, AWrongCoreIsAnError) {
  const absl::Status status =
      Measure(Floor::kUdpSpinningLatency, {.client_core = 0, .server_core = kMaxCores}).status();
  EXPECT_NE(status.message().find("cannot pin a thread to core 4096"), absl::string_view::npos)
      << status;
}

}  // namespace
}  // namespace weft::benchmarks::floors

int main(int argc, char** argv) {
  if (weft::benchmarks::IsPeer(argc, argv)) {
    return weft::benchmarks::RunPeer(argc, argv, weft::benchmarks::floors::Roles());
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
