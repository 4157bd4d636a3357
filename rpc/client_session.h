// SPDX-License-Identifier: Apache-2.0
//
// A client's sessions and calls in the extended format, as data. Not for users: `Client` (client.h)
// is.
#ifndef WEFT_RPC_CLIENT_SESSION_H_
#define WEFT_RPC_CLIENT_SESSION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "weft/core/rtt_estimator.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/bulk_way.h"
#include "weft/rpc/call.h"
#include "weft/rpc/outgoing_message.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/receive_budget.h"
#include "weft/rpc/send_flow.h"
#include "weft/rpc/wire.h"
#include "weft/transports/port.h"

namespace weft::rpc {

class ClientSessions;
struct ClientSession;
struct ClientCall;

// What a session with a router has beyond others: the servers behind it that have answered.
struct ClientPool {
  absl::flat_hash_map<Peer, uint32_t> members;  // to the numbers of their sessions
  uint32_t nonce = 0;                           // of the latest HELLO to one of them
  bool asking = false;                          // a HELLO to the router is under way
  int64_t lost_ns = INT64_MIN;                  // when a session with one of them last ended
  // Of an application's own session, which is one with one server: whom the router picked for its
  // first call. Null before.
  ClientSession* chosen = nullptr;
  // Of the session's slots, those that are not used any more, as a server grants fewer.
  size_t slots_lost = 0;
};

// What a call needs beyond others when its request or reply has several packets.
struct ClientTransfer {
  explicit ClientTransfer(ClientCall* call) : room(call) {}
  OutgoingMessage request;
  Reassembly reply{kExtendedPacketsMax};
  ReceiveBudget::Reservation room;  // for all of the reply
  bool acknowledge = false;         // packets have come since the last PROGRESS
  uint32_t echo = 0;                // timestamp of the latest of them
  int64_t echo_arrived_ns = 0;

  // Where messages are fetched (client_bulk.cc).
  AnnouncedMessage announced;  // the request, until the server has it or wants packets
  size_t fetch_bytes = 0;      // of the reply, while it is being fetched
  uint16_t fetch_packets = 0;  // that it would take
  bool in_packets = false;     // the reply: it could not be fetched
  int64_t waits_since_ns = 0;  // the reply: it can only be fetched, and so far it could not; else 0
};

// A call. Its memory is used again for other calls and never freed before the client.
struct ClientCall {
  enum class State : uint8_t {
    kFree,
    kWaiting,     // for its session, a slot or the window
    kSent,        // in whole, in one packet
    kSending,     // in several packets
    kExecuting,   // the server has all of it
    kReceiving,   // packets of a reply have come
    kCancelling,  // nobody waits any more; the server is being told
    kOriginal,    // goes on in the original format
  };

  // Requests up to this length are copied, if they must be, into the call itself.
  static constexpr size_t kSmallBytes = 128;

  explicit ClientCall(ClientSessions* sessions, uint32_t index);

  ClientSessions* const sessions;
  const uint32_t index;
  uint32_t generation = 0;
  State state = State::kFree;
  Policy policy = Policy::kFixedRoute;
  uint8_t tries = 0;        // retransmissions since something was heard
  uint16_t packets = 1;     // of the request
  bool held = false;        // CallOptions::held
  bool counted = false;     // in in_flight of its session, while kSent
  bool sent_twice = false;  // its response says nothing of the round trip (Karn)
  ClientSession* session = nullptr;
  // Of a call through a router: the session with the server that has it, once that is known.
  ClientSession* member = nullptr;
  uint64_t affinity = 0;
  uint64_t request_id = 0;
  int64_t deadline_ns = 0;
  int64_t due_ns = INT64_MAX;  // what `timer` is for; it may be armed for earlier
  int64_t sent_ns = 0;
  uint64_t tail_epoch = 0;  // of the sending queue when a view of `request` was last put there
  Timer timer;
  Callback callback;
  Payload request;
  std::unique_ptr<ClientTransfer> transfer;  // kept from call to call
  CallId original;
  uint32_t* resent = nullptr;  // where packets that are sent again are counted; null: nowhere
  // In the session's list of calls that wait, in its list of those that send, or free.
  ClientCall* previous = nullptr;
  ClientCall* next = nullptr;
  uint8_t small[kSmallBytes];
};

// Calls in the order in which they came. A call is in one list at most.
class ClientCallList {
 public:
  bool empty() const { return head_ == nullptr; }
  ClientCall* front() const { return head_; }
  size_t size() const { return size_; }

