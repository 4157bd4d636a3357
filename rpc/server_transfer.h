// SPDX-License-Identifier: Apache-2.0
//
// What a server remembers, beyond the slot, of messages of several packets. Not for users.
#ifndef WEFT_RPC_SERVER_TRANSFER_H_
#define WEFT_RPC_SERVER_TRANSFER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "weft/core/timer_wheel.h"
#include "weft/rpc/bulk_way.h"
#include "weft/rpc/outgoing_message.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/receive_budget.h"
#include "weft/rpc/send_flow.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {

class ExtendedServer;

// Names a request for later, when its session may have ended.
struct RequestName {
  uint32_t session = 0;
  uint32_t key = 0;
  uint64_t request_id = 0;
};

// A request of which some packets are here, or which waits for room for them.
struct LargeRequest {
  LargeRequest() : room(this) {}

  RequestName name;
  Reassembly packets{kExtendedPacketsMax};
  ReceiveBudget::Reservation room;  // for all of its packets
  size_t bytes = 0;                 // that are here
  uint32_t progress_ms = 0;         // CoarseTime of the last packet that was new
  bool admitted = false;            // the application has seen its first packet
  bool acknowledge = false;         // packets have come since the last PROGRESS

  // Of one that was announced (extended_bulk.cc).
  uint64_t fetch = 0;  // while it is being fetched: which fetch; else 0
  size_t fetch_bytes = 0;
  uint16_t fetch_packets = 0;  // that it would take
  bool in_packets = false;     // it could not be fetched, or was never announced
  Policy policy = Policy::kFixedRoute;
  int64_t deadline_ns = 0;
};

// A reply that is on its way.
struct LargeReply {
  RequestName name;
  OutgoingMessage message;
  uint64_t tail_epoch = 0;     // of the sending queue when a view of the message was last put there
  int64_t sent_ns = 0;         // the last packet
  uint32_t heard_ms = 0;       // CoarseTime of the client's last word about it
  size_t charged = 0;          // to the reply cache
  AnnouncedMessage announced;  // instead of `message`, until the client has it or wants packets
  uint16_t packets = 0;        // announced: that it would take
  bool in_bulk = false;        // was announced, and holds its buffer still
  // In the list of its session's flow.
  LargeReply* previous = nullptr;
  LargeReply* next = nullptr;
};

// All replies of a session that are on their way, and what was learnt of the way.
struct ReplyFlow : SendFlow {
  ReplyFlow(ExtendedServer* server, Timer::Callback on_pacing,
            std::unique_ptr<CongestionControl> congestion_or_null)
      : server(server), pacing(on_pacing, this) {
    congestion = std::move(congestion_or_null);
  }

  size_t window() const { return congestion == nullptr ? SIZE_MAX : congestion->window_packets(); }

  void PushBack(LargeReply& reply) {
    reply.previous = tail;
    reply.next = nullptr;
    (tail != nullptr ? tail->next : head) = &reply;
    tail = &reply;
  }
  void Remove(LargeReply& reply) {
    (reply.previous != nullptr ? reply.previous->next : head) = reply.next;
    (reply.next != nullptr ? reply.next->previous : tail) = reply.previous;
    reply.previous = reply.next = nullptr;
  }

  ExtendedServer* const server;
  RequestName name;     // of the session only
  Timer pacing;         // until the next packet may go
  bool waits = false;   // for room in the sending queue
  bool unused = false;  // when the session was last looked at
  size_t in_bulk = 0;   // replies that were announced
  LargeReply* head = nullptr;
  LargeReply* tail = nullptr;
};

// Objects to be used again, memory and all; a bounded number of them.
template <typename T>
class ObjectPool {
 public:
  std::unique_ptr<T> Take() {
    if (unused_.empty()) return std::make_unique<T>();
    std::unique_ptr<T> object = std::move(unused_.back());
    unused_.pop_back();
    return object;
  }
  void Return(std::unique_ptr<T> object) {
    if (unused_.size() < kUnusedMax) unused_.push_back(std::move(object));
  }

 private:
  static constexpr size_t kUnusedMax = 64;
  std::vector<std::unique_ptr<T>> unused_;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_TRANSFER_H_
