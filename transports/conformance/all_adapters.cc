// SPDX-License-Identifier: Apache-2.0
//
// The transports of this repository: a new plugin adds itself here.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "weft/transports/conformance/adapters.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

ConformanceAdapter Linux(const std::string& name, const char* local) {
  ConformanceAdapter adapter =
      AdapterFor("linux", {&Capabilities::datagrams, &Capabilities::streams});
  adapter.name = name;
  config::Transport config;
  config.set_name("linux");
  adapter.ends = {EndOf(config, {*Address::Parse(local)})};
  return adapter;
}

// A directory for as long as the program runs; short, as the paths of sockets must be.
const std::string& TemporaryDirectory() {
  static const std::string* const directory = [] {
    char path[] = "/tmp/weft-conformance-XXXXXX";
    if (mkdtemp(path) == nullptr) std::abort();
    auto* made = new std::string(path);
    std::atexit([] { std::filesystem::remove_all(TemporaryDirectory()); });
    return made;
  }();
  return *directory;
}

ConformanceAdapter Shm() {
  ConformanceAdapter adapter =
      AdapterFor("shm", {&Capabilities::datagrams, &Capabilities::streams});
  config::Transport config;
  config.set_name("shm");
  config.mutable_shm()->set_directory(TemporaryDirectory());
  adapter.ends = {EndOf(config, Numbered(&Address::Shm))};
  adapter.copies_per_send = 1;
  adapter.copies_per_receive = 1;
  return adapter;
}

ConformanceAdapter Sim() {
  ConformanceAdapter adapter =
      AdapterFor("sim", {&Capabilities::datagrams, &Capabilities::streams, &Capabilities::frames});
  config::Transport config;
  config.set_name("sim");
  config.mutable_sim()->set_network("conformance");
  adapter.ends = {EndOf(config, Numbered(&Address::Sim))};
  adapter.copies_per_receive = 1;
  return adapter;
}

TEST(ConformanceSuite, CoversEveryTransport) {
  const std::vector<ConformanceAdapter> adapters = AllAdapters();
  for (const TransportPlugin* plugin : RegisteredTransports()) {
    EXPECT_TRUE(std::any_of(adapters.begin(), adapters.end(),
                            [&](const auto& adapter) { return adapter.transport == plugin->name; }))
        << plugin->name << " has no entry in transports/conformance/all_adapters.cc";
  }
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  return {
      Linux("linux_ipv4", "127.0.0.1:0"),
      Linux("linux_ipv6", "[::1]:0"),
      Decorated(Linux("linux", "127.0.0.1:0")),
      Shm(),
      Decorated(Shm()),
      Sim(),
      Decorated(Sim()),
  };
}

}  // namespace weft
