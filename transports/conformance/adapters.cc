// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/conformance/adapters.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/registry.h"

namespace weft {

std::vector<ConformanceAdapter> AdaptersWith(bool Capabilities::*contract) {
  std::vector<ConformanceAdapter> adapters = AllAdapters();
  std::erase_if(adapters, [&](const ConformanceAdapter& adapter) {
    return std::find(adapter.contracts.begin(), adapter.contracts.end(), contract) ==
           adapter.contracts.end();
  });
  return adapters;
}

ConformanceAdapter AdapterFor(absl::string_view transport,
                              std::vector<bool Capabilities::*> contracts) {
  ConformanceAdapter adapter;
  adapter.name = std::string(transport);
  adapter.transport = adapter.name;
  adapter.contracts = std::move(contracts);
  if (const TransportPlugin* plugin = FindTransport(transport)) {
    adapter.address_kinds = plugin->address_kinds;
    adapter.prepare = plugin->probe;
  } else {
    adapter.prepare = [name = adapter.name] {
      return absl::NotFoundError(absl::StrCat("transport '", name, "' is not linked in"));
    };
  }
  return adapter;
}

ConformanceEnd EndOf(const config::Transport& config, std::vector<Address> local) {
  return {.open =
              [config](const config::Buffers& buffers) {
                config::Transport with_buffers = config;
                *with_buffers.mutable_buffers() = buffers;
                return OpenTransport(with_buffers);
              },
          .local = std::move(local)};
}

std::vector<Address> Numbered(Address (*make)(absl::string_view)) {
  std::vector<Address> addresses;
  for (int i = 0; i < 8; ++i) addresses.push_back(make(absl::StrCat("conformance-", i)));
  return addresses;
}

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

ConformanceAdapter Decorated(ConformanceAdapter adapter) {
  config::Transport config;
  config.add_decorators()->mutable_fault();
  config.add_decorators()->mutable_trace()->set_path(TemporaryDirectory() + "/trace");
  config::Pcap& pcap = *config.add_decorators()->mutable_pcap();
  pcap.set_path(TemporaryDirectory() + "/pcap");
  pcap.set_snap_length_bytes(64);
  adapter.name += "_decorated";
  adapter.decorated = true;
  std::erase(adapter.contracts, &Capabilities::streams);
  std::erase(adapter.contracts, &Capabilities::remote_memory);
  for (ConformanceEnd& end : adapter.ends) {
    end.open = [open = std::move(end.open), config](
                   const config::Buffers& buffers) -> absl::StatusOr<std::unique_ptr<Transport>> {
      absl::StatusOr<std::unique_ptr<Transport>> plain = open(buffers);
      if (!plain.ok()) return plain;
      return DecorateTransport(*std::move(plain), config.decorators());
    };
  }
  return adapter;
}

void PrintTo(const ConformanceAdapter& adapter, std::ostream* out) { *out << adapter.name; }

}  // namespace weft
