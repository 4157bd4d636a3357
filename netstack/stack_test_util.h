// SPDX-License-Identifier: Apache-2.0
//
// A stack on one end of a simulated wire and the test on the other, which sends frames made by hand
// and looks at what comes back. Time is virtual.
//
//   class StackEchoTest : public StackTest {};
//   TEST_F(StackEchoTest, Answers) {
//     OpenStack();
//     Send(Echo4(...));
//     const std::vector<Packet> heard = Packets(Run());
//   }
#ifndef WEFT_NETSTACK_STACK_TEST_UTIL_H_
#define WEFT_NETSTACK_STACK_TEST_UTIL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "weft/netstack/segmenter.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/test_packets.h"
#include "weft/netstack/udp_port.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/sim_transport.h"

namespace weft::netstack {

inline constexpr int64_t kMsNs = 1'000'000;
inline constexpr int64_t kSNs = 1'000'000'000;

inline constexpr uint16_t kTypeIpv4 = 0x0800;
inline constexpr uint16_t kTypeArp = 0x0806;
inline constexpr uint16_t kTypeIpv6 = 0x86dd;

// The stack's addresses, and the test's.
inline constexpr const char* kOurs4 = "10.0.0.1";
inline constexpr const char* kOurs6 = "fd00::1";
inline constexpr const char* kPeer4 = "10.0.0.2";
inline constexpr const char* kPeer6 = "fd00::2";

IpAddress Ip(absl::string_view text);
Bytes MacBytes(const MacAddress& mac);

// A frame that was heard, read without the code under test.
struct Frame {
  MacAddress to = {};
  MacAddress from = {};
  uint16_t vlan = 0;
  uint16_t type = 0;
  Bytes payload;
};
Frame ReadFrame(const Bytes& bytes);

// An IP packet that was heard. Header checksum, lengths and (of whole packets) the checksums of
// ICMP, IGMP, UDP and TCP are checked by ReadPacket().
struct Packet {
  MacAddress mac_to = {};
  bool v4 = true;
  IpAddress source;
  IpAddress destination;
  int ttl = 0;
  int traffic_class = 0;
  int protocol = 0;
  bool router_alert = false;
  size_t offset = 0;  // of a fragment
  bool more = false;
  bool dont_fragment = false;
  uint32_t id = 0;
  Bytes upper;  // from UDP's or ICMP's header on; of a fragment, its payload
  Bytes whole;

  int type() const { return upper[0]; }
  int code() const { return upper[1]; }
  int source_port() const { return upper[0] << 8 | upper[1]; }
  int destination_port() const { return upper[2] << 8 | upper[3]; }
  Bytes udp_payload() const { return Slice(upper, 8); }
};
Packet ReadPacket(const Frame& frame);
// Those of `frames` that are IP packets, or those of a protocol.
std::vector<Packet> Packets(const std::vector<Frame>& frames, int protocol = -1);
std::vector<Frame> OfType(const std::vector<Frame>& frames, uint16_t type);

// Messages with good checksums.
Bytes UdpMessage(const IpAddress& source, const IpAddress& destination, uint16_t source_port,
                 uint16_t destination_port, const Bytes& payload);
Bytes Icmp4Message(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body);
Bytes Icmp6Message(const IpAddress& source, const IpAddress& destination, uint8_t type,
                   uint8_t code, uint32_t rest, const Bytes& body);
Bytes ArpMessage(uint16_t operation, const MacAddress& sender_mac, const char* sender,
                 const MacAddress& target_mac, const char* target);
// Of an IPv6 packet, replaces the hop limit.
Bytes WithHopLimit(Bytes ipv6, uint8_t hop_limit);

// A frame port that lets the test say what the link does.
class ScriptedFramePort final : public FramePort {
 public:
  // `offload`: it completes checksums, as a device does; `segmentation`: it cuts segments.
  ScriptedFramePort(std::unique_ptr<FramePort> inner, bool offload, bool segmentation)
      : FramePort(inner->capabilities(), *inner), inner_(std::move(inner)) {
    capabilities_.checksum_offload = offload;
    capabilities_.segmentation_offload = segmentation;
  }
  Address local_address() const override { return inner_->local_address(); }
  std::string device_name() const override { return "sim0"; }
  MacAddress mac() const override { return inner_->mac(); }
  bool link_up() const override { return up_; }
  size_t Send(absl::Span<Buffer> burst) override {
    burst = burst.first(std::min(burst.size(), send_max));
    if (std::any_of(burst.begin(), burst.end(), &AsksToBeCut)) return SendInPieces(burst);
    for (Buffer& frame : burst) {
      const bool requested = (frame.offload().flags & FrameOffload::kSendL4Checksum) != 0;
      if (requested) ++checksum_requests;
      EXPECT_TRUE(!requested || (capabilities_.checksum_offload && FinishChecksums(frame)));
    }
    return inner_->Send(burst);
  }
  size_t Receive(absl::Span<Buffer> burst) override {
    const size_t n = inner_->Receive(burst);
    for (Buffer& frame : burst.first(n)) frame.offload().flags = received_flags;
    return n;
  }
  absl::Status SetFilter(absl::Span<const Address> addresses,
                         absl::Span<const MacAddress> groups) override {
    filter_addresses.assign(addresses.begin(), addresses.end());
    filter_groups.assign(groups.begin(), groups.end());
    return absl::OkStatus();
  }
  void SetLink(bool up) {
    up_ = up;
    AddLinkEvent(up);
  }
  void Break(const absl::Status& status) { status_ = status; }

