// SPDX-License-Identifier: Apache-2.0
//
// Calls of a client in the original format of R2P2: nothing is sent twice, and the reply may come
// from another address than the one asked, as it does behind a router. Not for users: `Client`
// (client.h) is.
#ifndef WEFT_RPC_ORIGINAL_CALLS_H_
#define WEFT_RPC_ORIGINAL_CALLS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/buffer_chain.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/call.h"
#include "weft/rpc/client_base.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/request_ids.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

class OriginalCalls {
 public:
  OriginalCalls(ClientBase& base, size_t packet_payload_bytes);

  // Begins a call: the request is `payload`, or `bytes` if that is empty; bytes are copied, and so
  // is a payload but for a buffer that fits a packet.
  absl::StatusOr<CallId> Begin(const Peer& server, absl::Span<const uint8_t> bytes,
                               Payload&& payload, Callback&& callback, Policy policy,
                               int64_t timeout_ns);
  // Ends a call whose caller has gone, if it has not ended. Nothing is sent.
  void Cancel(CallId id);
  // Of one server, or of all if that is null.
  void FailAll(const Peer* server, const absl::Status& error);

  void OnDatagram(const Peer& from, Buffer&& datagram);

  size_t outstanding() const { return outstanding_; }

 private:
  // A call that is outstanding. Slots are used in the order of the ids.
  struct Slot {
    OriginalCalls* calls = nullptr;
    bool active = false;
    uint16_t request_id = 0;
    uint64_t serial = 0;
    Peer server;
    Callback callback;
    Timer timeout{&OriginalCalls::OnTimeout, this};
    std::vector<Buffer> rest;                // packets of the request that follow the ACK
    std::unique_ptr<Reassembly> reassembly;  // of a reply in several packets; kept for the next one
  };

  // Copies what follows the first packet into packets that wait for the ACK.
  absl::Status PrepareRest(Slot& slot, absl::Span<const uint8_t> rest, Header header);
  absl::StatusOr<Buffer> FirstPacket(Slot& slot, absl::Span<const uint8_t> bytes, Buffer&& buffer,
                                     Policy policy);
  Slot* TakeSlot();
  Slot* FindSlot(uint16_t request_id);
  // Ends a call: frees the slot, then runs its callback.
  void End(Slot& slot, absl::StatusOr<BufferChain>&& result);
  void Fail(Slot& slot, absl::Status error);
  void Release(Slot& slot);

  void OnReply(Slot& slot, const Header& header, Buffer&& payload);
  void OnAck(Slot& slot, const Peer& server);
  static void OnTimeout(void* slot, int64_t now_ns);

  ClientBase& base_;
  const size_t packet_payload_bytes_;
  RequestIds ids_;
  uint16_t next_sequence_ = 0;
  uint64_t serial_ = 0;
  std::vector<Slot> slots_;  // a power of two; the slot of sequence number n is n mod their number
  size_t outstanding_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_ORIGINAL_CALLS_H_
