// SPDX-License-Identifier: Apache-2.0
//
// SendQueue: what the application has written and the peer has not acknowledged. It is the queue of
// what is to be sent, of what may have to be sent again, and the scoreboard of selective
// acknowledgements (RFC 6675) in one ring of chunks, each a buffer with bytes that go together.
//
//     una            next           end
//      v              v              v
//      | sent: sacked, lost, on the way | unsent |   -> sequence numbers
//
//   absl::Span<uint8_t> room = queue.Reserve(bytes, mss, buffers, memory);  // or Append(buffer)
//   queue.Commit(n);
//   SendQueue::Piece piece = queue.SendNext(mss, now_ns, buffers);  // piece.buffer: put headers in
//   ...                                                             // front of it and send it
//   SendQueue::Piece again = queue.ResendLost(mss, now_ns, buffers);
//
// What acknowledgements do to it is LossDetection's to say (tcp/loss_detection.h). SYN and FIN are
// not in it: the sequence numbers of a FIN lie behind end().
//
// No copies: a buffer that was written is sent as it is; the queue keeps a second handle
// (Buffer::Share()) and gives the same buffer out again when the device has let go of it. What is
// copied: bytes sent again that the device still holds, and pieces cut from a larger buffer.
//
// Memory: 24 bytes; the first byte written takes 512 bytes from a BlockPool, with room for four
// chunks and the RecoveryState, and more as the ring grows; all of it goes back with the last byte.
#ifndef WEFT_TCP_SEND_QUEUE_H_
#define WEFT_TCP_SEND_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/tcp/block_pool.h"
#include "weft/tcp/recovery_state.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

// One thread. Buffers and blocks are given back by Clear(), which is called before the end.
class SendQueue {
 public:
  static constexpr size_t kChunksMax = 32768;      // 47 MB in full segments; then writes wait
  static constexpr size_t kChunkBytesMax = 65535;  // larger buffers become several chunks
  static constexpr size_t kBytesMax = 1 << 30;     // held; half of what sequence numbers can order
  static constexpr size_t kSackBlocksMax = 4;

  enum ChunkFlag : uint8_t {
    kSacked = 1 << 0,
    kLost = 1 << 1,         // on the way no more, as far as we know
    kResent = 1 << 2,       // sent again, and that on the way
    kEverResent = 1 << 3,   // an acknowledgement does not tell for which sending it is
    kInSentOrder = 1 << 4,  // in the list of those on the way
  };

  // Bytes that are sent together, as one segment, or cut by the device.
  struct Chunk {
    Buffer buffer;
    int64_t sent_ns = 0;  // the last time; that of others only if they were one, see Split()
    Seq seq;
    uint32_t offset = 0;  // of the payload from the beginning of the buffer's memory
    uint16_t bytes = 0;
    uint8_t flags = 0;
    uint16_t earlier = 0;  // neighbours in order of sending; low bits of their index
    uint16_t later = 0;

    Seq end() const { return seq + bytes; }
    bool sacked() const { return flags & kSacked; }
    bool lost() const { return flags & kLost; }
    // Of two that are on the way (RFC 8985, 6.2: RACK_sent_after()).
    bool SentBefore(int64_t other_sent_ns, Seq other_end) const {
      return sent_ns < other_sent_ns || (sent_ns == other_sent_ns && end() < other_end);
    }
    bool on_the_way() const {
      return (flags & kSacked) == 0 && (flags & (kLost | kResent)) != kLost;
    }
  };

  // What to send: payload only, with room in front of it. `buffer` is null if there was nothing, or
  // no buffer for a copy (then `starved`).
  struct Piece {
    Buffer buffer = {};
    Seq seq = {};
    uint32_t bytes = 0;
    bool resent = false;
    bool copied = false;
    bool starved = false;
  };

  SendQueue() = default;
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  // Begins with the sequence number of the first byte; nothing is held.
  void Start(Seq first) { una_ = next_ = end_ = first; }

  // Gives all back: what was held is gone, una() and next() are end().
  void Clear();

  Seq una() const { return una_; }    // SND.UNA
  Seq next() const { return next_; }  // SND.NXT
  Seq end() const { return end_; }    // behind the last byte written
  bool empty() const { return una_ == end_; }
  uint32_t bytes() const { return static_cast<uint32_t>(end_ - una_); }             // held
  uint32_t in_flight_bytes() const { return static_cast<uint32_t>(next_ - una_); }  // FlightSize
  uint32_t unsent_bytes() const { return static_cast<uint32_t>(end_ - next_); }
  uint32_t chunks() const { return ring_ == nullptr ? 0 : ring_->end - ring_->head; }
  bool full() const { return chunks() >= kChunksMax; }

  // Bytes that are on the way as far as we know ("pipe" of RFC 6675): O(1).
  uint32_t pipe_bytes() const {
    return ring_ == nullptr
               ? 0
               : in_flight_bytes() - ring_->sacked_bytes - ring_->lost_bytes + ring_->resent_bytes;
  }
  uint32_t sacked_bytes() const { return ring_ == nullptr ? 0 : ring_->sacked_bytes; }
  uint32_t sacked_chunks() const { return ring_ == nullptr ? 0 : ring_->sacked_chunks; }
  uint32_t lost_bytes() const { return ring_ == nullptr ? 0 : ring_->lost_bytes; }
  uint32_t resent_bytes() const { return ring_ == nullptr ? 0 : ring_->resent_bytes; }

