// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/conformance/adapters.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/registry.h"

namespace weft {
namespace {

std::vector<Address> Numbered(Address (*make)(absl::string_view)) {
  std::vector<Address> addresses;
  for (int i = 0; i < 8; ++i) addresses.push_back(make(absl::StrCat("conformance-", i)));
  return addresses;
}

ConformanceAdapter Named(const std::string& name) {
  ConformanceAdapter adapter;
  adapter.name = name;
  adapter.config.set_name(name);
  return adapter;
}

ConformanceAdapter Linux(const std::string& name, const Address& local) {
  ConformanceAdapter adapter = Named("linux");
  adapter.name = name;
  adapter.local = {local};
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
  ConformanceAdapter adapter = Named("shm");
  adapter.config.mutable_shm()->set_directory(TemporaryDirectory());
  adapter.local = Numbered(&Address::Shm);
  adapter.copies_per_send = 1;
  adapter.copies_per_receive = 1;
  return adapter;
}

ConformanceAdapter Sim() {
  ConformanceAdapter adapter = Named("sim");
  adapter.config.mutable_sim()->set_network("conformance");
  adapter.local = Numbered(&Address::Sim);
  adapter.copies_per_receive = 1;
  return adapter;
}

// The same with decorators that change nothing: they must keep what the contracts promise.
ConformanceAdapter Decorated(ConformanceAdapter adapter) {
  adapter.name += "_decorated";
  adapter.config.add_decorators()->mutable_fault();
  adapter.config.add_decorators()->mutable_trace()->set_path("/dev/null");
  adapter.config.add_decorators()->mutable_pcap()->set_path("/dev/null");
  return adapter;
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  return {
      Linux("linux_ipv4", *Address::Parse("127.0.0.1:0")),
      Linux("linux_ipv6", *Address::Parse("[::1]:0")),
      Decorated(Linux("linux", *Address::Parse("127.0.0.1:0"))),
      Shm(),
      Decorated(Shm()),
      Sim(),
      Decorated(Sim()),
  };
}

std::vector<ConformanceAdapter> AdaptersWith(bool Capabilities::*contract) {
  std::vector<ConformanceAdapter> adapters;
  for (ConformanceAdapter& adapter : AllAdapters()) {
    auto transport = OpenTransport(adapter.config);
    if (transport.ok() && (*transport)->capabilities().*contract) adapters.push_back(adapter);
  }
  return adapters;
}

void PrintTo(const ConformanceAdapter& adapter, std::ostream* out) { *out << adapter.name; }

}  // namespace weft
