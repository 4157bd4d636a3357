// SPDX-License-Identifier: Apache-2.0
//
// Puts the packets of one message together, in whatever order and however often they come, of
// either wire format; outgoing_message.h is the other half for the extended one.
//
//   switch (message.Add(header.index(), header.total(), header.last, std::move(payload))) ...
//   uint8_t bitmap[Reassembly::kBitmapBytes];
//   const Progress progress = message.FillProgress(granted, bitmap);   // order: cumulative()
//
// Cost: O(1) a packet, amortised, and O(packets out of order) a PROGRESS.
#ifndef WEFT_RPC_REASSEMBLY_H_
#define WEFT_RPC_REASSEMBLY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

// Holds at most as many buffers as the message has packets; beyond that, memory for the packets
// between the first missing one and the last one that has come. Reusable: memory for up to
// kKeptPackets is kept from message to message. One thread.
class Reassembly {
 public:
  static constexpr size_t kKeptPackets = 1024;
  static constexpr size_t kBitmapBytes = Progress::kBitsMax / 8;

  enum class Result {
    kIncomplete,     // taken; more to come
    kComplete,       // taken; Take() has the message
    kDuplicate,      // dropped: this packet had come before
    kContradiction,  // dropped: does not fit what other packets said of the message's length
    kTooLong,        // dropped: the message has more packets than allowed
  };

  // `packets_max` is 1 to 65535.
  explicit Reassembly(size_t packets_max) : packets_max_(packets_max) {}

  // A packet without its header: which one it is, of how many if it says so (else 0), and whether
  // it says that it is the last. `payload` is not null. Whoever has promised room for fewer packets
  // than packets_max drops what lies beyond before it gets here.
  Result Add(size_t index, size_t total, bool last, Buffer payload);
  Result Add(const Header& header, Buffer payload);

  // All of the first cumulative() packets are here.
  size_t cumulative() const { return chain_.pieces(); }
  // Packets of the message; 0: not known yet.
  size_t total() const { return total_; }
  bool complete() const { return total_ != 0 && cumulative() == total_; }
  // Buffers held.
  size_t held() const { return chain_.pieces() + early_count_; }
  // Of these, behind a missing one.
  size_t out_of_order() const { return early_count_; }

  // The body of a PROGRESS whose header has cumulative() for its order. Packets below `granted` may
  // be sent; not beyond the end if that is known. `bitmap` has kBitmapBytes, which stay for as long
  // as the result is used.
  Progress FillProgress(size_t granted, uint8_t* bitmap) const;

  // The complete message; what is left is empty and ready for another.
  BufferChain Take();

  // Drops what has come.
  void Reset();

 private:
  Buffer& early(size_t index) { return early_[index & (early_.size() - 1)]; }
  const Buffer& early(size_t index) const { return early_[index & (early_.size() - 1)]; }
  void MakeRoom(size_t index);

  const size_t packets_max_;
  BufferChain chain_;          // the first ones, without a gap
  std::vector<Buffer> early_;  // a ring of a power of two of those behind the first missing one
  size_t early_count_ = 0;
  size_t end_ = 0;    // behind the last packet that has come
  size_t total_ = 0;  // 0: not known yet
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_REASSEMBLY_H_
