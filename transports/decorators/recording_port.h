// SPDX-License-Identifier: Apache-2.0
//
// Ports that write down what passes them, in both directions: with a TraceWriter as lines of text
// (trace_writer.h), with a PcapWriter for Wireshark (pcap_writer.h). A packet is recorded when it
// is accepted for sending, or received.
//
// Records gather in memory. They are written when there are many, when a second has passed, before
// the port waits and when it is closed. Writing waits for the file, and nothing that goes wrong
// with it affects the traffic: the recording ends, the writer's status() and a line on standard
// error say why.
#ifndef WEFT_TRANSPORTS_DECORATORS_RECORDING_PORT_H_
#define WEFT_TRANSPORTS_DECORATORS_RECORDING_PORT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/decorators/packet_record.h"

namespace weft {
namespace internal {

inline constexpr size_t kRecordBurst = 64;
inline constexpr int64_t kRecordIdleNs = 1'000'000'000;

// Of a null buffer, which the port below refuses: none.
inline absl::Span<const uint8_t> BytesOf(const Buffer& buffer) {
  return buffer ? buffer.bytes() : absl::Span<const uint8_t>();
}

// Records and sends in turn, as what is sent is gone afterwards, and takes the records back of what
// was not accepted.
template <typename Writer, typename Message, typename Record, typename SendBurst>
size_t RecordAndSend(Writer& writer, absl::Span<Message> burst, Record record, SendBurst send) {
  size_t done = 0;
  while (done < burst.size()) {
    const absl::Span<Message> chunk = burst.subspan(done, kRecordBurst);
    std::array<typename Writer::Mark, kRecordBurst> marks;
    for (size_t i = 0; i < chunk.size(); ++i) {
      marks[i] = writer.mark();
      record(chunk[i]);
    }
    const size_t sent = send(chunk);
    done += sent;
    if (sent < chunk.size()) {
      writer.Rewind(marks[sent]);
      break;
    }
  }
  writer.file().FlushIfLarge();
  return done;
}

// Writes records that nothing has pushed out for a while.
class IdleFlush {
 public:
  template <typename Writer>
  void OnReceive(Writer& writer, size_t received, const RecordTime& time) {
    if (received > 0) writer.file().FlushIfLarge();
    if (received > 0 || writer.file().buffered() == 0) return;
    const int64_t now_ns = time.NowNs();
    if (now_ns - last_ns_ < kRecordIdleNs) return;
    writer.file().Flush();
    last_ns_ = now_ns;
  }

 private:
  int64_t last_ns_ = 0;
};

}  // namespace internal

template <typename Writer>
class RecordingDatagramPort final : public DatagramDecorator {
 public:
  RecordingDatagramPort(std::unique_ptr<DatagramPort> port, Writer writer, const RecordTime& time)
      : DatagramDecorator(std::move(port)),
        writer_(std::move(writer)),
        time_(time),
        local_(inner().local_address()) {}

  size_t Receive(absl::Span<Datagram> burst) override {
    AssertOwner();
    const size_t n = inner().Receive(burst);
    if (n > 0) {
      const int64_t now_ns = time_.NowNs();
      for (const Datagram& d : burst.first(n)) Record(now_ns, /*sent=*/false, d);
    }
    idle_flush_.OnReceive(writer_, n, time_);
    return n;
  }

  bool Arm() override {
    writer_.file().Flush();
    return inner().Arm();
  }

  Writer& writer() { return writer_; }

 private:
  static constexpr size_t kPeersKept = 4096;

  size_t SendWhole(absl::Span<Datagram> burst) override {
    const int64_t now_ns = time_.NowNs();
    return internal::RecordAndSend(
        writer_, burst, [&](const Datagram& d) { Record(now_ns, /*sent=*/true, d); },
        [&](absl::Span<Datagram> chunk) { return inner().Send(chunk); });
  }

  size_t ForwardWhole(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override {
    const int64_t now_ns = time_.NowNs();
    size_t at = 0;
    return internal::RecordAndSend(
        writer_, burst,
        [&](const Datagram& d) {
          const Address source = AddressFor(sources[static_cast<size_t>(&d - burst.data())]);
          writer_.WriteDatagram({now_ns, /*sent=*/true, internal::BytesOf(d.buffer)}, source,
                                AddressFor(d.peer));
        },
        [&](absl::Span<Datagram> chunk) {
          const size_t sent = inner().Forward(chunk, sources.subspan(at, chunk.size()));
          at += sent;
          return sent;
        });
  }

  void Record(int64_t now_ns, bool sent, const Datagram& datagram) {
    writer_.WriteDatagram({now_ns, sent, internal::BytesOf(datagram.buffer)}, local_,
                          AddressFor(datagram.peer));
  }

  // Of a peer that nobody knows: none.
  const Address& AddressFor(const Peer& peer) {
    if (auto it = addresses_.find(peer); it != addresses_.end()) return it->second;
    if (addresses_.size() == kPeersKept) addresses_.clear();
    return addresses_.emplace(peer, inner().AddressOf(peer).value_or(Address())).first->second;
  }

  Writer writer_;
  const RecordTime time_;
  const Address local_;
  absl::flat_hash_map<Peer, Address> addresses_;
  internal::IdleFlush idle_flush_;
};

template <typename Writer>
class RecordingFramePort final : public FrameDecorator {
 public:
  RecordingFramePort(std::unique_ptr<FramePort> port, Writer writer, const RecordTime& time)
      : FrameDecorator(std::move(port)), writer_(std::move(writer)), time_(time) {}

  size_t Send(absl::Span<Buffer> burst) override {
    AssertOwner();
    const int64_t now_ns = time_.NowNs();
    return internal::RecordAndSend(
        writer_, burst,
        [&](const Buffer& frame) {
          writer_.WriteFrame({now_ns, /*sent=*/true, internal::BytesOf(frame)});
        },
        [&](absl::Span<Buffer> chunk) { return inner().Send(chunk); });
  }

  size_t Receive(absl::Span<Buffer> burst) override {
    AssertOwner();
    const size_t n = inner().Receive(burst);
    if (n > 0) {
      const int64_t now_ns = time_.NowNs();
      for (const Buffer& frame : burst.first(n)) {
        writer_.WriteFrame({now_ns, /*sent=*/false, frame.bytes()});
      }
    }
    idle_flush_.OnReceive(writer_, n, time_);
    return n;
  }

  bool Arm() override {
    writer_.file().Flush();
    return inner().Arm();
  }

  Writer& writer() { return writer_; }

 private:
  Writer writer_;
  const RecordTime time_;
  internal::IdleFlush idle_flush_;
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_RECORDING_PORT_H_
