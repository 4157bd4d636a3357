// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/status/status.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/routed_traffic.h"
#include "weft/core/bytes.h"
#include "weft/core/clock.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/wire/arp.h"
#include "weft/netstack/wire/checksum.h"
#include "weft/netstack/wire/ethernet.h"
#include "weft/netstack/wire/ipv4.h"
#include "weft/netstack/wire/udp.h"
#include "weft/r2p2/wire.h"
#include "weft/transports/registry.h"

namespace weft::benchmarks {
namespace {

using netstack::EtherType;
using netstack::IpAddress;
using netstack::kEthernetHeaderBytes;
using netstack::kIpv4HeaderBytes;
using netstack::kUdpHeaderBytes;

constexpr MacAddress kMac = {0x02, 0, 0, 0, 0, 0x02};  // kTrafficMac
constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr size_t kUdpAt = kEthernetHeaderBytes + kIpv4HeaderBytes;
constexpr size_t kPayloadAt = kUdpAt + kUdpHeaderBytes;
constexpr size_t kRequestFrameBytes = kPayloadAt + floors::kRequestBytes;
constexpr size_t kDestinationAt = kEthernetHeaderBytes + 16;
constexpr size_t kRequestIdAt = kPayloadAt + 4;
constexpr int64_t kAskNs = 10'000'000;  // between questions where the router is

IpAddress IpOf(const Address& address) {
  const Address::Ipv4Bytes bytes = address.ipv4();
  return IpAddress::V4(bytes.data());
}

// Headers of a datagram whose payload, of so many bytes, stands behind them; without a UDP
// checksum.
void WriteHeaders(const MacAddress& to_mac, const Address& from, const Address& to, size_t payload,
                  uint8_t* frame) {
  netstack::WriteEthernet(frame, to_mac, kMac, /*vlan=*/0, EtherType::kIpv4);
  const auto udp_bytes = static_cast<uint16_t>(kUdpHeaderBytes + payload);
  const netstack::Ipv4Fields ip = {
      .total_bytes = static_cast<uint16_t>(kIpv4HeaderBytes + udp_bytes),
      .dont_fragment = true,
      .source = IpOf(from),
      .destination = IpOf(to)};
  ip.Write(frame + kEthernetHeaderBytes);
  netstack::WriteUdp(frame + kUdpAt, from.port(), to.port(), udp_bytes, 0);
}

class FrameTraffic final : public RoutedTraffic {
 public:
  FrameTraffic(const TrafficPlaces& places, size_t servers)
      : places_(places), client_id_(r2p2::ClientIdOf(places[kClient])) {
    for (size_t i = 0; i < servers; ++i) feedback_.emplace_back((i + 1) << 8);
  }

  absl::Status Open(const std::string& device) {
    config::Transport config;
    config.set_name("dpdk");
    config.mutable_buffers()->set_count(8192);
    config.mutable_dpdk()->add_virtual_devices(device);
    auto transport = OpenPlainTransport(config);
    if (!transport.ok()) return transport.status();
    transport_ = *std::move(transport);
    auto port = transport_->OpenFramePort({});
    if (!port.ok()) return port.status();
    port_ = *std::move(port);
    return absl::OkStatus();
  }

  size_t Send(size_t n) override {
    if (!router_mac_.has_value()) {
      AskForRouter();
      return 0;
    }
    size_t sent = 0;
    while (sent < n) {
      const size_t burst = std::min(n - sent, kTrafficBurst);
      size_t made = 0;
      for (; made < burst; ++made) {
        if (!out_[made] && !Make(&out_[made])) break;
      }
      const size_t gone = port_->Send(absl::MakeSpan(out_).first(made));
      // What the device did not take stays for the next time, in front.
      std::move(out_.begin() + static_cast<ptrdiff_t>(gone),
                out_.begin() + static_cast<ptrdiff_t>(made), out_.begin());
      sent += gone;
      if (gone < burst) break;
    }
    return sent;
  }

  size_t Receive() override {
    const size_t n = port_->Receive(absl::MakeSpan(in_));
    size_t requests = 0;
    for (size_t i = 0; i < n; ++i) {
      const absl::Span<const uint8_t> frame = in_[i].bytes();
      if (const size_t server = ServerOf(frame); server < feedback_.size()) [[likely]] {
        if (feedback_[server].full()) SendFeedbackOf(server);
        feedback_[server].Add(client_id_, LoadBig16(frame.data() + kRequestIdAt));
        ++requests;
      } else {
        LookForRouter(frame);
      }
      in_[i].Reset();
    }
    return requests;
  }

  void SendFeedback() override {
    for (size_t i = 0; i < feedback_.size(); ++i) {
      if (!feedback_[i].empty()) SendFeedbackOf(i);
    }
  }

