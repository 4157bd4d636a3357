// SPDX-License-Identifier: Apache-2.0
//
// One end of a reliable byte stream over a simulated network: a small relative of TCP (RFC 9293),
// with its windows, retransmission timer (RFC 6298), fast retransmit and congestion window (RFC
// 5681, 6582).
#ifndef WEFT_TRANSPORTS_SIM_STREAM_H_
#define WEFT_TRANSPORTS_SIM_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/types/span.h"
#include "weft/transports/sim/byte_ring.h"
#include "weft/transports/sim/network.h"
#include "weft/transports/sim/segment.h"
#include "weft/transports/stream_port.h"

namespace weft::sim {

class Stream;

// The port that a stream belongs to.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  // `stream` has events to take or has become `gone`. Must not destroy it.
  virtual void OnStreamReady(const Stream& stream) = 0;
};

class Stream {
 public:
  // What nobody acknowledges for so long has failed: longer than the longest round trip.
  static constexpr int64_t kGiveUpNs = 180'000'000'000;
  // For so long a closed stream answers what the other side may still send.
  static constexpr int64_t kLingerNs = 60'000'000'000;

  // The lowest byte of `id` is the owner's queue.
  Stream(Network* network, StreamOwner* owner, uint64_t id, NodeId local, NodeId peer)
      : network_(network), owner_(owner), id_(id), local_(local), peer_(peer) {}
  ~Stream() { StopTimer(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Begins the life of a stream, on one side or the other. AcceptAgain answers a repeated `syn`.
  void Connect();
  void Accept(const Segment& syn);
  void AcceptAgain() { SendControl(Segment::kSyn | Segment::kAck); }

  void OnSegment(const Segment& segment);
  // Nobody is attached to the peer's node.
  void OnUnreachable() { OnReset(); }

  // The calls of StreamPort.
  absl::Span<const uint8_t> ReadView() const { return received_bytes_.ReadablePiece(); }
  void Consume(size_t n);
  absl::Span<uint8_t> Reserve(size_t wanted);
  void Commit(size_t n);
  void CloseWrite();
  void Close();
  void Abort();

  NodeId local() const { return local_; }
  NodeId peer() const { return peer_; }
  uint64_t id() const { return id_; }
  uint64_t peer_id() const { return peer_id_; }
  // The application may still use it.
  bool usable() const { return state_ == State::kConnecting || state_ == State::kOpen; }
  // It has nothing more to say or to do.
  bool gone() const { return state_ == State::kGone && pending_ == 0; }
  bool has_events() const { return pending_ != 0; }
  // The next event in its order; has_events() must hold.
  StreamEvent TakeEvent();

 private:
  enum class State : uint8_t {
    kConnecting,
    kOpen,
    kLingering,  // closed for the application, but the other side may have missed it
    kGone,
  };
  using Kind = StreamEvent::Kind;

  static constexpr uint64_t kSegmentBytes = Segment::kMaxPayloadBytes;
  static constexpr int64_t kFirstRtoNs = 1'000'000'000;
  static constexpr int64_t kMinRtoNs = 1'000'000;
  static constexpr int64_t kMaxBackoffNs = 4'000'000'000;
  static constexpr size_t kMaxEarly = 256;

  static constexpr uint32_t Bit(Kind kind) { return 1u << static_cast<uint32_t>(kind); }
  void Raise(Kind kind);
  void End(int error);
  void Discard();
  void OnReset();
  void MaybeFinish();
  void StopTimer();
  void StartTimer(int64_t delay_ns);
  void OnTimer();
  void OnRetransmissionTimer();

  // Sending.
  void Transmit(uint32_t flags, uint64_t seq, size_t n);
  void SendControl(uint32_t flags) { Transmit(flags, next_, 0); }
  void SendFrom(uint64_t seq, size_t n, bool fin);
  void Pump();
  void UpdateTimer();
  void RetransmitOldest();
  void OnAck(const Segment& segment);
  void OnProgress(uint64_t ack);
  void SampleRtt();

  // Receiving.
  void OnData(const Segment& segment);
  void Take(uint64_t seq, absl::Span<const uint8_t> bytes, bool fin);
  uint32_t Window() const;

  Network* const network_;
  StreamOwner* const owner_;
  const uint64_t id_;
  const NodeId local_;
  const NodeId peer_;
  uint64_t peer_id_ = 0;
  State state_ = State::kConnecting;
  uint32_t pending_ = 0;  // events, by Bit(); their order is that of the enumeration
  int error_ = 0;         // of kClosed
  bool want_writable_ = false;
  bool discard_ = false;  // nobody reads any more

  // Bytes are numbered from 0. una_ <= next_ <= highest_ <= end_ + 1.
  ByteRing unacked_bytes_;   // from una_ to end_
  uint64_t una_ = 0;         // the oldest that is not acknowledged
  uint64_t next_ = 0;        // the next to be sent, or to be sent again
  uint64_t highest_ = 0;     // behind everything ever sent
  uint64_t end_ = 0;         // behind everything committed
  uint64_t limit_ = 0;       // behind everything that the other side has room for
  bool fin_wanted_ = false;  // the end, number end_, is to be sent
  uint64_t congestion_window_ = 10 * kSegmentBytes;
  uint64_t slow_start_limit_ = ByteRing::kCapacity;
  uint64_t recover_ = 0;  // fast retransmission goes on until this is acknowledged
  int duplicate_acks_ = 0;

  ByteRing received_bytes_;  // not consumed yet
  uint64_t received_ = 0;    // behind everything received in order
  uint64_t advertised_ = 0;  // behind everything the other side knows it may send
  bool remote_fin_ = false;
  struct Early {
    std::vector<uint8_t> bytes;
    bool fin;
  };
  absl::btree_map<uint64_t, Early> early_;  // arrived before what precedes it

  EventQueue::Id timer_;
  bool timer_running_ = false;
  bool waiting_ = false;               // for the other side to do something, since:
  int64_t progress_ns_ = 0;            // when it last did
  int64_t rto_ns_ = kFirstRtoNs;       // with backoff
  int64_t base_rto_ns_ = kFirstRtoNs;  // without
  int64_t smoothed_rtt_ns_ = 0;        // 0: not measured yet
  int64_t rtt_variation_ns_ = 0;
  uint64_t timed_ = 0;  // its acknowledgement gives a round trip; 0: none
  int64_t timed_since_ns_ = 0;
};

}  // namespace weft::sim

#endif  // WEFT_TRANSPORTS_SIM_STREAM_H_
