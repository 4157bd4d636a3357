// SPDX-License-Identifier: Apache-2.0
//
// Protected ports are datagram ports like others: the conformance suite over kernel sockets, shared
// memory and the simulated network.
//
// The suite polls one port at a time, while a handshake takes both. So ports here shake hands when
// they resolve, and what arrives at the others of the thread meanwhile is kept for them.
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "weft/core/loop.h"
#include "weft/rpc/security/secure_port.h"
#include "weft/rpc/security/security.h"
#include "weft/transports/conformance/adapters.h"

namespace weft {
namespace {

using rpc::SecurePort;

constexpr auto kPatience = std::chrono::seconds(20);

class EagerPort;
std::vector<EagerPort*>& PortsOfThisThread() {
  static thread_local std::vector<EagerPort*> ports;
  return ports;
}

class EagerPort final : public DatagramPort {
 public:
  EagerPort(std::unique_ptr<Loop> loop, std::unique_ptr<DatagramPort> port, VirtualTime* time)
      : DatagramPort(port->capabilities(), *port),
        loop_(std::move(loop)),
        time_(time),
        port_(std::move(port)) {
    list_->push_back(this);
  }
  ~EagerPort() override { std::erase(*list_, this); }

  Address local_address() const override { return port_->local_address(); }
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return kept_.empty() && port_->Arm(); }
  void Disarm() override { port_->Disarm(); }
  void BindToThisThread() override {
    port_->BindToThisThread();
    DatagramPort::BindToThisThread();
    // The thread that had it waits for this one.
    std::erase(*list_, this);
    list_ = &PortsOfThisThread();
    list_->push_back(this);
  }
  absl::StatusOr<Peer> Resolve(const Address& address) override {
    absl::StatusOr<Peer> peer = port_->Resolve(address);
    if (!peer.ok() || !port_->IdentityOf(*peer).empty()) return peer;
    static_cast<SecurePort&>(*port_).Connect(*peer);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (port_->IdentityOf(*peer).empty() && std::chrono::steady_clock::now() < end) {
      for (EagerPort* port : PortsOfThisThread()) port->Keep();
      if (time_ == nullptr) {
        std::this_thread::yield();
      } else if (time_->NextEventNs() != INT64_MAX) {
        time_->AdvanceTo(time_->NextEventNs());
      }
    }
    return peer;
  }
  absl::StatusOr<Address> AddressOf(const Peer& peer) const override {
    return port_->AddressOf(peer);
  }
  size_t MaxPayloadTo(const Peer& peer) const override { return port_->MaxPayloadTo(peer); }
  size_t Send(absl::Span<Datagram> burst) override { return port_->Send(burst); }
  size_t Receive(absl::Span<Datagram> burst) override {
    size_t n = 0;
    for (; n < burst.size() && !kept_.empty(); ++n) {
      burst[n] = std::move(kept_.front());
      kept_.pop_front();
    }
    return n > 0 ? n : port_->Receive(burst);
  }

 private:
  void Keep() {
    Datagram burst[8];
    const size_t n = port_->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) kept_.push_back(std::move(burst[i]));
  }
  size_t DoTakeEvents(absl::Span<PortEvent> events) override { return port_->TakeEvents(events); }

  std::vector<EagerPort*>* list_ = &PortsOfThisThread();
  const std::unique_ptr<Loop> loop_;
  VirtualTime* const time_;
  const std::unique_ptr<DatagramPort> port_;
  std::deque<Datagram> kept_;
};

class SecureTransport final : public Transport {
 public:
  SecureTransport(std::unique_ptr<Transport> below, std::shared_ptr<const rpc::Security> security)
      : below_(std::move(below)), security_(std::move(security)) {
    const auto port = OpenDatagramPort({});
    if (port.ok()) capabilities_ = (*port)->capabilities();
  }
  absl::string_view name() const override { return below_->name(); }
  const Capabilities& capabilities() const override { return capabilities_; }
  VirtualTime* virtual_time() override { return below_->virtual_time(); }
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override {
    auto plain = below_->OpenDatagramPort(options);
    if (!plain.ok()) return plain.status();
    const Clock& clock = virtual_time() != nullptr ? *virtual_time() : RealClock();
    auto loop = std::make_unique<Loop>(LoopOptions{.mode = LoopMode::kBusy}, clock);
    auto port = security_->Protect(*loop, *std::move(plain), rpc::Role::kServer);
    if (!port.ok()) return port.status();
    return std::make_unique<EagerPort>(std::move(loop), *std::move(port), virtual_time());
  }

 private:
  const std::unique_ptr<Transport> below_;
  const std::shared_ptr<const rpc::Security> security_;
  Capabilities capabilities_;
};

std::shared_ptr<const rpc::Security> OneKeyForAll() {
  config::Security config;
  config.mutable_psk()->set_identity("all");
  config.mutable_psk()->set_key_file(TemporaryDirectory() + "/key");
  FILE* const file = std::fopen(config.psk().key_file().c_str(), "w");
  std::fputs("000102030405060708090a0b0c0d0e0f", file);
  std::fclose(file);
  return rpc::Security::Open(config).value();
}

ConformanceAdapter Protected(const char* transport, std::vector<Address> local) {
  ConformanceAdapter adapter = AdapterFor(transport, {&Capabilities::datagrams});
  config::Transport config;
  config.set_name(transport);
  if (adapter.name == "shm") config.mutable_shm()->set_directory(TemporaryDirectory());
  if (adapter.name == "sim") config.mutable_sim()->set_network("protected");
  ConformanceEnd end = EndOf(config, std::move(local));
  end.open = [open = std::move(end.open)](
                 const config::Buffers& buffers) -> absl::StatusOr<std::unique_ptr<Transport>> {
    auto plain = open(buffers);
    if (!plain.ok()) return plain.status();
    return std::make_unique<SecureTransport>(*std::move(plain), OneKeyForAll());
  };
  adapter.ends = {std::move(end)};
  adapter.name += "_protected";
  adapter.transport = "";
  return adapter;
}

}  // namespace

std::vector<ConformanceAdapter> AllAdapters() {
  return {Protected("linux", {*Address::Parse("127.0.0.1:0")}),
          Protected("shm", Numbered(&Address::Shm)), Protected("sim", Numbered(&Address::Sim))};
}

}  // namespace weft
