// SPDX-License-Identifier: Apache-2.0

// A project of its own that uses single libraries of weft.

#include <cstdio>

#include "rpc/client.h"
#include "weft/config/config.h"
#include "weft/core/metrics.h"

int main() {
  weft::Counter greetings;
  greetings.Add();
  weft::config::Config config;
  config.mutable_transport()->set_name("sim");
  std::printf("%s and weft's %s transport: %d\n", consumer::OwnClient(),
              config.transport().name().c_str(), static_cast<int>(greetings.value()));
}
