// SPDX-License-Identifier: Apache-2.0
//
// What stands in front of each datagram, 16 bytes in network order (docs/protocols/rdma.md):
//
//   0  kind       8 bits
//   1  flags      8 bits
//   2  reserved  16 bits, 0
//   4  number    32 bits: what the receiver calls the sender
//   8  sequence  32 bits: of the datagrams to this peer; of a kCredit, that of the next one
//  12  edge      32 bits: the receiver may send sequence numbers below it
//
// Sequence numbers go round; they are compared by the sign of their difference.
#ifndef WEFT_TRANSPORTS_RDMA_HEADER_H_
#define WEFT_TRANSPORTS_RDMA_HEADER_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "weft/core/bytes.h"

namespace weft::rdma {

inline constexpr size_t kHeaderBytes = 16;

struct Header {
  enum class Kind : uint8_t {
    kData = 1,    // a datagram of the port's user
    kCredit = 2,  // tells the edge and nothing else; takes the slot that is set aside for it
  };
  enum Flag : uint8_t {
    kWantsMore = 1,  // the sender has used up what it may send
  };
  static constexpr uint8_t kFlags = kWantsMore;

  Kind kind = Kind::kData;
  uint8_t flags = 0;
  uint32_t number = 0;
  uint32_t sequence = 0;
  uint32_t edge = 0;
};

// `out` has room for kHeaderBytes.
inline void WriteHeader(const Header& header, uint8_t* out) {
  StoreBig32(out, uint32_t{static_cast<uint8_t>(header.kind)} << 24 | uint32_t{header.flags} << 16);
  StoreBig32(out + 4, header.number);
  StoreBig32(out + 8, header.sequence);
  StoreBig32(out + 12, header.edge);
}

// False for what no honest peer sends.
inline bool ParseHeader(absl::Span<const uint8_t> datagram, Header* header) {
  if (datagram.size() < kHeaderBytes) return false;
  const uint32_t first = LoadBig32(datagram.data());
  // Known flags, nothing reserved, and one of the two kinds.
  constexpr uint32_t kUnused = ~(uint32_t{3} << 24 | uint32_t{Header::kFlags} << 16);
  if ((first & kUnused) != 0 || (first >> 24) - 1 > 1) return false;
  header->kind = static_cast<Header::Kind>(first >> 24);
  header->flags = static_cast<uint8_t>(first >> 16);
  header->number = LoadBig32(datagram.data() + 4);
  header->sequence = LoadBig32(datagram.data() + 8);
  header->edge = LoadBig32(datagram.data() + 12);
  return header->kind != Header::Kind::kCredit || datagram.size() == kHeaderBytes;
}

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_HEADER_H_
