// SPDX-License-Identifier: Apache-2.0

#define linux 1  // As GCC's default dialect does.
#include "weft/config/config.h"

#include <gtest/gtest.h>

namespace weft::config {
namespace {

TEST(ConfigTest, AnEmptyConfigHasTheSchemasDefaults) {
  const Config config;
  EXPECT_EQ(config.transport().name(), "linux");
  EXPECT_TRUE(config.transport().linux().gso());
  EXPECT_EQ(config.transport().shm().mode(), "0600");
  EXPECT_EQ(config.host().workers(), 1u);
  EXPECT_EQ(config.host().loop().mode(), Loop::ADAPTIVE);
  EXPECT_EQ(config.host().loop().spin_us(), 50u);
  EXPECT_EQ(config.rpc().policy(), Rpc::LB_ROUTE);
  EXPECT_EQ(config.rpc().message_packets_max(), 254u);
  EXPECT_EQ(config.metrics().listen(), "");
}

}  // namespace
}  // namespace weft::config
