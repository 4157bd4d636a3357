// SPDX-License-Identifier: Apache-2.0
//
// What stands in front of each datagram, 8 bytes in network order (docs/protocols/rdma.md):
//
//   0  kind       1 bit: 0 data, 1 credit
//      flag       1 bit: the sender has used up what it may send; of a credit 0
//      number    30 bits: what the receiver calls the sender, without the highest bits
//   4  sequence  16 bits: of the datagrams to this peer; of a credit, that of the next one
//   6  edge      16 bits: the receiver may send sequence numbers below it
//
// Sequence numbers have 32 bits and go round; they are compared by the sign of their difference.
// Sent are the lowest 16: nobody may send so far ahead that they could mean another number.
#ifndef WEFT_TRANSPORTS_RDMA_HEADER_H_
#define WEFT_TRANSPORTS_RDMA_HEADER_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::rdma {

inline constexpr size_t kHeaderBytes = 8;

struct Header {
  static constexpr uint32_t kNumberMask = (1u << 30) - 1;

  bool credit = false;  // tells the edge and nothing else; takes the slot that is set aside for it
  bool wants_more = false;  // the sender has used up what it may send
  uint32_t number = 0;
  uint16_t sequence = 0;
  uint16_t edge = 0;
};

// The sequence number nearest to `known` whose lowest bits are `sent`.
inline uint32_t FullSequence(uint16_t sent, uint32_t known) {
  return known + static_cast<uint32_t>(static_cast<int16_t>(sent - known));
}

// `out` has room for kHeaderBytes.
inline void WriteHeader(const Header& header, uint8_t* out) {
  StoreBig64(out, uint64_t{header.credit} << 63 | uint64_t{header.wants_more} << 62 |
                      uint64_t{header.number & Header::kNumberMask} << 32 |
                      uint64_t{header.sequence} << 16 | header.edge);
}

// False for what no honest peer sends.
inline bool ParseHeader(absl::Span<const uint8_t> datagram, Header* header) {
  if (datagram.size() < kHeaderBytes) return false;
  const uint64_t word = LoadBig64(datagram.data());
  header->credit = (word >> 63) != 0;
  header->wants_more = (word >> 62 & 1) != 0;
  header->number = static_cast<uint32_t>(word >> 32) & Header::kNumberMask;
  header->sequence = static_cast<uint16_t>(word >> 16);
  header->edge = static_cast<uint16_t>(word);
  return !header->credit || (!header->wants_more && datagram.size() == kHeaderBytes);
}

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_HEADER_H_
