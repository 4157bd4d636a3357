// SPDX-License-Identifier: Apache-2.0
//
// Puts the packets of one message together, in whatever order and however often they come.
#ifndef WEFT_RPC_REASSEMBLY_H_
#define WEFT_RPC_REASSEMBLY_H_

#include <cstddef>
#include <vector>

#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

// Holds at most as many buffers as the message has packets. Reusable: memory is kept from message
// to message.
class Reassembly {
 public:
  enum class Result {
    kIncomplete,     // taken; more to come
    kComplete,       // taken; Take() has the message
    kDuplicate,      // dropped: this packet had come before
    kContradiction,  // dropped: does not fit what other packets said of the message's length
    kTooLong,        // dropped: the message has more packets than allowed
  };

  // `packets_max` is 1 to 65535.
  explicit Reassembly(size_t packets_max) : packets_max_(packets_max) {}

  // `payload` is the packet without its header.
  Result Add(const Header& header, Buffer payload);

  // The complete message; what is left is empty and ready for another.
  BufferChain Take();

  // Drops what has come.
  void Reset();

  // Buffers held.
  size_t held() const { return held_; }

 private:
  const size_t packets_max_;
  std::vector<Buffer> packets_;  // by index; null where not yet come
  size_t held_ = 0;
  size_t total_ = 0;  // 0: not known yet
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_REASSEMBLY_H_