 private:
  // The server to which a frame takes a request; SIZE_MAX: it is another frame.
  size_t ServerOf(absl::Span<const uint8_t> frame) const {
    if (frame.size() < kRequestFrameBytes) return SIZE_MAX;
    r2p2::Header header;
    if (LoadBig16(frame.data() + 12) != static_cast<uint16_t>(EtherType::kIpv4) ||
        !r2p2::ReadHeader(frame.subspan(kPayloadAt), &header) ||
        header.type != r2p2::MessageType::kRequest) {
      return SIZE_MAX;
    }
    for (size_t i = 0; i < feedback_.size(); ++i) {
      const Address::Ipv4Bytes ip = places_[kFirstServer + i].ipv4();
      if (std::memcmp(frame.data() + kDestinationAt, ip.data(), ip.size()) == 0) return i;
    }
    return SIZE_MAX;
  }

  bool Make(Buffer* frame) {
    *frame = port_->pool().Allocate();
    if (!*frame) return false;
    uint8_t* const bytes = frame->Append(kRequestFrameBytes);
    std::memcpy(bytes, request_.data(), kRequestFrameBytes);
    StoreBig16(bytes + kRequestIdAt, ++request_id_);
    const uint16_t checksum =
        netstack::FinishChecksum(netstack::AddBig16ToChecksum(request_sum_, request_id_));
    StoreBig16(bytes + kUdpAt + netstack::kUdpChecksumOffset, checksum == 0 ? 0xffff : checksum);
    return true;
  }

  void SendFeedbackOf(size_t server) {
    Buffer frame[1] = {port_->pool().Allocate()};
    if (!frame[0] || !router_mac_.has_value()) return;
    const size_t payload = feedback_[server].bytes();
    uint8_t* const bytes = frame[0].Append(kPayloadAt + payload);
    WriteHeaders(*router_mac_, places_[kFirstServer + server], places_[kControl], payload, bytes);
    feedback_[server].Write(bytes + kPayloadAt);
    port_->Send(absl::MakeSpan(frame));
  }

  void AskForRouter() {
    const int64_t now_ns = RealClock().NowNs();
    if (now_ns - asked_ns_ < kAskNs) return;
    asked_ns_ = now_ns;
    Buffer frame[1] = {port_->pool().Allocate()};
    if (!frame[0]) return;
    uint8_t* const bytes = frame[0].Append(kEthernetHeaderBytes + netstack::kArpBytes);
    netstack::WriteEthernet(bytes, kBroadcast, kMac, /*vlan=*/0, EtherType::kArp);
    const netstack::Arp arp = {.operation = netstack::Arp::Operation::kRequest,
                               .sender_mac = kMac,
                               .sender = IpOf(places_[kClient]),
                               .target = IpOf(places_[kListen])};
    arp.Write(bytes + kEthernetHeaderBytes);
    port_->Send(absl::MakeSpan(frame));
  }

  void LookForRouter(absl::Span<const uint8_t> frame) {
    netstack::EthernetView view;
    netstack::Arp arp;
    if (router_mac_.has_value() || !netstack::EthernetView::Parse(frame, &view) ||
        view.type() != EtherType::kArp ||
        !netstack::Arp::Parse(frame.subspan(view.header_bytes()), &arp) ||
        arp.operation != netstack::Arp::Operation::kReply) {
      return;
    }
    router_mac_ = arp.sender_mac;
    WriteHeaders(*router_mac_, places_[kClient], places_[kListen], floors::kRequestBytes,
                 request_.data());
    std::memset(request_.data() + kPayloadAt, 0xff, floors::kRequestBytes);
    r2p2::WriteHeader({.type = r2p2::MessageType::kRequest,
                       .policy = r2p2::Policy::kLbRoute,
                       .first = true,
                       .last = true,
                       .request_id = 0},
                      request_.data() + kPayloadAt);
    constexpr size_t kUdpBytes = kUdpHeaderBytes + floors::kRequestBytes;
    request_sum_ =
        netstack::PseudoHeaderSum(IpOf(places_[kClient]), IpOf(places_[kListen]),
                                  static_cast<uint8_t>(netstack::IpProtocol::kUdp), kUdpBytes);
    request_sum_ =
        netstack::AddToChecksum(request_sum_, absl::MakeSpan(request_).subspan(kUdpAt, kUdpBytes));
  }

  const TrafficPlaces places_;
  const uint64_t client_id_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<FramePort> port_;
  std::optional<MacAddress> router_mac_;
  int64_t asked_ns_ = 0;
  std::array<uint8_t, kRequestFrameBytes> request_ = {};  // with request id 0, without checksum
  uint64_t request_sum_ = 0;                              // of the checksum
  uint16_t request_id_ = 0;
  std::vector<TrafficFeedback> feedback_;  // of each server
  std::array<Buffer, kTrafficBurst> out_;
  std::array<Buffer, kTrafficBurst> in_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RoutedTraffic>> OpenFrameTraffic(const std::string& device,
                                                                const TrafficPlaces& places,
                                                                size_t servers) {
  auto traffic = std::make_unique<FrameTraffic>(places, servers);
  if (absl::Status status = traffic->Open(device); !status.ok()) return status;
  return traffic;
}

}  // namespace weft::benchmarks
