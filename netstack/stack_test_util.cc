// SPDX-License-Identifier: Apache-2.0
#include "weft/netstack/stack_test_util.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/core/json_writer.h"

namespace weft::netstack {
namespace {

uint16_t Get16(const Bytes& bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
uint32_t Get32(const Bytes& bytes, size_t at) {
  return static_cast<uint32_t>(Get16(bytes, at)) << 16 | Get16(bytes, at + 2);
}
void Put16(Bytes& to, size_t value) {
  to.push_back(static_cast<uint8_t>(value >> 8));
  to.push_back(static_cast<uint8_t>(value));
}
void Put(Bytes& to, const Bytes& bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }
void Set16(Bytes& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}

Bytes IcmpMessage(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body) {
  Bytes message = {type, code, 0, 0};
  Put16(message, rest >> 16);
  Put16(message, rest);
  Put(message, body);
  return message;
}

void ReadIpv6(Packet* packet) {
  const Bytes& p = packet->whole;
  packet->ttl = p[7];
  packet->traffic_class = Get16(p, 0) >> 4 & 0xff;
  packet->source = IpAddress::V6(&p[8]);
  packet->destination = IpAddress::V6(&p[24]);
  packet->protocol = p[6];
  size_t at = 40;
  if (packet->protocol == 0) {
    packet->router_alert = p[42] == 5;
    packet->protocol = p[40];
    at = 48;
  }
  if (packet->protocol == 44) {
    packet->protocol = p[at];
    packet->offset = Get16(p, at + 2) & 0xfff8u;
    packet->more = (p[at + 3] & 1) != 0;
    packet->id = Get32(p, at + 4);
    at += 8;
  }
  packet->upper = Slice(p, at);
}

void ReadIpv4(Packet* packet) {
  const Bytes& p = packet->whole;
  const size_t header = size_t{p[0] & 0xfu} * 4;
  EXPECT_EQ(NaiveChecksum(Slice(p, 0, header)), 0) << "IPv4 header checksum";
  packet->ttl = p[8];
  packet->traffic_class = p[1];
  packet->protocol = p[9];
  packet->source = IpAddress::V4(&p[12]);
  packet->destination = IpAddress::V4(&p[16]);
  packet->router_alert = header > 20 && p[20] == 0x94;
  packet->offset = size_t{Get16(p, 6) & 0x1fffu} * 8;
  packet->more = (p[6] & 0x20) != 0;
  packet->dont_fragment = (p[6] & 0x40) != 0;
  packet->id = Get16(p, 4);
  packet->upper = Slice(p, header);
}

void CheckUpper(const Packet& packet) {
  if (packet.offset != 0 || packet.more) return;
  switch (packet.protocol) {
    case 1:
    case 2:
      EXPECT_EQ(NaiveChecksum(packet.upper), 0);
      break;
    case 17:
      if (packet.v4 && Get16(packet.upper, 6) == 0) break;
      [[fallthrough]];
    case 6:
    case 58:
      EXPECT_EQ(NaiveL4Checksum(packet.source, packet.destination,
                                static_cast<uint8_t>(packet.protocol), packet.upper),
                0);
      break;
  }
}

}  // namespace

IpAddress Ip(absl::string_view text) { return IpAddress::Parse(text).value(); }

Bytes MacBytes(const MacAddress& mac) { return {mac.begin(), mac.end()}; }

Frame ReadFrame(const Bytes& bytes) {
  Frame frame;
  std::copy_n(bytes.begin(), 6, frame.to.begin());
  std::copy_n(bytes.begin() + 6, 6, frame.from.begin());
  frame.type = Get16(bytes, 12);
  size_t at = 14;
  if (frame.type == 0x8100) {
    frame.vlan = Get16(bytes, 14) & 0xfff;
    frame.type = Get16(bytes, 16);
    at = 18;
  }
  frame.payload = Slice(bytes, at);
  return frame;
}

Packet ReadPacket(const Frame& frame) {
  Packet packet;
  packet.mac_to = frame.to;
  packet.v4 = frame.type == kTypeIpv4;
  packet.whole = frame.payload;
  EXPECT_EQ(frame.payload[0] >> 4, packet.v4 ? 4 : 6);
  EXPECT_EQ(packet.v4 ? Get16(packet.whole, 2) : 40u + Get16(packet.whole, 4), packet.whole.size());
  packet.v4 ? ReadIpv4(&packet) : ReadIpv6(&packet);
  CheckUpper(packet);
  return packet;
}

std::vector<Packet> Packets(const std::vector<Frame>& frames, int protocol) {
  std::vector<Packet> packets;
  for (const Frame& frame : frames) {
    if (frame.type != kTypeIpv4 && frame.type != kTypeIpv6) continue;
    Packet packet = ReadPacket(frame);
    if (protocol < 0 || packet.protocol == protocol) packets.push_back(std::move(packet));
  }
  return packets;
}

std::vector<Frame> OfType(const std::vector<Frame>& frames, uint16_t type) {
  std::vector<Frame> chosen;
  for (const Frame& frame : frames) {
    if (frame.type == type) chosen.push_back(frame);
  }
  return chosen;
}

Bytes UdpMessage(const IpAddress& source, const IpAddress& destination, uint16_t source_port,
                 uint16_t destination_port, const Bytes& payload) {
  Bytes message;
  Put16(message, source_port);
  Put16(message, destination_port);
  Put16(message, 8 + payload.size());
  Put16(message, 0);
  Put(message, payload);
  const uint16_t sum = NaiveL4Checksum(source, destination, 17, message);
  Set16(message, 6, sum == 0 ? 0xffff : sum);
  return message;
}

Bytes Icmp4Message(uint8_t type, uint8_t code, uint32_t rest, const Bytes& body) {
  Bytes message = IcmpMessage(type, code, rest, body);
  Set16(message, 2, NaiveChecksum(message));
  return message;
}

Bytes Icmp6Message(const IpAddress& source, const IpAddress& destination, uint8_t type,
                   uint8_t code, uint32_t rest, const Bytes& body) {
  Bytes message = IcmpMessage(type, code, rest, body);
  Set16(message, 2, NaiveL4Checksum(source, destination, 58, message));
  return message;
}

Bytes ArpMessage(uint16_t operation, const MacAddress& sender_mac, const char* sender,
                 const MacAddress& target_mac, const char* target) {
  Bytes message = {0, 1, 8, 0, 6, 4};
  Put16(message, operation);
  Put(message, MacBytes(sender_mac));
  Put(message, Slice({Ip(sender).bytes(), 16}, 12));
  Put(message, MacBytes(target_mac));
  Put(message, Slice({Ip(target).bytes(), 16}, 12));
  return message;
}

Bytes WithHopLimit(Bytes ipv6, uint8_t hop_limit) {
  ipv6[7] = hop_limit;
  return ipv6;
}

StackTest::StackTest() : frames_(sim::OpenTransport(&network_, {.count = kBuffers})) {
  peer_ = frames_->OpenFramePort({.local = Address::Sim("peer")}).value();
}

config::Netstack StackTest::ConfigWithoutNeighbors() const {
  config::Netstack config;
  config.add_addresses(std::string(kOurs4) + "/24");
  config.add_addresses(std::string(kOurs6) + "/64");
  config.set_link_local(false);
  return config;
}

config::Netstack StackTest::Config() const {
  config::Netstack config = ConfigWithoutNeighbors();
  for (const char* ip : {kPeer4, kPeer6}) {
    config::Neighbor* const neighbor = config.add_neighbors();
    neighbor->set_address(ip);
    neighbor->set_mac(MacToString(peer_mac()));
  }
  return config;
}

absl::Status StackTest::TryOpen(const config::Netstack& config) {
  stack_.reset();
  auto options = StackOptions::From(config);
  if (!options.ok()) return options.status();
  auto port = frames_->OpenFramePort({.local = Address::Sim("stack")});
  if (!port.ok()) return port.status();
  auto device = std::make_unique<ScriptedFramePort>(*std::move(port), checksum_offload_,
                                                    segmentation_offload_);
  device_ = device.get();
  our_mac_ = device->mac();
  const auto owner = std::make_shared<std::atomic<const void*>>(internal::ThreadToken());
  auto stack = Stack::Open(*options,
                           {.clock = &network_,
                            .timers = &network_.timers(),
                            .siblings = std::make_shared<Siblings>(1),
                            .owner = owner},
                           std::move(device), std::move(exception_));
  if (!stack.ok()) return stack.status();
  stack_ = *std::move(stack);
  return absl::OkStatus();
}

void StackTest::OpenStack(const config::Netstack& config) {
  ASSERT_EQ(TryOpen(config), absl::OkStatus());
  Run(5 * kSNs);
}

absl::StatusOr<std::unique_ptr<UdpPort>> StackTest::TryOpenPort(const std::string& local) {
  Capabilities capabilities;
  capabilities.datagrams = true;
  capabilities.max_payload_bytes = std::max<size_t>(datagram_bytes_max_, 1472);
  const Address address = local.empty() ? Address() : *Address::Parse(local);
  return UdpPort::Open(stack_, address, /*shared=*/false, capabilities);
}

std::unique_ptr<UdpPort> StackTest::OpenPort(const std::string& local) {
  auto port = TryOpenPort(local);
  EXPECT_TRUE(port.ok()) << port.status();
  return port.ok() ? *std::move(port) : nullptr;
}

void StackTest::Drain(std::vector<Frame>* heard) {
  for (bool busy = true; busy;) {
    busy = false;
    Buffer frames[32];
    const size_t n = peer_->Receive(absl::MakeSpan(frames));
    for (size_t i = 0; i < n; ++i) {
      heard->push_back(ReadFrame({frames[i].data(), frames[i].data() + frames[i].size()}));
    }
    if (stack_ != nullptr) {
      const uint64_t before = device_->stats().received.value();
      stack_->Poll(nullptr, {});
      busy = device_->stats().received.value() != before;
    }
    busy = busy || n > 0;
  }
}

std::vector<Frame> StackTest::Run(int64_t duration_ns) {
  std::vector<Frame> heard;
  const int64_t end_ns = network_.NowNs() + duration_ns;
  // What goes through the stack alone takes polls, but no time.
  for (int i = 0; i < 64; ++i) Drain(&heard);
  while (network_.NowNs() < end_ns) {
    const int64_t next_ns =
        std::min({end_ns, network_.NextEventNs(), network_.timers().NextDeadlineNs()});
    network_.AdvanceTo(std::max(next_ns, network_.NowNs()));
    network_.timers().Advance(network_.NowNs());
    Drain(&heard);
  }
  Drain(&heard);
  return heard;
}

void StackTest::SendOn(FramePort& port, const Bytes& frame) {
  Buffer burst[] = {port.pool().Allocate()};
  ASSERT_TRUE(burst[0]);
  std::memcpy(burst[0].Append(frame.size()), frame.data(), frame.size());
  ASSERT_EQ(port.Send(absl::MakeSpan(burst)), 1u);
}

Bytes StackTest::FrameOf(const MacAddress& to, uint16_t type, const Bytes& payload,
                         uint16_t vlan) const {
  Bytes frame = MacBytes(to);
  Put(frame, MacBytes(peer_mac()));
  if (vlan != 0) {
    Put16(frame, 0x8100);
    Put16(frame, vlan);
  }
  Put16(frame, type);
  Put(frame, payload);
  return frame;
}

void StackTest::SendTo(const MacAddress& to, uint16_t type, const Bytes& payload, uint16_t vlan) {
  SendFrame(FrameOf(to, type, payload, vlan));
}

void StackTest::Send(uint16_t type, const Bytes& payload) { SendTo(our_mac(), type, payload); }

void StackTest::SendIp(const Bytes& packet) {
  Send(packet[0] >> 4 == 4 ? kTypeIpv4 : kTypeIpv6, packet);
}

Bytes StackTest::UdpPacket(bool v4, uint16_t source_port, uint16_t destination_port,
                           const Bytes& payload) const {
  const char* const from = v4 ? kPeer4 : kPeer6;
  const char* const to = v4 ? kOurs4 : kOurs6;
  const Bytes udp = UdpMessage(Ip(from), Ip(to), source_port, destination_port, payload);
  return v4 ? Ipv4Packet({.source = from, .destination = to}, udp)
            : Ipv6Packet({.source = from, .destination = to}, udp);
}

std::vector<Bytes> StackTest::Receive(UdpPort& port) {
  std::vector<Bytes> payloads;
  Datagram burst[32];
  for (int idle = 0; idle < 4;) {
    const size_t n = port.Receive(absl::MakeSpan(burst));
    for (size_t i = 0; i < n; ++i) {
      const Buffer& b = burst[i].buffer;
      payloads.emplace_back(b.data(), b.data() + b.size());
      burst[i].buffer.Reset();
    }
    idle = n == 0 ? idle + 1 : 0;
  }
  return payloads;
}

bool StackTest::SendFrom(UdpPort& port, const std::string& to, const Bytes& payload) {
  const auto peer = port.Resolve(*Address::Parse(to));
  EXPECT_TRUE(peer.ok()) << peer.status();
  if (!peer.ok()) return false;
  Datagram burst[] = {{*peer, large_.Allocate()}};
  if (!payload.empty()) {
    std::memcpy(burst[0].buffer.Append(payload.size()), payload.data(), payload.size());
  }
  return port.Send(absl::MakeSpan(burst)) == 1;
}

std::vector<PortEvent> StackTest::Events(UdpPort& port) {
  std::vector<PortEvent> events;
  for (PortEvent event; port.TakeEvents({&event, 1}) > 0;) events.push_back(event);
  return events;
}

std::string StackTest::Described() const {
  JsonWriter json;
  json.BeginObject();
  stack_->Describe(json);
  json.EndObject();
  return json.text();
}

uint64_t StackTest::Neighbors(const char* counter) const {
  const std::string text = Described();
  const size_t section = text.rfind("\"neighbors\"");
  const size_t at = text.find(std::string("\"") + counter + "\"", section);
  EXPECT_NE(at, std::string::npos) << counter;
  return std::strtoull(text.c_str() + text.find(':', at) + 1, nullptr, 10);
}

}  // namespace weft::netstack
