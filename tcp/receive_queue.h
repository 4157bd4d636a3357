// SPDX-License-Identifier: Apache-2.0
//
// ReceiveQueue: what has arrived of a connection and has not been read, in the buffers in which it
// arrived: bytes in order, ranges beyond gaps, and how much more the peer may send.
//
//   const ReceiveQueue::Added added = queue.Add(seq, std::move(payload), fin, room);
//   if (added.out_of_order || added.filled) acknowledge at once (RFC 5681, 4.2)
//   header.window = queue.Advertise(mss, scale);
//   n = queue.ReportSack(blocks);
//   view = queue.View();  queue.Consume(view.size());
//
// Bounds. Bytes: what was advertised. Buffers: short pieces are copied together, and beyond gaps
// there are no more buffers than kBuffersFree and one for each kBytesPerBuffer bytes.
#ifndef WEFT_TCP_RECEIVE_QUEUE_H_
#define WEFT_TCP_RECEIVE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/tcp/out_of_order.h"
#include "weft/tcp/seq.h"
#include "weft/tcp/tick.h"

namespace weft::tcp {

// One thread. 64 bytes; more only while there are gaps.
class ReceiveQueue {
 public:
  // What the queue may take of its engine's memory, now.
  struct Room {
    uint32_t ranges_max = 128;
    bool in_order = true;      // data in order, beyond the first buffer
    bool out_of_order = true;  // data beyond a gap
    OutOfOrderPool* pool = nullptr;
  };

  struct Added {
    uint32_t bytes = 0;         // that can be read now and could not before
    int32_t buffers = 0;        // by how many more are held
    bool out_of_order = false;  // kept beyond a gap
    bool filled = false;        // a gap became smaller or went away
    bool duplicate = false;     // nothing of it was new
    bool dropped = false;       // new data that there was no room for
    bool coalesced = false;     // copied behind what was there
    bool fin = false;           // everything is here: the peer's FIN was next
  };

  ReceiveQueue() = default;
  ReceiveQueue(const ReceiveQueue&) = delete;
  ReceiveQueue& operator=(const ReceiveQueue&) = delete;
  ~ReceiveQueue() { Clear(nullptr); }

  // Bytes from `next` on are expected, and up to `limit_bytes` of them at once. Nothing is
  // advertised yet.
  void Start(Seq next, uint32_t limit_bytes);

  // Takes in `data`, null or empty for a bare FIN, whose first byte is `begin`; what lies before
  // next() or behind edge() is cut off. `fin`: the peer's FIN stands behind it.
  Added Add(Seq begin, Buffer data, bool fin, const Room& room);

  // RCV.NXT: behind all that is in order, the FIN included.
  Seq next() const { return next_; }
  // RCV.NXT + RCV.WND, as far as was ever advertised.
  Seq edge() const { return edge_; }
  // Of what can be read.
  uint32_t bytes() const { return bytes_; }
  uint32_t buffers() const { return buffers_ + (beyond_ ? beyond_->buffers() : 0); }
  bool has_gaps() const { return beyond_ != nullptr && !beyond_->empty(); }

  // The first bytes, as far as they lie in one piece.
  absl::Span<const uint8_t> View() const;
  // Drops the first `n` bytes, at most bytes(). Returns how many buffers were given back.
  uint32_t Consume(size_t n);

  // The window to announce in a segment that is sent now, shifted by `scale`; `mss`: of the peer's
  // segments. The edge never moves back, and forward in no small steps: by a segment or half of the
  // limit (RFC 9293, 3.8.6.2.2).
  uint16_t Advertise(uint32_t mss, uint8_t scale);
  // Whether enough has been read since for an acknowledgement that only says so.
  bool WindowUpdateDue(uint32_t mss, uint8_t scale) const;
  // How much the peer may send now.
  uint32_t window() const { return edge_ > next_ ? static_cast<uint32_t>(edge_ - next_) : 0; }

  // The limit of what waits to be read. A lower one takes effect as the peer uses up its window.
  uint32_t limit_bytes() const { return limit_bytes_; }
  void set_limit_bytes(uint32_t limit) { limit_bytes_ = limit; }
  // Raises the limit, up to `limit_max`, to twice what the reader takes in a round trip, so that
  // the window is not what holds the peer back (Fisk and Feng, "Dynamic Right-Sizing in TCP",
  // 2001). Call it after Consume(). `round_trip_ticks` at least 1.
  void Tune(Tick now, uint32_t round_trip_ticks, uint32_t mss, uint32_t limit_max);

  // The blocks for a SACK option (RFC 2018, 4): the data that came twice, once (RFC 2883, 4), then
  // the range that changed last, and so on. Returns how many.
  size_t ReportSack(absl::Span<SeqRange> blocks);
  bool has_sack() const { return has_gaps() || duplicate_begin_ != duplicate_end_; }
  // Notes data that came and was not needed.
  void NoteDuplicate(Seq begin, Seq end) {
    duplicate_begin_ = begin;
    duplicate_end_ = end;
  }

  // Drops what lies beyond gaps; it has not been acknowledged (RFC 2018, 8). Returns how many
  // buffers were given back.
  uint32_t Prune(OutOfOrderPool* pool);
  // Drops everything. Returns how many buffers were given back. `pool` may be null.
  uint32_t Clear(OutOfOrderPool* pool);

 private:
  void Trim(Seq* begin, Buffer* data, bool* fin, Added* added);
  void AddInOrder(Buffer data, const Room& room, Added* added);
  void AddBeyond(Seq begin, Buffer data, bool fin, const Room& room, Added* added);
  void ReleaseBeyond(OutOfOrderPool* pool);

  BufferList in_order_;
  std::unique_ptr<OutOfOrder> beyond_;  // while there are gaps
  Seq next_;
  Seq edge_;
  uint32_t bytes_ = 0;
  uint32_t buffers_ = 0;  // of in_order_
  uint32_t limit_bytes_ = 0;
  Seq duplicate_begin_;  // to be reported; equal: none
  Seq duplicate_end_;
  Tick tuned_;             // when the current round trip began
  uint32_t consumed_ = 0;  // in it
};
static_assert(sizeof(ReceiveQueue) <= 64, "there may be millions of them");

}  // namespace weft::tcp

#endif  // WEFT_TCP_RECEIVE_QUEUE_H_
