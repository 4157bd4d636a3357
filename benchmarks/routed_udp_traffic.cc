// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cstring>

#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/routed_traffic.h"
#include "weft/r2p2/wire.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {
namespace {

class UdpTraffic final : public RoutedTraffic {
 public:
  absl::Status Open(const TrafficPlaces& places, size_t servers) {
    config::Transport config;
    config.set_name("linux");
    config.mutable_buffers()->set_count(8192);
    config.mutable_linux()->set_receive_buffer_bytes(4 << 20);
    auto network = OpenPlainTransport(config);
    if (!network.ok()) return network.status();
    network_ = *std::move(network);
    auto client = network_->OpenDatagramPort({.local = places[kClient]});
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    const auto router = client_->Resolve(places[kListen]);
    if (!router.ok()) return router.status();
    router_ = *router;
    client_id_ = r2p2::ClientIdOf(places[kClient]);
    for (size_t i = 0; i < servers; ++i) {
      auto port = network_->OpenDatagramPort({.local = places[kFirstServer + i]});
      if (!port.ok()) return port.status();
      const auto control = (*port)->Resolve(places[kControl]);
      if (!control.ok()) return control.status();
      servers_.push_back({*std::move(port), *control, TrafficFeedback((i + 1) << 8)});
    }
    return absl::OkStatus();
  }

  size_t Send(size_t n) override {
    size_t sent = 0;
    while (sent < n) {
      const size_t burst = std::min(n - sent, kTrafficBurst);
      size_t made = 0;
      for (; made < burst; ++made) {
        if (!out_[made].buffer && !Make(&out_[made])) break;
      }
      const size_t gone = client_->Send(absl::MakeSpan(out_).first(made));
      // What the port did not take stays for the next time, in front.
      std::move(out_.begin() + static_cast<ptrdiff_t>(gone),
                out_.begin() + static_cast<ptrdiff_t>(made), out_.begin());
      sent += gone;
      if (gone < burst) break;
    }
    return sent;
  }

  size_t Receive() override {
    size_t requests = 0;
    for (Server& server : servers_) {
      const size_t n = server.port->Receive(absl::MakeSpan(in_));
      for (size_t i = 0; i < n; ++i) {
        absl::Span<const uint8_t> bytes = in_[i].buffer.bytes();
        Address client;
        bytes.remove_prefix(r2p2::ReadRoute(bytes, &client));
        r2p2::Header header;
        // Anything else is a probe.
        if (r2p2::ReadHeader(bytes, &header) && header.type == r2p2::MessageType::kRequest) {
          if (server.feedback.full()) Send(server);
          server.feedback.Add(client_id_, header.request_id);
          ++requests;
        }
        in_[i].buffer.Reset();
      }
    }
    return requests;
  }

  void SendFeedback() override {
    for (Server& server : servers_) {
      if (!server.feedback.empty()) Send(server);
    }
  }

  void Discard() override {
    const size_t n = client_->Receive(absl::MakeSpan(in_));
    for (size_t i = 0; i < n; ++i) in_[i].buffer.Reset();
  }

 private:
  struct Server {
    std::unique_ptr<DatagramPort> port;
    ::weft::Peer control;
    TrafficFeedback feedback;
  };

  bool Make(Datagram* datagram) {
    datagram->peer = router_;
    datagram->buffer = client_->pool().Allocate();
    if (!datagram->buffer) return false;
    uint8_t* const bytes = datagram->buffer.Append(floors::kRequestBytes);
    std::memset(bytes, 0xff, floors::kRequestBytes);
    r2p2::WriteHeader({.type = r2p2::MessageType::kRequest,
                       .policy = r2p2::Policy::kLbRoute,
                       .first = true,
                       .last = true,
                       .request_id = ++request_id_},
                      bytes);
    return true;
  }

  static void Send(Server& server) {
    Datagram out[1] = {{server.control, server.port->pool().Allocate(), {}}};
    if (!out[0].buffer) return;
    server.feedback.Write(out[0].buffer.Append(server.feedback.bytes()));
    server.port->Send(absl::MakeSpan(out));
  }

  std::unique_ptr<Transport> network_;
  std::unique_ptr<DatagramPort> client_;
  ::weft::Peer router_;
  uint64_t client_id_ = 0;
  uint16_t request_id_ = 0;
  std::vector<Server> servers_;
  std::array<Datagram, kTrafficBurst> out_;
  std::array<Datagram, kTrafficBurst> in_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RoutedTraffic>> OpenUdpTraffic(const TrafficPlaces& places,
                                                              size_t servers) {
  auto traffic = std::make_unique<UdpTraffic>();
  if (absl::Status status = traffic->Open(places, servers); !status.ok()) return status;
  return traffic;
}

}  // namespace weft::benchmarks
