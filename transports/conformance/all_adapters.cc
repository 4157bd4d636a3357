// SPDX-License-Identifier: Apache-2.0
//
// The suites over every transport of this repository.
#include <algorithm>
#include <vector>

#include "gtest/gtest.h"
#include "weft/transports/conformance/repository_adapters.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

TEST(ConformanceSuite, CoversEveryTransport) {
  const std::vector<ConformanceAdapter> adapters = AllAdapters();
  for (const TransportPlugin* plugin : RegisteredTransports()) {
    EXPECT_TRUE(std::any_of(adapters.begin(), adapters.end(),
                            [&](const auto& adapter) { return adapter.transport == plugin->name; }))
        << plugin->name << " has no entry in transports/conformance/repository_adapters.cc";
  }
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() { return RepositoryAdapters(); }

}  // namespace weft
