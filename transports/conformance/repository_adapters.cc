// SPDX-License-Identifier: Apache-2.0
//
#include "weft/transports/conformance/repository_adapters.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "weft/tools/testnet/testnet.h"
#include "weft/transports/conformance/adapters.h"
#include "weft/transports/rdma/conformance_adapters.h"

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

// With raw sockets, which not every user may open.
ConformanceAdapter LinuxForeignSource(const std::string& name, const char* local) {
  ConformanceAdapter adapter = AdapterFor("linux", {&Capabilities::datagrams});
  adapter.name = name;
  config::Transport config;
  config.set_name("linux");
  config.mutable_linux()->set_foreign_source(true);
  adapter.ends = {EndOf(config, {*Address::Parse(local)})};
  adapter.prepare = [open = adapter.ends[0].open]() -> absl::Status {
    const auto transport = open(config::Buffers());
    return transport.ok() ? (*transport)->OpenDatagramPort({}).status() : transport.status();
  };
  return adapter;
}

ConformanceAdapter Shm() {
  ConformanceAdapter adapter = AdapterFor(
      "shm", {&Capabilities::datagrams, &Capabilities::streams, &Capabilities::remote_memory});
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
      AdapterFor("sim", {&Capabilities::datagrams, &Capabilities::streams, &Capabilities::frames,
                         &Capabilities::remote_memory});
  config::Transport config;
  config.set_name("sim");
  config.mutable_sim()->set_network("conformance");
  adapter.ends = {EndOf(config, Numbered(&Address::Sim))};
  adapter.copies_per_receive = 1;
  return adapter;
}

// Networks of three devices each, in a namespace that the program is in from the first test on that
// needs it.
class SwitchedNetwork {
 public:
  static constexpr int kQueues = 2;
  // Devices that ports can be opened at by name: ends of veth pairs, and persistent TAP devices.
  static std::vector<std::string> Veths() { return {"veth0", "veth1", "veth2"}; }
  static std::vector<std::string> Taps() { return {"tap0", "tap1", "tap2"}; }
  // With one queue each: who has one socket gets all there is. On a switch of their own.
  static std::vector<std::string> SingleQueueVeths() { return {"single0", "single1", "single2"}; }

  static absl::Status Make() {
    static const SwitchedNetwork* const network = new SwitchedNetwork;
    return network->status_;
  }
  static absl::Status SetLink(const std::string& device, bool up) {
    return Place()->Ip(absl::StrCat("link set ", device, up ? " up" : " down"));
  }

 private:
  static absl::StatusOr<testnet::Namespace>& Place() {
    static auto* const place = new absl::StatusOr<testnet::Namespace>(testnet::Namespace::Make());
    return *place;
  }

  SwitchedNetwork() : status_(Place().status()) {
    if (!status_.ok()) return;
    const testnet::Namespace& place = *Place();
    status_ = testnet::MakeSwitch(place, "switch0", Veths(), {.queues = kQueues});
    for (const std::string& tap : Taps()) {
      if (status_.ok()) status_ = place.Ip(absl::StrCat("tuntap add dev ", tap, " mode tap"));
      if (status_.ok()) status_ = testnet::AddToSwitch(place, "switch0", tap);
    }
    if (status_.ok()) status_ = testnet::MakeSwitch(place, "switch1", SingleQueueVeths());
  }

  absl::Status status_;
};

// A plugin that takes an interface by its name: `configure` says which in its settings.
ConformanceAdapter OnSwitch(
    absl::string_view transport,
    const std::function<void(config::Transport& config, const std::string& interface)>& configure,
    const std::vector<std::string>& devices = SwitchedNetwork::Veths()) {
  ConformanceAdapter adapter = AdapterFor(transport, {&Capabilities::frames});
  adapter.prepare = [probe = adapter.prepare] {
    absl::Status status = SwitchedNetwork::Make();
    return status.ok() ? probe() : status;
  };
  for (const std::string& device : devices) {
    config::Transport config;
    config.set_name(std::string(transport));
    configure(config, device);
    adapter.ends.push_back(EndOf(config));
  }
  return adapter;
}

ConformanceAdapter LinuxPacket(const std::string& name, uint32_t block_timeout_ms) {
  ConformanceAdapter adapter =
      OnSwitch("linux", [&](config::Transport& config, const std::string& interface) {
        config::Packet& packet = *config.mutable_linux()->mutable_packet();
        packet.set_interface(interface);
        packet.set_block_timeout_ms(block_timeout_ms);
      });
  adapter.name = name;
  adapter.queues = SwitchedNetwork::kQueues;
  adapter.copies_per_receive = 1;
  // The other end of the pair: what a cable that is pulled looks like.
  adapter.set_link = [](size_t end, bool up) {
    return SwitchedNetwork::SetLink(absl::StrCat(SwitchedNetwork::Veths()[end], "-p"), up);
  };
  return adapter;
}