  // What is known of the data in flight; null while the queue has no memory.
  RecoveryState* recovery() { return ring_ == nullptr ? nullptr : &ring_->recovery; }
  const RecoveryState* recovery() const { return ring_ == nullptr ? nullptr : &ring_->recovery; }

  // ---- Writing.

  // Room for up to `wanted` bytes behind what is written: in the last buffer, as long as it is
  // unsent and its chunk has less than `chunk_bytes_max` (the MSS), else in a fresh one. Empty if
  // there is no buffer, no memory or no chunk left. To be committed before anything else is written
  // or sent; or reserved anew. The last `spare` buffers are left to queues that hold nothing.
  absl::Span<uint8_t> Reserve(size_t wanted, size_t chunk_bytes_max, BufferPool& buffers,
                              BlockPool& memory, size_t spare = 0);
  // The first `n` bytes of it have been written; 0 gives a fresh buffer back.
  void Commit(size_t n);

  // Takes a buffer with data, of any pool. False: no memory or no chunk left; the caller keeps it.
  bool Append(Buffer&& buffer, BlockPool& memory);

  // ---- Sending.

  // The next bytes that were never sent, at most `bytes_max`, which is at least 1: of one chunk.
  // They count as sent from here on; tell LossDetection::OnSent(). `headroom` is what a buffer must
  // have in front of the payload to be sent as it is; the rest is copied to one of `buffers`.
  Piece SendNext(size_t bytes_max, int64_t now_ns, BufferPool& buffers, size_t headroom);

  // The first bytes that are lost and were not sent again since.
  Piece ResendLost(size_t bytes_max, int64_t now_ns, BufferPool& buffers, size_t headroom);

  // The last bytes that were sent, as a probe (RFC 8985, 7.3); those of `seq`.
  Piece ResendLast(size_t bytes_max, int64_t now_ns, BufferPool& buffers, size_t headroom);

  // The first bytes, whatever is known of them: a probe of a window that was shrunk onto them.
  Piece ResendFirst(size_t bytes_max, int64_t now_ns, BufferPool& buffers, size_t headroom);

  // Bytes of the chunk that SendNext() would take from; 0: none.
  uint32_t next_chunk_bytes() const;
  // The chunk that ResendLost() would take from; null: none.
  const Chunk* FirstLost() const;

  // ---- What acknowledgements say; for LossDetection.

  // What was delivered by one acknowledgement. `earliest` and `latest` are of chunks sent once.
  struct Delivery {
    // Given.
    int64_t ambiguous_after_ns =
        0;  // a delivery of what was sent again after it is of the original
    Seq recovery_point;
    Seq forward;  // highest sequence number delivered before
    // Found.
    uint32_t acked_bytes = 0;       // by the cumulative acknowledgement
    uint32_t delivered_bytes = 0;   // for the first time, by either
    uint32_t delivered_chunks = 0;  // of these, the chunks whose last byte it was
    uint32_t sacked_bytes = 0;      // of these, by SACK blocks
    uint32_t duplicate_bytes = 0;   // the peer had them already (DSACK, RFC 2883)
    SeqRange duplicate;             // the block that says so
    uint32_t bad_blocks = 0;        // that cannot be; ignored
    uint32_t old_blocks = 0;        // below the acknowledgement and no DSACK; ignored
    int64_t earliest_sent_ns = 0;   // 0: none
    int64_t latest_sent_ns = 0;
    int64_t rack_sent_ns = 0;  // of all, the one sent last (RACK); 0: none
    Seq rack_end;              // its end
    Seq highest;               // of all, the highest end; valid if delivered_bytes > 0
    bool original = false;     // one sent once, before recovery_point (RFC 5682)
    bool reordered = false;    // one sent once, below `forward` (RFC 8985, 6.2, step 3)
    bool resent = false;       // one that was sent again
  };

  // Everything before `ack`, una() <= ack, has arrived, up to next(). Chunks are given back.
  void Acknowledge(Seq ack, Delivery& delivery);

  // SACK blocks as they stand in a segment that acknowledges `ack`, which may be older than una()
  // (RFC 2018, RFC 2883). Blocks are checked; what they say of bytes that are not in flight is
  // counted and ignored.
  void ApplySacks(Seq ack, absl::Span<const SeqRange> blocks, Delivery& delivery);

  // The peer has dropped what it had SACKed (RFC 2018, 8), or is taken to: nothing is sacked.
  void ForgetSacks();
  // Whether the first chunk is sacked: a peer that keeps its word would have acknowledged it.
  bool first_is_sacked() const;

