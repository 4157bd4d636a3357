// SPDX-License-Identifier: Apache-2.0
//
// What every transport promises, whatever its contracts.
#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/transports/conformance/conformance.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

class TransportConformance : public ConformanceTest {};

INSTANTIATE_TEST_SUITE_P(Transport, TransportConformance, testing::ValuesIn(AllAdapters()),
                         AdapterName);

TEST_P(TransportConformance, RegistrationAndTransportAgree) {
  const TransportPlugin* plugin = FindTransport(GetParam().transport);
  if (plugin == nullptr) GTEST_SKIP() << "not in the registry";
  const Capabilities& capabilities = transport().capabilities();
  EXPECT_EQ(transport().name(), plugin->name);
  EXPECT_FALSE(plugin->summary.empty());
  ASSERT_FALSE(plugin->address_kinds.empty());
  for (const Address& local : GetParam().ends[0].local) {
    EXPECT_NE(std::find(plugin->address_kinds.begin(), plugin->address_kinds.end(), local.kind()),
              plugin->address_kinds.end());
  }
  for (const auto contract : {&Capabilities::datagrams, &Capabilities::streams,
                              &Capabilities::frames, &Capabilities::remote_memory}) {
    EXPECT_LE(capabilities.*contract, plugin->capabilities.*contract);
  }
  EXPECT_EQ(capabilities.virtual_time, plugin->capabilities.virtual_time);
  EXPECT_EQ(capabilities.can_wait, plugin->capabilities.can_wait);
}

TEST_P(TransportConformance, CapabilitiesMakeSense) {
  const Capabilities& capabilities = transport().capabilities();
  for (const auto contract : GetParam().contracts) EXPECT_TRUE(capabilities.*contract);
  EXPECT_EQ(capabilities.virtual_time, transport().virtual_time() != nullptr);
  EXPECT_FALSE(capabilities.virtual_time && capabilities.can_wait);
  EXPECT_EQ(capabilities.datagrams, capabilities.max_payload_bytes > 0);
  EXPECT_EQ(capabilities.frames, capabilities.max_frame_bytes > 0);
  EXPECT_EQ(capabilities.remote_memory, capabilities.max_operation_bytes > 0);
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
    if (!GetParam().decorated) {
      EXPECT_TRUE(absl::StrContains(status.message(), ContractNames(offered))) << status;
    }
  };
  check(transport().OpenDatagramPort({}).status(), offered.datagrams, "datagrams");
  check(transport().OpenStreamPort({}).status(), offered.streams, "streams");
  check(transport().OpenFramePort({}).status(), offered.frames, "frames");
  check(transport().OpenRemoteMemory({}).status(), offered.remote_memory, "remote memory");
}

TEST_P(TransportConformance, QueuesThatDoNotExistAreRefused) {
  for (const auto& [queue, queues] : {std::pair{1, 1}, {-1, 1}, {2, 2}, {0, 0}}) {
    const PortOptions options = {.local = Local(0), .queue = queue, .queues = queues};
    const auto check = [&](const absl::Status& status) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
          << options.queue << " of " << options.queues << ": " << status;
    };
    if (transport().capabilities().datagrams) check(transport().OpenDatagramPort(options).status());
    if (transport().capabilities().frames) check(transport().OpenFramePort(options).status());
  }
}

}  // namespace
}  // namespace weft
