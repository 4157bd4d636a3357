// SPDX-License-Identifier: Apache-2.0
//
// SenderModel: for tests, a sender of bytes over SendQueue and LossDetection, a network that loses,
// repeats and delays, and a receiver with SACK, in virtual time. What must hold is checked as it
// goes (violations()), the bytes that arrive included.
#ifndef WEFT_TCP_SENDER_MODEL_H_
#define WEFT_TCP_SENDER_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weft/core/buffer.h"
#include "weft/core/prng.h"
#include "weft/core/rtt_estimator.h"
#include "weft/tcp/block_pool.h"
#include "weft/tcp/congestion/congestion_control.h"
#include "weft/tcp/loss_detection.h"
#include "weft/tcp/send_queue.h"

namespace weft::tcp {

struct SenderModelOptions {
  uint64_t seed = 1;
  std::string congestion_control = "cubic";
  uint32_t total_bytes = 200'000;
  uint32_t write_bytes_max = 8'000;  // an application's write
  bool whole_segments = false;       // all writes are of mss bytes
  uint32_t send_buffer_bytes = 1 << 20;
  uint32_t mss = 1000;
  uint32_t window_bytes = 1 << 30;  // the receiver's
  uint32_t piece_segments = 1;      // segments that leave as one chunk (segmentation by the device)
  bool sack = true;
  bool rack = true;
  bool timestamps = true;
  int64_t delay_ns = 5'000'000;        // one way
  int64_t bottleneck_ns_per_byte = 0;  // with a queue of bottleneck_bytes; 0: none
  uint32_t bottleneck_bytes = 100'000;
  uint32_t mark_bytes = 0;  // the queue from which on packets are marked (ECN); 0: never
  double loss = 0;
  double ack_loss = 0;
  double duplication = 0;
  double reordering = 0;  // part of the packets that is late by up to reordering_ns
  int64_t reordering_ns = 3'000'000;
  double spike = 0;  // of each packet: the path stops for spike_ns
  int64_t spike_ns = 400'000'000;
  double reneging = 0;   // of each acknowledgement: what lies beyond gaps is dropped
  double lies = 0;       // of each acknowledgement: a SACK block is nonsense
  double shrinking = 0;  // of each acknowledgement: the path's MTU shrinks
  bool delayed_acks = true;
  int64_t limit_ns = 3'600'000'000'000;
};

class SenderModel {
 public:
  explicit SenderModel(const SenderModelOptions& options);
  ~SenderModel();

  // Until all is acknowledged and forgotten, or the limit. Whether it is.
  bool Run();
  // For so long; more may be written than total_bytes says by raising it.
  void RunUntil(int64_t until_ns);

  const std::vector<std::string>& violations() const { return violations_; }
  int64_t now_ns() const { return now_ns_; }
  uint64_t received_bytes() const { return received_bytes_; }
  uint64_t resent_pieces() const { return resent_pieces_; }
  uint64_t needless_pieces() const { return needless_pieces_; }  // resent, and not lost
  uint64_t timeouts() const { return timeouts_; }
  uint64_t probes() const { return probes_; }
  uint64_t recoveries() const { return recoveries_; }
  uint64_t undone() const { return undone_; }
  uint64_t ecn_reductions() const { return ecn_reductions_; }
  uint64_t bad_sacks() const { return bad_sacks_; }
  uint64_t renegings() const { return renegings_; }
  const CongestionState& congestion() const { return congestion_; }
  const LossDetection& loss() const { return loss_; }
  SendQueue& queue() { return queue_; }
  // What the sender has taken and not given back.
  size_t memory_bytes() const { return memory_.taken_bytes(); }
  bool all_buffers_are_back() const { return buffers_.available() == buffers_.count(); }

 private:
  struct Packet {
    Buffer buffer;  // the device holds it until it arrives
    uint64_t at;    // offset in the stream
    uint32_t bytes;
    int64_t sent_ns;
    bool marked;
  };
  struct AckPacket {
    uint64_t ack;
    std::vector<SeqRange> sacks;
    int64_t echoed_ns;
    bool ece;
  };
  struct Event {
    enum Kind { kPacket, kAck, kDelayedAck } kind;
    Packet packet = {};
    AckPacket ack = {};
  };

  Sender sender() { return {queue_, rtt_, congestion_, loss_options_, mss_}; }
  Seq SeqAt(uint64_t offset) const { return first_ + static_cast<uint32_t>(offset); }
  uint64_t OffsetOf(Seq seq) const { return una_ + static_cast<int64_t>(seq - SeqAt(una_)); }

  bool Step(int64_t until_ns);
  void Write();
  void Output();
  void SendOne(SendQueue::Piece piece);
  void Transmit(SendQueue::Piece piece);
  void OnPacket(Packet packet);
  void SendAck(bool duplicate, uint64_t begin, uint64_t end);
  void OnAck(const AckPacket& ack);
  void OnTimer();
  void Check();
  void Violation(const std::string& what);

  const SenderModelOptions options_;
  Prng prng_;
  LossOptions loss_options_;
  BufferPool buffers_;
  BlockPool memory_;
  Seq first_;
  uint32_t mss_;

  SendQueue queue_;
  RttEstimator rtt_;
  CongestionState congestion_;
  LossDetection loss_;
  uint64_t written_ = 0;
  uint64_t una_ = 0;
  std::map<uint64_t, uint64_t> told_;  // ranges that the sender was told of by SACK

  std::multimap<int64_t, Event> events_;
  int64_t now_ns_ = 1'000'000;
  int64_t link_free_ns_ = 0;
  int64_t stopped_until_ns_ = 0;

  uint64_t received_ = 0;                // in order
  std::map<uint64_t, uint64_t> beyond_;  // ranges beyond gaps
  std::vector<uint64_t> recent_;         // beginnings, the most recent first
  bool ack_pending_ = false;
  uint64_t ack_sent_ = 0;
  int64_t echo_ns_ = 0;
  bool ece_ = false;

  int timers_at_once_ = 0;
  uint64_t received_bytes_ = 0;
  uint64_t resent_pieces_ = 0;
  uint64_t needless_pieces_ = 0;
  uint64_t timeouts_ = 0;
  uint64_t probes_ = 0;
  uint64_t recoveries_ = 0;
  uint64_t undone_ = 0;
  uint64_t ecn_reductions_ = 0;
  uint64_t bad_sacks_ = 0;
  uint64_t renegings_ = 0;
  std::vector<std::string> violations_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_SENDER_MODEL_H_
