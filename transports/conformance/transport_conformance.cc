// SPDX-License-Identifier: Apache-2.0
//
// What every transport promises, whatever its contracts.
#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/conformance/conformance.h"

namespace weft {
namespace {

TEST(ConformanceSuite, CoversEveryTransport) {
  const std::vector<ConformanceAdapter> adapters = AllAdapters();
  for (const TransportPlugin* plugin : RegisteredTransports()) {
    EXPECT_TRUE(
        std::any_of(adapters.begin(), adapters.end(),
                    [&](const auto& adapter) { return adapter.config.name() == plugin->name; }))
        << plugin->name << " has no entry in transports/conformance/adapters.cc";
  }
}

class TransportConformance : public ConformanceTest {};

INSTANTIATE_TEST_SUITE_P(Transport, TransportConformance, testing::ValuesIn(AllAdapters()),
                         AdapterName);

TEST_P(TransportConformance, RegistrationAndTransportAgree) {
  const TransportPlugin& plugin = *FindTransport(GetParam().config.name());
  const Capabilities& capabilities = transport().capabilities();
  EXPECT_EQ(transport().name(), plugin.name);
  EXPECT_FALSE(plugin.summary.empty());
  ASSERT_FALSE(plugin.address_kinds.empty());
  for (const Address& local : GetParam().local) {
    EXPECT_NE(std::find(plugin.address_kinds.begin(), plugin.address_kinds.end(), local.kind()),
              plugin.address_kinds.end());
  }
  if (GetParam().config.decorators().empty()) {
    EXPECT_EQ(ContractNames(capabilities), ContractNames(plugin.capabilities));
  }
  EXPECT_EQ(capabilities.virtual_time, transport().virtual_time() != nullptr);
  EXPECT_EQ(capabilities.virtual_time, plugin.capabilities.virtual_time);
  EXPECT_EQ(capabilities.can_wait, plugin.capabilities.can_wait);
  EXPECT_FALSE(capabilities.virtual_time && capabilities.can_wait);
  EXPECT_EQ(capabilities.datagrams, capabilities.max_payload_bytes > 0);
  EXPECT_EQ(capabilities.frames, capabilities.max_frame_bytes > 0);
  EXPECT_GT(capabilities.max_burst, 0u);
}

TEST_P(TransportConformance, MissingContractsAreErrorsThatNameTheOthers) {
  const Capabilities& offered = transport().capabilities();
  const auto check = [&](const absl::Status& status, bool has, const std::string& contract) {
    if (has) {
      EXPECT_TRUE(status.ok()) << status;
      return;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("has no ", contract))) << status;
    if (GetParam().config.decorators().empty()) {
      EXPECT_TRUE(absl::StrContains(status.message(), ContractNames(offered))) << status;
    }
  };
  check(transport().OpenDatagramPort({}).status(), offered.datagrams, "datagrams");
  check(transport().OpenStreamPort({}).status(), offered.streams, "streams");
  check(transport().OpenFramePort({}).status(), offered.frames, "frames");
}

TEST_P(TransportConformance, QueuesThatDoNotExistAreRefused) {
  if (!transport().capabilities().datagrams) GTEST_SKIP() << "no datagrams";
  for (const auto& [queue, queues] : {std::pair{1, 1}, {-1, 1}, {2, 2}, {0, 0}}) {
    const absl::Status status =
        transport()
            .OpenDatagramPort({.local = Local(0), .queue = queue, .queues = queues})
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << queue << " of " << queues << ": " << status;
  }
}

}  // namespace
}  // namespace weft
