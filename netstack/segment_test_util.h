// SPDX-License-Identifier: Apache-2.0
//
// A TCP of the smallest kind for tests of the stack: it writes down what it is given, keeps the
// segments for ports of its own and answers those that are nobody's by resets.
#ifndef WEFT_NETSTACK_SEGMENT_TEST_UTIL_H_
#define WEFT_NETSTACK_SEGMENT_TEST_UTIL_H_

#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "weft/netstack/segment_handler.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/test_packets.h"
#include "weft/netstack/wire/tcp.h"

namespace weft::netstack {

// The reset that answers a segment that is nobody's (RFC 9293, 3.10.7.1), written to `buffer`,
// which is empty.
inline OutgoingSegment ResetFor(const ReceivedSegment& segment, Buffer buffer) {
  TcpView tcp;
  TcpView::Parse(segment.buffer.bytes(), &tcp);
  TcpFields reset = {.source_port = tcp.destination_port(),
                     .destination_port = tcp.source_port(),
                     .flags = kTcpReset};
  if ((tcp.flags() & kTcpAck) != 0) {
    reset.sequence = tcp.acknowledgment();
  } else {
    reset.acknowledgment = tcp.sequence() + tcp.sequence_bytes();
    reset.flags |= kTcpAck;
  }
  reset.Write(buffer.Append(kTcpHeaderBytes));
  return {
      .buffer = std::move(buffer), .source = segment.destination, .destination = segment.source};
}

class TestHandler final : public SegmentHandler {
 public:
  struct Heard {
    IpAddress source;
    IpAddress destination;
    uint8_t ecn;
    uint8_t ttl;
    Bytes bytes;

    int source_port() const { return bytes[0] << 8 | bytes[1]; }
    int destination_port() const { return bytes[2] << 8 | bytes[3]; }
    Bytes payload() const { return Slice(bytes, bytes[12] / 16 * 4); }
  };

  explicit TestHandler(Stack* stack) : stack_(stack) { stack_->SetSegmentHandler(this); }
  ~TestHandler() override { stack_->SetSegmentHandler(nullptr); }

  void OnSegments(absl::Span<ReceivedSegment> burst) override {
    bursts.push_back(burst.size());
    for (ReceivedSegment& segment : burst) {
      TcpView tcp;
      if (!TcpView::Parse(segment.buffer.bytes(), &tcp)) continue;
      if (ports.count(tcp.destination_port()) == 0) continue;
      const Buffer taken = std::move(segment.buffer);
      heard.push_back({segment.source, segment.destination, segment.ecn, segment.ttl,
                       Bytes(taken.bytes().begin(), taken.bytes().end())});
    }
  }
  void OnStraySegments(absl::Span<ReceivedSegment> burst) override {
    strays += burst.size();
    for (const ReceivedSegment& segment : burst) {
      TcpView tcp;
      if (!TcpView::Parse(segment.buffer.bytes(), &tcp) || (tcp.flags() & kTcpReset) != 0) continue;
      Buffer buffer = stack_->Allocate();
      if (!buffer) return;
      OutgoingSegment answer[] = {ResetFor(segment, std::move(buffer))};
      stack_->SendSegments(absl::MakeSpan(answer));
    }
  }
  bool OnIcmpError(const IcmpErrorReport& report) override {
    errors.push_back(report);
    return report.tcp_sequence == sequence_in_flight;
  }
  void OnPathMtu(const IpAddress& destination, size_t mtu) override {
    path_mtus.emplace_back(destination, mtu);
  }

  std::set<uint16_t> ports;         // of its own
  uint32_t sequence_in_flight = 0;  // that errors have to be about
  std::vector<Heard> heard;
  std::vector<size_t> bursts;  // lengths
  size_t strays = 0;
  std::vector<IcmpErrorReport> errors;
  std::vector<std::pair<IpAddress, size_t>> path_mtus;

 private:
  Stack* const stack_;
};

// A segment as it lies behind the IP header, with a good checksum that was computed without the
// code under test.
struct SegmentSpec {
  uint16_t source_port = 50000;
  uint16_t destination_port = 80;
  uint32_t sequence = 1000;
  uint32_t acknowledgment = 0;
  uint8_t flags = kTcpSyn;
  Bytes options = {};  // a multiple of 4
};
inline Bytes TcpMessage(const IpAddress& source, const IpAddress& destination,
                        const SegmentSpec& spec, const Bytes& payload = {}) {
  Bytes message(kTcpHeaderBytes);
  TcpFields{.source_port = spec.source_port,
            .destination_port = spec.destination_port,
            .sequence = spec.sequence,
            .acknowledgment = spec.acknowledgment,
            .header_bytes = kTcpHeaderBytes + spec.options.size(),
            .flags = spec.flags,
            .window = 1000}
      .Write(message.data());
  message.insert(message.end(), spec.options.begin(), spec.options.end());
  message.insert(message.end(), payload.begin(), payload.end());
  const uint16_t sum = NaiveL4Checksum(source, destination, 6, message);
  message[16] = static_cast<uint8_t>(sum >> 8);
  message[17] = static_cast<uint8_t>(sum);
  return message;
}

// The same without checksum in `buffer`, which is empty: what a handler sends.
inline Buffer FillSegment(Buffer buffer, const SegmentSpec& spec, const Bytes& payload = {}) {
  const Bytes message = TcpMessage(IpAddress::V4(0u), IpAddress::V4(0u), spec, payload);
  std::memcpy(buffer.Append(message.size()), message.data(), message.size());
  return buffer;
}

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_SEGMENT_TEST_UTIL_H_