  size_t send_max = SIZE_MAX;  // frames a Send() takes
  size_t checksum_requests = 0;
  size_t segment_requests = 0;
  uint16_t received_flags = 0;  // FrameOffload::flags of what is received
  std::vector<Address> filter_addresses;
  std::vector<MacAddress> filter_groups;

 private:
  static bool AsksToBeCut(const Buffer& frame) {
    return (frame.offload().flags & FrameOffload::kSegment) != 0;
  }
  size_t SendInPieces(absl::Span<Buffer> burst) {
    for (Buffer& frame : burst) {
      const auto send = [this](Buffer piece) {
        Buffer one[] = {std::move(piece)};
        EXPECT_TRUE(FinishChecksums(one[0]));
        EXPECT_EQ(inner_->Send(absl::MakeSpan(one)), 1u);
      };
      if (!AsksToBeCut(frame)) {
        send(std::move(frame));
        continue;
      }
      ++segment_requests;
      EXPECT_TRUE(capabilities_.segmentation_offload);
      EXPECT_TRUE(Segment(std::move(frame), pool(), send));
    }
    return burst.size();
  }

  const std::unique_ptr<FramePort> inner_;
  bool up_ = true;
};

class StackTest : public testing::Test {
 protected:
  static constexpr size_t kBuffers = 256;  // of the stack's device

  StackTest();

  // Addresses kOurs4/24 and kOurs6/64, no link-local one, and the peer as a static neighbour.
  config::Netstack Config() const;
  config::Netstack ConfigWithoutNeighbors() const;
  absl::Status TryOpen(const config::Netstack& config);
  // Opens it, and forgets what it says when it is opened.
  void OpenStack(const config::Netstack& config);
  void OpenStack() { OpenStack(Config()); }
  // "10.0.0.1:7000", "[::]:7000".
  absl::StatusOr<std::unique_ptr<UdpPort>> TryOpenPort(const std::string& local);
  std::unique_ptr<UdpPort> OpenPort(const std::string& local);

  // Lets everything happen for so long; gives what the peer has heard meanwhile.
  std::vector<Frame> Run(int64_t duration_ns = kMsNs);

  // The peer sends.
  void SendFrame(const Bytes& frame) { SendOn(*peer_, frame); }
  void SendOn(FramePort& port, const Bytes& frame);
  void Send(uint16_t type, const Bytes& payload);
  void SendTo(const MacAddress& to, uint16_t type, const Bytes& payload, uint16_t vlan = 0);
  void SendIp(const Bytes& packet);  // to the stack's MAC address, whose family it says
  Bytes FrameOf(const MacAddress& to, uint16_t type, const Bytes& payload, uint16_t vlan = 0) const;

  // UDP from the peer in a whole packet.
  Bytes UdpPacket(bool v4, uint16_t source_port, uint16_t destination_port,
                  const Bytes& payload) const;
  void SendUdp(bool v4, uint16_t source_port, uint16_t destination_port, const Bytes& payload) {
    SendIp(UdpPacket(v4, source_port, destination_port, payload));
  }

  // A port's side.
  std::vector<Bytes> Receive(UdpPort& port);
  // False if it was not taken. The buffer is of a pool of its own that is large enough.
  bool SendFrom(UdpPort& port, const std::string& to, const Bytes& payload);
  std::vector<PortEvent> Events(UdpPort& port);

  const StackStats& stats() const { return stack_->stats(); }
  uint64_t Neighbors(const char* counter) const;  // by its name in the description
  std::string Described() const;
  // All buffers of the device are back.
  bool NothingHeld() { return device_->pool().available() == device_->pool().count(); }

  MacAddress our_mac() const { return our_mac_; }
  MacAddress peer_mac() const { return peer_->mac(); }

  sim::Network network_{/*seed=*/1, {.latency_ns = 1000, .queue_packets = 65536}};
  std::unique_ptr<Transport> frames_;
  std::unique_ptr<FramePort> peer_;
  std::unique_ptr<FramePort> kernel_;     // the far end of the exception path
  std::unique_ptr<FramePort> exception_;  // its near end, for the next OpenStack()
  std::shared_ptr<Stack> stack_;
  ScriptedFramePort* device_ = nullptr;
  size_t datagram_bytes_max_ = 0;
  bool checksum_offload_ = false;  // of the device that is opened next
  bool segmentation_offload_ = false;

 private:
  void Drain(std::vector<Frame>* heard);

  MacAddress our_mac_ = {};
  BufferPool large_{{.count = 64, .bytes = 66'000, .headroom = 128}};
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_STACK_TEST_UTIL_H_