ConformanceAdapter LinuxTap(const std::string& name, bool offload) {
  ConformanceAdapter adapter = OnSwitch(
      "linux",
      [&](config::Transport& config, const std::string& interface) {
        config::Tap& tap = *config.mutable_linux()->mutable_tap();
        tap.set_interface(interface);
        tap.set_offload(offload);
      },
      SwitchedNetwork::Taps());
  adapter.name = name;
  adapter.set_link = [](size_t end, bool up) {
    return SwitchedNetwork::SetLink(SwitchedNetwork::Taps()[end], up);
  };
  return adapter;
}

ConformanceAdapter Afxdp(const std::string& name, config::Afxdp::Mode mode) {
  ConformanceAdapter adapter = OnSwitch(
      "afxdp",
      [&](config::Transport& config, const std::string& interface) {
        config.mutable_afxdp()->set_interface(interface);
        config.mutable_afxdp()->set_mode(mode);
      },
      SwitchedNetwork::SingleQueueVeths());
  adapter.name = name;
  // A veth end with several queues receives on the one that the other end has sent on, whatever the
  // flow.
  adapter.queues = 1;
  adapter.set_link = [](size_t end, bool up) {
    return SwitchedNetwork::SetLink(absl::StrCat(SwitchedNetwork::SingleQueueVeths()[end], "-p"),
                                    up);
  };
  return adapter;
}

// A NIC of shared memory with its two ends in one process.
ConformanceAdapter Dpdk() {
  ConformanceAdapter adapter = AdapterFor("dpdk", {&Capabilities::frames});
  const std::string socket = TemporaryDirectory() + "/vhost";
  for (const std::string& device : {absl::StrCat("net_vhost0,iface=", socket),
                                    absl::StrCat("net_virtio_user0,path=", socket)}) {
    config::Transport config;
    config.set_name("dpdk");
    config.mutable_dpdk()->add_virtual_devices(device);
    config.mutable_dpdk()->set_huge_pages(config::Dpdk::NEVER);
    adapter.ends.push_back(EndOf(config));
  }
  // It gives back what it has sent when it sends again.
  adapter.buffers_held = 256;
  // The sender says by its own queue which one of the other end's is meant.
  adapter.back_to_back = true;
  return adapter;
}

ConformanceAdapter OverFrames(const ConformanceAdapter& frames, bool v4, const OpenStacked& open) {
  ConformanceAdapter adapter;
  adapter.name = absl::StrCat(frames.name, v4 ? "_ipv4" : "_ipv6");
  adapter.address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6};
  adapter.decorated = frames.decorated;
  adapter.prepare = frames.prepare;
  adapter.buffers_held = frames.buffers_held;
  // The ports of a simulated network are ends of it.
  const size_t ends = frames.ends.size() == 1 ? 3 : frames.ends.size();
  for (size_t n = 0; n < ends; ++n) {
    const std::string ip = absl::StrCat(v4 ? "10.77.0." : "fd77::", n + 1);
    ConformanceEnd end;
    end.open = [device = frames.ends[n % frames.ends.size()].open, open, frames,
                address = absl::StrCat(ip, v4 ? "/24" : "/64")](
                   const config::Buffers& buffers) -> absl::StatusOr<std::unique_ptr<Transport>> {
      auto opened = device(buffers);
      if (!opened.ok()) return opened.status();
      return open(*std::move(opened), address, frames);
    };
    end.local = {*Address::Parse(v4 ? absl::StrCat(ip, ":0") : absl::StrCat("[", ip, "]:0"))};
    adapter.ends.push_back(std::move(end));
  }
  return adapter;
}

}  // namespace

std::vector<ConformanceAdapter> RepositoryAdapters() {
  return {
      Linux("linux_ipv4", "127.0.0.1:0"),
      Linux("linux_ipv6", "[::1]:0"),
      Decorated(Linux("linux", "127.0.0.1:0")),
      LinuxForeignSource("linux_foreign_source_ipv4", "127.0.0.1:0"),
      LinuxForeignSource("linux_foreign_source_ipv6", "[::1]:0"),
      Decorated(LinuxForeignSource("linux_foreign_source", "127.0.0.1:0")),
      Shm(),
      Decorated(Shm()),
      Sim(),
      Decorated(Sim()),
      LinuxPacket("linux_packet", 0),
      LinuxPacket("linux_packet_blocks", 1),
      Decorated(LinuxPacket("linux_packet", 0)),
      LinuxTap("linux_tap", true),
      LinuxTap("linux_tap_plain", false),
      Afxdp("afxdp_native", config::Afxdp::NATIVE),
      Afxdp("afxdp_generic", config::Afxdp::GENERIC),
      Decorated(Afxdp("afxdp", config::Afxdp::AUTO)),
      Dpdk(),
      rdma::DeviceAdapter(),
  };
}

std::vector<ConformanceAdapter> AdaptersOverFrames(bool Capabilities::*contract,
                                                   const std::function<void()>& work,
                                                   const OpenStacked& open) {
  std::vector<ConformanceAdapter> adapters;
  for (const ConformanceAdapter& frames : RepositoryAdapters()) {
    for (const auto offered : frames.contracts) {
      if (offered != &Capabilities::frames) continue;
      for (const bool v4 : {true, false}) {
        adapters.push_back(OverFrames(frames, v4, open));
        adapters.back().contracts = {contract};
        adapters.back().work = work;
      }
    }
  }
  return adapters;
}

}  // namespace weft
