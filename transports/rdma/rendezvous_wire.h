// SPDX-License-Identifier: Apache-2.0
//
// The bytes of the rendezvous; docs/protocols/rdma.md draws them.
#ifndef WEFT_TRANSPORTS_RDMA_RENDEZVOUS_WIRE_H_
#define WEFT_TRANSPORTS_RDMA_RENDEZVOUS_WIRE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "weft/transports/address.h"
#include "weft/transports/rdma/nic.h"

namespace weft::rdma {

// What one side has, for the other. Fields that a service has no use for are carried as they are.
struct Offer {
  enum class Service : uint8_t { kDatagrams, kBulk, kMemory };
  Service service = Service::kDatagrams;
  uint8_t worker = 0;           // of several that share an address: set by Rendezvous
  uint16_t path_mtu_bytes = 0;  // longest datagram, its header included
  QueueAddress queue;
  uint32_t peer_number = 0;  // datagrams: what the other side is called here, in every header
  // Datagrams: the sequence number up to which the other side may send; of a question that
  // `recalls`, the one that is expected of it next.
  uint32_t credits = 0;
  uint32_t sequence = 0;     // datagrams: that of the next one from here
  uint64_t incarnation = 0;  // of who offers: set by Rendezvous
  // Datagrams: asks about a connection that there should be already, and, if it `recalls` as well,
  // asks the other side to give back what it may send and does not.
  bool resumes = false;
  bool recalls = false;
};
inline constexpr size_t kServices = 3;

struct RendezvousMessage {
  enum class Kind : uint8_t { kAsk = 1, kAnswer, kRefuse, kBye };
  static constexpr size_t kMaxReasonBytes = 200;
  static constexpr size_t kMaxBytes = 320;

  Kind kind = Kind::kAsk;
  uint64_t id = 0;
  Offer offer = {};         // of kRefuse and kBye: service, worker and incarnation only
  Address asked_from = {};  // kAsk: the port's address where it is not the sender's own
  uint8_t code = 0;         // kRefuse: an absl::StatusCode, not 0
  std::string reason = {};  // kRefuse; printable
};

// Returns how many of the kMaxBytes at `out` it wrote. A longer reason is cut.
size_t WriteRendezvous(const RendezvousMessage& message, absl::Span<uint8_t> out);

// Nothing for what no honest peer sends. `from`: who sent it, whose IP address an `asked_from` has.
std::optional<RendezvousMessage> ParseRendezvous(absl::Span<const uint8_t> bytes,
                                                 const Address& from);

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RENDEZVOUS_WIRE_H_