  // Everything on the way is lost (RFC 6298, 5.4 and RFC 5681).
  void MarkAllLost();
  // The first chunk is lost.
  bool MarkFirstLost();
  // Of those on the way, in order of sending, calls `lost(chunk)` until it says false, and marks
  // those for which it said true. Returns the chunk at which it stopped, or null.
  template <typename F>
  const Chunk* MarkLostInSentOrder(F lost);
  // Of those sent once and on the way, marks those that end at or before `end` (RFC 6675).
  void MarkLostBefore(Seq end);
  // Where `chunks` chunks or more than `bytes` bytes above are sacked (IsLost() of RFC 6675): a
  // sequence number before which everything is lost; una() if nothing is.
  Seq LostBelow(uint32_t chunks, uint32_t bytes) const;
  // Nothing was lost after all: what was not sent again is on the way.
  void UnmarkLost();

  // Gives the memory back if nothing is held and RecoveryState does not wait for anything.
  void ReleaseIfEmpty();

  // For tests and for those who show a connection: chunk `i` of chunks(), sent ones first.
  const Chunk& chunk(uint32_t i) const { return At(ring_->head + i); }
  uint32_t sent_chunks() const { return ring_ == nullptr ? 0 : ring_->sent - ring_->head; }

 private:
  // In one block with the first chunks. Indices count up for ever; a chunk's place is its index
  // modulo the capacity.
  struct Ring {
    static constexpr uint32_t kFirstChunks = 4;

    BlockPool* memory;
    Chunk* chunks;           // first_chunks, or a block
    int64_t sent_ns = 0;     // when the last one was
    uint32_t capacity;       // a power of two
    uint32_t head = 0;       // the oldest
    uint32_t sent = 0;       // behind the last one sent
    uint32_t end = 0;        // behind the last one
    uint32_t lost_hint = 0;  // no chunk before it is lost and not sent again
    uint32_t sacked_bytes = 0;
    uint32_t sacked_chunks = 0;
    uint32_t lost_bytes = 0;
    uint32_t resent_bytes = 0;
    uint32_t in_sent_order = 0;  // length of the list
    uint16_t earliest = 0;       // its ends
    uint16_t latest = 0;
    bool reserved = false;                // a fresh buffer stands at `end`
    SeqRange known[kSackBlocksMax] = {};  // sacked without a gap: need no second look
    RecoveryState recovery = {};
    Chunk first_chunks[kFirstChunks] = {};
  };
  static_assert(sizeof(Ring) <= 512);

  Chunk& At(uint32_t index) { return ring_->chunks[index & (ring_->capacity - 1)]; }
  const Chunk& At(uint32_t index) const { return ring_->chunks[index & (ring_->capacity - 1)]; }
  uint32_t IndexOf(const Chunk& chunk) const;

  uint32_t end_and_reserved() const { return ring_->end + (ring_->reserved ? 1 : 0); }
  bool Prepare(BlockPool& memory);  // room for one more chunk
  bool Grow();
  bool InsertAfter(uint32_t index);
  bool Split(uint32_t index, uint32_t bytes);
  bool CutUnsent(uint32_t bytes, BufferPool& buffers);
  static bool MustCopy(const Chunk& chunk, size_t headroom) {
    return chunk.buffer.is_shared() || chunk.offset < headroom;
  }
  Piece Give(uint32_t index, BufferPool& buffers, size_t headroom);
  Piece Resend(uint32_t index, size_t bytes_max, int64_t now_ns, BufferPool& buffers,
               size_t headroom);

  // Orders what is sent at the same time by the clock: what was sent later has a later time, by
  // nanoseconds. RFC 8985, 6.2 takes sequence numbers, which do not tell whether what was sent
  // again came before what was sent first; between parts of what went as one piece they do.
  int64_t TimeOfSending(int64_t now_ns) {
    return ring_->sent_ns = std::max(now_ns, ring_->sent_ns + 1);
  }

  uint32_t Find(Seq seq) const;
  void Deliver(const Chunk& chunk, uint32_t bytes, Delivery& delivery) const;
  void Discount(const Chunk& chunk, uint32_t bytes);
  void SackBlock(SeqRange block, Delivery& delivery);
  void SackUnknown(Seq at, Seq stop, SeqRange block, Delivery& delivery);
  void Remember(SeqRange block);
  void MarkLost(Chunk& chunk);

  void LinkLatest(uint32_t index);
  void LinkBehind(uint32_t before, uint32_t index);
  void LinkByTime(uint32_t index, const Chunk* from);
  void Unlink(Chunk& chunk);
  void Moved(uint32_t from, uint32_t to);

  Ring* ring_ = nullptr;
  Seq una_;
  Seq next_;
  Seq end_;
};
static_assert(sizeof(SendQueue::Chunk) == 32);
static_assert(sizeof(SendQueue) <= 24, "there may be millions of them");

template <typename F>
const SendQueue::Chunk* SendQueue::MarkLostInSentOrder(F lost) {
  while (ring_ != nullptr && ring_->in_sent_order > 0) {
    Chunk& chunk = At(ring_->earliest);
    if (!lost(static_cast<const Chunk&>(chunk))) return &chunk;
    MarkLost(chunk);
  }
  return nullptr;
}

}  // namespace weft::tcp

#endif  // WEFT_TCP_SEND_QUEUE_H_