  void PushBack(ClientCall& call) {
    call.previous = tail_;
    call.next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = &call;
    tail_ = &call;
    ++size_;
  }
  void Remove(ClientCall& call) {
    (call.previous != nullptr ? call.previous->next : head_) = call.next;
    (call.next != nullptr ? call.next->previous : tail_) = call.previous;
    call.previous = call.next = nullptr;
    --size_;
  }

 private:
  ClientCall* head_ = nullptr;
  ClientCall* tail_ = nullptr;
  size_t size_ = 0;
};

struct ClientSession : SendFlow {
  enum class State : uint8_t {
    kFree,        // the place is for another session
    kIdle,        // not connected; the next call opens it
    kConnecting,  // HELLO sent
    kOpen,
    kChoosing,  // open, with a router that is picking the server for the one call in flight
    kDraining,  // as the server wishes: no new requests
    kClosing,   // CLOSE sent
    kOriginal,  // the server does not know the extended format
  };
  struct Slot {
    ClientCall* call = nullptr;
    uint64_t sequence = 0;
  };

  ClientSession(ClientSessions* sessions, uint32_t number);

  bool is_open() const {
    return state == State::kOpen || state == State::kDraining || state == State::kChoosing;
  }
  size_t slots_in_use() const {
    return slots.size() - free_slots.size() - (is_pool() ? servers->slots_lost : 0);
  }
  // The peer is a router. Slots, window and waiting calls are those of all servers behind it.
  bool is_pool() const { return servers != nullptr; }

  ClientSessions* const sessions;
  const uint32_t number;
  uint32_t generation = 0;
  State state = State::kFree;
  bool own = false;      // opened by the application, not for a peer's calls
  bool pumping = false;  // Pump() is running
  bool pooled = false;   // is_pool(), or `pool` is not null
  bool bulk = false;     // both sides can fetch messages
  uint16_t credits = 1;
  Peer peer;
  uint32_t remote_number = 0;
  uint32_t nonce = 0;  // of the latest HELLO; the next one's is higher, in serial arithmetic
  uint32_t key = 0;    // of the session; before it is open, the nonce of its HELLO
  uint32_t tries = 0;  // HELLOs or CLOSEs
  size_t packet_payload_bytes = 0;
  size_t window_max = 1;  // packets in flight
  size_t slots_max = 0;
  int64_t timeout_ns = 0;
  int64_t began_ns = 0;  // to connect
  int64_t opened_ns = 0;
  int64_t heard_ns = 0;
  int64_t hello_ns = 0;   // the last one
  int64_t watch_ns = 0;   // open: what `timer` is for
  int64_t late_ns = 0;    // open: when it last was much later than that
  int64_t slowed_ns = 0;  // when congestion control was last told of a timeout
  RttEstimator response_time;
  Timer pacing;             // until the next packet may go
  Timer timer;              // HELLO, PING or CLOSE, as the state has it
  std::vector<Slot> slots;  // as many as were ever used at once
  std::vector<uint16_t> free_slots;
  ClientCallList waiting;
  ClientCallList sending;
  std::unique_ptr<ClientPool> servers;  // null: the peer is a server
  // Of a session with one of the servers behind a router: the session with that. Calls, and what
  // is in flight, are its.
  ClientSession* pool = nullptr;
  size_t pinned = 0;         // calls that this server has
  int64_t confirmed_ns = 0;  // when something was first heard after it was opened; 0: nothing yet
  uint64_t calls = 0;
  uint64_t retransmissions = 0;
  uint64_t drops = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_CLIENT_SESSION_H_
