// SPDX-License-Identifier: Apache-2.0
//
// Emulated memory is remote memory: over kernel sockets, shared memory, a simulated network and
// weft's own stack, and over networks that treat packets badly.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/transports/conformance/adapters.h"
#include "weft/transports/decorators/open.h"
#include "weft/transports/remote_memory/open.h"

namespace weft {
namespace {

using netstack::NetstackTransport;

// Stacks that are open, so that they answer each other while a test waits for something else.
std::vector<NetstackTransport*>& Stacks() {
  static auto* const open = new std::vector<NetstackTransport*>;
  return *open;
}

// The datagrams of another, and remote memory over them.
class Emulating final : public Transport {
 public:
  explicit Emulating(std::unique_ptr<Transport> plain, NetstackTransport* stack = nullptr)
      : plain_(std::move(plain)), stack_(stack), capabilities_(plain_->capabilities()) {
    capabilities_.remote_memory = false;
    offered_ = capabilities_;
    offered_.remote_memory = true;
    offered_.max_operation_bytes = EmulatedMemory::kOperationBytesMax;
    offered_.registers_any_memory = true;
    offered_.atomic_with_processor = true;
    if (stack_ != nullptr) Stacks().push_back(stack_);
  }
  ~Emulating() override { std::erase(Stacks(), stack_); }

  absl::string_view name() const override { return plain_->name(); }
  const Capabilities& capabilities() const override { return offered_; }
  VirtualTime* virtual_time() override { return plain_->virtual_time(); }
  absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(
      const PortOptions& options) override {
    DatagramsOnly datagrams(*this);
    // Addresses of a stack are of no machine.
    return weft::OpenRemoteMemory(datagrams, options, {.beyond_machine = stack_ != nullptr});
  }

 private:
  class DatagramsOnly final : public Transport {
   public:
    explicit DatagramsOnly(Emulating& all) : all_(all) {}
    absl::string_view name() const override { return all_.name(); }
    const Capabilities& capabilities() const override { return all_.capabilities_; }
    VirtualTime* virtual_time() override { return all_.virtual_time(); }
    absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
        const PortOptions& options) override {
      return all_.plain_->OpenDatagramPort(options);
    }

   private:
    Emulating& all_;
  };

  const std::unique_ptr<Transport> plain_;
  NetstackTransport* const stack_;
  Capabilities capabilities_;
  Capabilities offered_;
};

config::Transport Named(const std::string& name) {
  config::Transport config;
  config.set_name(name);
  return config;
}

config::Transport BadNetwork() {
  config::Transport config = Named("sim");
  config::Sim& sim = *config.mutable_sim();
  sim.set_network("bad");
  sim.set_jitter_us(20);
  sim.set_loss(0.03);
  sim.set_duplicate(0.03);
  sim.set_reorder(0.05);
  sim.set_corrupt(0.01);
  return config;
}

config::Transport WithFaults(config::Transport config) {
  config::Fault& fault = *config.add_decorators()->mutable_fault();
  fault.set_loss(0.01);
  fault.set_duplicate(0.02);
  fault.set_reorder(0.02);
  fault.set_corrupt(0.01);
  return config;
}

ConformanceAdapter Over(const std::string& name, const config::Transport& config,
                        std::vector<Address> local) {
  ConformanceAdapter adapter = AdapterFor(config.name(), {&Capabilities::remote_memory});
  adapter.name = name;
  ConformanceEnd end = EndOf(config, std::move(local));
  end.open = [open = end.open](
                 const config::Buffers& buffers) -> absl::StatusOr<std::unique_ptr<Transport>> {
    auto plain = open(buffers);
    if (!plain.ok()) return plain.status();
    return std::make_unique<Emulating>(*std::move(plain));
  };
  adapter.ends = {std::move(end)};
  return adapter;
}

// Each port has a stack of its own on a simulated Ethernet.
ConformanceAdapter OverStacks() {
  config::Transport frames = Named("sim");
  frames.mutable_sim()->set_network("stacks");
  ConformanceAdapter adapter = AdapterFor("sim", {&Capabilities::remote_memory});
  adapter.name = "netstack";
  adapter.address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6};
  adapter.ends.clear();
  adapter.work = [] {
    for (NetstackTransport* transport : Stacks()) {
      if (const auto stack = transport->StackOfThisThread()) stack->Poll(nullptr, {});
    }
  };
  for (int n = 1; n <= 4; ++n) {
    ConformanceEnd end = EndOf(frames);
    end.open = [open = end.open, n](const config::Buffers& buffers)
        -> absl::StatusOr<std::unique_ptr<Transport>> {
      auto device = open(buffers);
      if (!device.ok()) return device.status();
      config::Netstack config;
      config.add_addresses(absl::StrCat("10.78.0.", n, "/24"));
      auto transport = NetstackTransport::Open(*std::move(device), config, /*workers=*/1);
      if (!transport.ok()) return transport.status();
      NetstackTransport* const stack = transport->get();
      return std::make_unique<Emulating>(*std::move(transport), stack);
    };
    end.local = {*Address::Parse(absl::StrCat("10.78.0.", n, ":0"))};
    adapter.ends.push_back(std::move(end));
  }
  return adapter;
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  config::Transport shm = Named("shm");
  shm.mutable_shm()->set_directory(TemporaryDirectory());
  return {
      Over("linux", Named("linux"), {*Address::Parse("127.0.0.1:0")}),
      Over("linux_faults", WithFaults(Named("linux")), {*Address::Parse("127.0.0.1:0")}),
      Over("shm", shm, Numbered(&Address::Shm)),
      Over("sim_bad", BadNetwork(), Numbered(&Address::Sim)),
      OverStacks(),
  };
}

}  // namespace weft
