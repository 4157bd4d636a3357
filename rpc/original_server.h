// SPDX-License-Identifier: Apache-2.0
//
// The part of a server that answers in the original format. Not for users.
#ifndef WEFT_RPC_ORIGINAL_SERVER_H_
#define WEFT_RPC_ORIGINAL_SERVER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/incoming_requests.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/server_call.h"
#include "weft/rpc/server_core.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

class OriginalServer {
 public:
  explicit OriginalServer(ServerCore& core);

  // Errors: of the options.
  absl::Status Init();

  void OnDatagram(Datagram& datagram);
  // Gives up what a client that has gone had begun to send.
  void Forget(const Peer& client) { incoming_.Forget(client); }
  // Requests of which only some packets are here.
  size_t incomplete() const { return incoming_.size(); }

  // For ServerCall.
  absl::Status Reply(const ServerCall& call, absl::Span<const uint8_t> reply);
  absl::Status Reply(const ServerCall& call, Buffer reply);
  absl::Status Reply(const ServerCall& call, const Payload& reply);
  void Drop(const ServerCall& call);

 private:
  void OnRequest(const Peer& client, const Header& header, Buffer payload);
  void OnFirstOfSeveral(const Peer& client, const Header& header, Buffer payload);
  void OnLaterPacket(const Peer& client, const Header& header, Buffer payload);
  void Dispatch(const Peer& client, const Header& header, BufferChain request);
  // Whether the client may be sent so many bytes for as many as it has sent.
  bool MaySend(const Peer& client, size_t bytes, size_t received_bytes) const {
    return bytes <= received_bytes || !limited_ || IsNear(client);
  }
  bool IsNear(const Peer& client) const;
  absl::Status RefuseReply(const ServerCall& call, size_t bytes);
  static void OnExpiry(void* self, int64_t now_ns);

  // Cuts `size` bytes, which lie in the pieces from `piece` on, into packets.
  template <typename Pieces>
  absl::Status CopyReply(const ServerCall& call, size_t size, Pieces piece);
  // `request_bytes`: of the payload of the packet, or the packets, that this answers.
  void SendControl(MessageType type, const Peer& client, uint16_t request_id,
                   absl::string_view payload, size_t request_bytes);
  void Refuse(const Peer& client, uint16_t request_id, size_t request_bytes, Counter& reason);

  ServerCore& core_;
  const int64_t reassembly_timeout_ns_;
  size_t packet_payload_bytes_ = 0;
  // Requests may come from forged addresses, to which no more goes than came from there.
  bool limited_ = false;
  IncomingRequests incoming_;
  Timer expiry_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_ORIGINAL_SERVER_H_
