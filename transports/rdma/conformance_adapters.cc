// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/conformance_adapters.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/rdma/rdma_transport.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/rdma/sim_world.h"
#include "weft/transports/registry.h"

namespace weft::rdma {
namespace {

// The ports that are open. A port that is not polled gives no credit and hears no answer, so that
// who waits for one port must let the others of his thread do what they have to.
class OpenPorts {
 public:
  static void Add(RdmaDatagramPort* port) {
    std::lock_guard lock(mutex());
    ports().push_back({port, std::this_thread::get_id()});
  }
  static void Remove(RdmaDatagramPort* port) {
    std::lock_guard lock(mutex());
    std::erase_if(ports(), [&](const Entry& entry) { return entry.port == port; });
  }
  static void Move(RdmaDatagramPort* port) {
    Remove(port);
    Add(port);
  }
  static void Attend() {
    std::vector<RdmaDatagramPort*> own;
    {
      std::lock_guard lock(mutex());
      for (const Entry& entry : ports()) {
        if (entry.owner == std::this_thread::get_id()) own.push_back(entry.port);
      }
    }
    for (RdmaDatagramPort* port : own) port->Attend();
  }

 private:
  struct Entry {
    RdmaDatagramPort* port;
    std::thread::id owner;
  };
  static std::mutex& mutex() {
    static std::mutex mutex;
    return mutex;
  }
  static std::vector<Entry>& ports() {
    static auto* const ports = new std::vector<Entry>;
    return *ports;
  }
};

// A port as it is, in the list while it is open.
class ListedPort final : public DatagramDecorator {
 public:
  // Owns `port`.
  explicit ListedPort(RdmaDatagramPort* port)
      : DatagramDecorator(std::unique_ptr<DatagramPort>(port)), port_(port) {
    capabilities_ = inner().capabilities();
    OpenPorts::Add(port);
  }
  ~ListedPort() override { OpenPorts::Remove(port_); }
  void BindToThisThread() override {
    DatagramDecorator::BindToThisThread();
    OpenPorts::Move(port_);
  }

 private:
  RdmaDatagramPort* const port_;
};

// A network with one device, at which all ports are; nothing in real time.
struct Simulation {
  sim::Network network{/*seed=*/1};
  std::unique_ptr<SimNic> nic;
};

class ListingTransport final : public Transport {
 public:
  ListingTransport(std::unique_ptr<Simulation> simulation, std::unique_ptr<Transport> inner)
      : simulation_(std::move(simulation)), inner_(std::move(inner)) {}
  absl::string_view name() const override { return inner_->name(); }
  const Capabilities& capabilities() const override { return inner_->capabilities(); }
  VirtualTime* virtual_time() override { return inner_->virtual_time(); }
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options) override {
    return inner_->OpenRemoteMemory(options);
  }
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override {
    auto port = inner_->OpenDatagramPort(options);
    if (!port.ok()) return port;
    return std::make_unique<ListedPort>(static_cast<RdmaDatagramPort*>(port->release()));
  }

 private:
  const std::unique_ptr<Simulation> simulation_;
  const std::unique_ptr<Transport> inner_;
};

config::Transport ConfigWith(const config::Buffers& buffers) {
  config::Transport config;
  config.set_name("rdma");
  *config.mutable_buffers() = buffers;
  return config;
}

absl::StatusOr<std::unique_ptr<Transport>> OpenSimulated(const config::Buffers& buffers) {
  auto simulation = std::make_unique<Simulation>();
  auto nic = SimNic::Open(&simulation->network, Address::Sim("device"));
  if (!nic.ok()) return nic.status();
  simulation->nic = *std::move(nic);
  auto transport = RdmaTransport::Over(SimWorld(&simulation->network, simulation->nic.get()),
                                       ConfigWith(buffers));
  return std::make_unique<ListingTransport>(std::move(simulation), std::move(transport));
}

}  // namespace

ConformanceAdapter SimAdapter() {
  ConformanceAdapter adapter;
  adapter.name = "rdma_sim";
  adapter.contracts = {&Capabilities::datagrams, &Capabilities::remote_memory};
  adapter.address_kinds = {Address::Kind::kSim};
  adapter.ends = {{.open = &OpenSimulated, .local = Numbered(&Address::Sim)}};
  adapter.work = &OpenPorts::Attend;
  return adapter;
}

namespace {

std::vector<std::string> Listed(const char* variable) {
  const char* const value = std::getenv(variable);
  return absl::StrSplit(value == nullptr ? "" : value, ' ', absl::SkipEmpty());
}

// Fewer slots and buffers than usual: memory that is registered is touched all of it, and in a
// virtual machine that takes time.
config::Transport DeviceConfig(const config::Buffers& buffers, const std::string& device) {
  config::Transport config = ConfigWith(buffers);
  if (!buffers.has_count()) config.mutable_buffers()->set_count(1024);
  config.mutable_rdma()->set_device(device);
  config.mutable_rdma()->set_receive_slots(256);
  config.mutable_rdma()->set_bulk_count(4);
  config.mutable_rdma()->set_bulk_bytes(65536);
  return config;
}

}  // namespace

ConformanceAdapter DeviceAdapter() {
  ConformanceAdapter adapter =
      AdapterFor("rdma", {&Capabilities::datagrams, &Capabilities::remote_memory});
  adapter.work = &OpenPorts::Attend;
  const std::vector<std::string> devices = Listed("WEFT_RDMA_DEVICES");
  const std::vector<std::string> addresses = Listed("WEFT_RDMA_ADDRESSES");
  for (size_t i = 0; i < std::min(devices.size(), addresses.size()); ++i) {
    ConformanceEnd end;
    end.open = [device = devices[i]](
                   const config::Buffers& buffers) -> absl::StatusOr<std::unique_ptr<Transport>> {
      auto transport = OpenPlainTransport(DeviceConfig(buffers, device));
      if (!transport.ok()) return transport;
      return std::make_unique<ListingTransport>(nullptr, *std::move(transport));
    };
    end.local = {*Address::Parse(absl::StrCat(addresses[i], ":0"))};
    adapter.ends.push_back(std::move(end));
  }
  if (adapter.ends.empty()) {
    adapter.ends.push_back(EndOf(config::Transport()));
    adapter.prepare = [] {
      return absl::UnavailableError(
          "WEFT_RDMA_DEVICES and WEFT_RDMA_ADDRESSES name no devices to test");
    };
  }
  return adapter;
}

}  // namespace weft::rdma
