// SPDX-License-Identifier: Apache-2.0
//
// Headers of datagrams and messages of the rendezvous: what is accepted is written again as the
// same bytes. Input: a byte, whose lowest bits say which and who sent it, and the bytes.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "weft/transports/rdma/header.h"
#include "weft/transports/rdma/rendezvous_wire.h"

namespace {

using namespace weft;
using namespace weft::rdma;

void CheckHeader(absl::Span<const uint8_t> bytes) {
  Header header;
  if (!ParseHeader(bytes, &header)) return;
  uint8_t again[kHeaderBytes];
  WriteHeader(header, again);
  if (std::memcmp(again, bytes.data(), kHeaderBytes) != 0) std::abort();
}

void CheckRendezvous(absl::Span<const uint8_t> bytes, const Address& from) {
  const auto message = ParseRendezvous(bytes, from);
  if (!message.has_value()) return;
  uint8_t again[RendezvousMessage::kMaxBytes];
  const size_t size = WriteRendezvous(*message, absl::MakeSpan(again));
  // A reason may come longer than we would give one.
  if (message->reason.size() > RendezvousMessage::kMaxReasonBytes) return;
  if (size != bytes.size() || std::memcmp(again, bytes.data(), size) != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::Span<const uint8_t> bytes(data + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      CheckHeader(bytes);
      break;
    case 1:
      CheckRendezvous(bytes, Address::Ipv4({10, 0, 0, 1}, 8000));
      break;
    case 2:
      CheckRendezvous(bytes, Address::Ipv6({0xfd, 0, 1}, 8000));
      break;
    default:
      CheckRendezvous(bytes, Address::Sim("peer"));
  }
  return 0;
}
