// SPDX-License-Identifier: Apache-2.0
//
// What tests of datagrams over simulated devices share: a port on a device of its own, and time
// that passes.
#ifndef WEFT_TRANSPORTS_RDMA_DATAGRAM_FIXTURE_H_
#define WEFT_TRANSPORTS_RDMA_DATAGRAM_FIXTURE_H_

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/config/config.h"
#include "weft/transports/rdma/rdma_transport.h"
#include "weft/transports/rdma/sim_nic.h"
#include "weft/transports/rdma/sim_world.h"
#include "weft/transports/sim/network.h"

namespace weft::rdma {

inline constexpr int64_t kMs = 1'000'000;

inline config::Transport ConfigOf(uint32_t receive_slots, uint32_t max_peers, uint32_t buffers) {
  config::Transport config;
  config.set_name("rdma");
  config.mutable_buffers()->set_count(buffers);
  config.mutable_buffers()->set_bytes(448);
  config.mutable_rdma()->set_receive_slots(receive_slots);
  config.mutable_rdma()->set_max_peers(max_peers);
  config.mutable_rdma()->set_connect_timeout_ms(200);
  config.mutable_rdma()->set_bulk_count(0);
  return config;
}

// One port on a device of its own.
class End {
 public:
  End(sim::Network* network, const std::string& name,
      const config::Transport& config = ConfigOf(64, 16, 256), int queue = 0, int queues = 1,
      SimNic* shared = nullptr)
      : network_(network), name_(name) {
    SimNicOptions options;
    options.limits.path_mtu_bytes = 256;
    if (shared == nullptr) own_ = *SimNic::Open(network, Address::Sim(name), options);
    nic_ = shared != nullptr ? shared : own_.get();
    transport_ = RdmaTransport::Over(SimWorld(network, nic_), config);
    auto port = transport_->OpenDatagramPort(
        {.local = Address::Sim(name), .queue = queue, .queues = queues});
    EXPECT_TRUE(port.ok()) << port.status();
    port_.reset(static_cast<RdmaDatagramPort*>(port->release()));
  }

  RdmaDatagramPort& port() { return *port_; }
  SimNic& nic() { return *nic_; }
  Address address() const { return Address::Sim(name_); }
  Peer PeerOf(const std::string& name) { return *port_->Resolve(Address::Sim(name)); }

  bool Send(const Peer& to, const std::string& text) {
    Datagram out[] = {{to, port_->pool().Allocate()}};
    if (!out[0].buffer) return false;
    std::memcpy(out[0].buffer.Append(text.size()), text.data(), text.size());
    return port_->Send(absl::MakeSpan(out)) == 1;
  }
  bool Send(const std::string& to, const std::string& text) { return Send(PeerOf(to), text); }

  // Returns how many came. Those of `echo` go back.
  size_t Poll() {
    if (stalled) return 0;
    Datagram in[32];
    size_t all = 0;
    for (size_t n; (n = port_->Receive(absl::MakeSpan(in))) > 0; all += n) {
      for (Datagram& datagram : absl::MakeSpan(in, n)) {
        const Buffer& buffer = datagram.buffer;
        texts.emplace_back(reinterpret_cast<const char*>(buffer.data()), buffer.size());
        last = datagram.peer;
        if (!echo) datagram.buffer.Reset();
      }
      if (echo) port_->Send(absl::MakeSpan(in, n));
    }
    PortEvent events[16];
    for (size_t n; (n = port_->TakeEvents(absl::MakeSpan(events))) > 0;) {
      seen.insert(seen.end(), events, events + n);
    }
    return all;
  }
  size_t Count(PortEvent::Kind kind) const {
    return static_cast<size_t>(std::count_if(
        seen.begin(), seen.end(), [&](const PortEvent& event) { return event.kind == kind; }));
  }
  // Without a word to anybody.
  void Die() {
    ASSERT_TRUE(network_->Partition({{*network_->AddNode(name_)}}).ok());
    port_.reset();
    network_->Heal();
  }
  void ExpectNothingIsLost() {
    const SimNic::Stats& stats = nic_->stats();
    EXPECT_EQ(stats.ud_overruns, 0u) << name_;
    EXPECT_EQ(stats.ud_too_long, 0u);
    EXPECT_TRUE(port_->status().ok()) << port_->status();
  }

  bool stalled = false;
  bool echo = false;
  std::vector<std::string> texts;
  std::vector<PortEvent> seen;
  Peer last;

 private:
  sim::Network* const network_;
  const std::string name_;
  std::unique_ptr<SimNic> own_;
  SimNic* nic_ = nullptr;
  std::unique_ptr<RdmaTransport> transport_;
  std::unique_ptr<RdmaDatagramPort> port_;
};

// Lets time pass, and all ends do what there is to do, until `done` or for so long.
inline bool Pass(
    sim::Network& network, const std::vector<End*>& ends, int64_t for_ns,
    absl::FunctionRef<bool()> done = [] { return false; }) {
  const int64_t end_ns = network.NowNs() + for_ns;
  for (;;) {
    for (size_t work = 1; work > 0;) {
      work = 0;
      for (End* end : ends) work += end->Poll();
    }
    if (done()) return true;
    const int64_t next_ns = std::min(network.NextEventNs(), network.timers().NextDeadlineNs());
    if (next_ns > end_ns) break;
    network.AdvanceTo(std::max(next_ns, network.NowNs()));
    network.timers().Advance(network.NowNs());
  }
  network.AdvanceTo(end_ns);
  network.timers().Advance(end_ns);
  return done();
}

inline std::string Numbered(const char* what, size_t n) { return absl::StrCat(what, n); }

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_DATAGRAM_FIXTURE_H_
