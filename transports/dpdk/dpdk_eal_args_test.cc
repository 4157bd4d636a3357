// SPDX-License-Identifier: Apache-2.0
//
// EAL that does not start, which it does not forgive: a program of its own.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "weft/transports/dpdk/dpdk_test_util.h"

namespace weft::dpdk {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(EalArgsTest, OneSentenceInsteadOfPages) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const absl::Status status =
      TryOpen("virtual_devices: 'net_null0' eal_args: '--no-such-argument'").status();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("DPDK does not start: check eal_args"),
                    HasSubstr("unrecognized option '--no-such-argument'")));
  // EAL cannot be started again in this process, so that it stays so.
  EXPECT_EQ(TryOpen("virtual_devices: 'net_null0'").status(), status);
}

}  // namespace
}  // namespace weft::dpdk
