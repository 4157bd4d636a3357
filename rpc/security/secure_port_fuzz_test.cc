// SPDX-License-Identifier: Apache-2.0
//
// A client and a server that share a key, between which anybody may put in packets, change them and
// leave some out. The input is a program: bytes that choose what happens next. Nothing may arrive
// but what was sent, and what is not answered with a cookie is not answered by more than it had.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weft/core/clock.h"
#include "weft/core/loop.h"
#include "weft/rpc/fuzz_port.h"
#include "weft/rpc/security/secure_port.h"
#include "weft/rpc/security/security.h"

namespace weft::rpc {
namespace {

using Packet = std::vector<uint8_t>;

constexpr char kText[] = "what was sent";
constexpr size_t kStepsMax = 200;
constexpr size_t kPacketsMax = 64;  // on the way

class Wire final : public FuzzPort {
 public:
  explicit Wire(std::vector<Packet>* out) : out_(out) {}

 private:
  void OnSent(absl::Span<const uint8_t> bytes) override {
    if (out_->size() < kPacketsMax) out_->emplace_back(bytes.begin(), bytes.end());
  }
  std::vector<Packet>* const out_;
};

std::shared_ptr<const Security> OneKey() {
  static const std::shared_ptr<const Security> security = [] {
    char path[] = "/tmp/weft-secure-fuzz-XXXXXX";
    FILE* const file = fdopen(mkstemp(path), "w");
    std::fputs("000102030405060708090a0b0c0d0e0f", file);
    std::fclose(file);
    config::Security config;
    config.mutable_psk()->set_identity("fuzz");
    config.mutable_psk()->set_key_file(path);
    config.set_rotate_after_packets(16);
    config.set_reload_s(0);
    auto opened = Security::Open(config).value();
    std::remove(path);
    return opened;
  }();
  return security;
}

struct Side {
  Side(Role role, ManualClock& clock) : loop({.mode = LoopMode::kBusy}, clock) {
    auto plain = std::make_unique<Wire>(&out);
    wire = plain.get();
    port = OneKey()->Protect(loop, std::move(plain), role).value();
  }
  // Takes in what has come; returns the last peer that something came from.
  void Poll() {
    loop.RunOnce();
    Datagram burst[8];
    PortEvent events[8];
    port->TakeEvents(absl::MakeSpan(events));
    const size_t n = port->Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) {
      const auto bytes = burst[i].buffer.bytes();
      if (std::string(bytes.begin(), bytes.end()) != kText) std::abort();
      if (port->IdentityOf(burst[i].peer) != "fuzz") std::abort();
      heard_from = burst[i].peer;
    }
  }
  void Send(const Peer& to) {
    Datagram burst[] = {{to, port->pool().Allocate()}};
    if (!burst[0].buffer) return;
    std::copy_n(kText, sizeof(kText) - 1, burst[0].buffer.Append(sizeof(kText) - 1));
    port->Send(absl::MakeSpan(burst));
  }

  std::vector<Packet> out;
  Loop loop;
  Wire* wire = nullptr;
  std::unique_ptr<DatagramPort> port;
  Peer heard_from;
};

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  uint8_t Byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  Packet Bytes(size_t n) {
    Packet bytes;
    for (n = std::min(n, size_); n > 0; --n) bytes.push_back(Byte());
    return bytes;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

void Run(Input input) {
  ManualClock clock;
  clock.Advance(1'000'000'000);
  Side client(Role::kClient, clock);
  Side server(Role::kServer, clock);
  const Peer peer = *client.port->Resolve(Address::Sim("server"));
  for (size_t step = 0; step < kStepsMax && !input.empty(); ++step) {
    const uint8_t choice = input.Byte();
    const bool to_server = (choice & 0x80) != 0;
    Side& from = to_server ? client : server;
    Side& to = to_server ? server : client;
    switch (choice & 7) {
      case 0:  // deliver all that is on the way
      case 1:
        for (const Packet& packet : std::exchange(from.out, {})) to.wire->Deliver(1, packet);
        break;
      case 2:  // change the first one
        if (!from.out.empty()) {
          Packet& packet = from.out.front();
          packet[input.Byte() % packet.size()] ^= input.Byte();
        }
        break;
      case 3:  // double it, or lose it
        if (!from.out.empty()) {
          if ((choice & 8) != 0)
            to.wire->Deliver(1, from.out.front());
          else
            from.out.erase(from.out.begin());
        }
        break;
      case 4:  // something else, from there or elsewhere
        to.wire->Deliver((choice & 8) != 0 ? 1 : 2, input.Bytes(input.Byte()));
        break;
      case 5:
        if (to_server)
          client.Send(peer);
        else if (server.heard_from)
          server.Send(server.heard_from);
        break;
      case 6:  // cut it
        if (!from.out.empty()) from.out.front().resize(1 + input.Byte() % from.out.front().size());
        break;
      case 7:
        clock.Advance(int64_t{1'000'000} << (choice >> 3 & 7));
        break;
    }
    client.Poll();
    server.Poll();
  }
}

}  // namespace
}  // namespace weft::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::rpc::Run(weft::rpc::Input(data, size));
  return 0;
}
