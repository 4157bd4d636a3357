// SPDX-License-Identifier: Apache-2.0
//
// What a server knows of one session and of each of its slots. Small and flat, as there may be a
// hundred thousand of them: a packet touches one cache line of the session and half of one of the
// slot. Not for users.
#ifndef WEFT_RPC_SERVER_SESSION_H_
#define WEFT_RPC_SERVER_SESSION_H_

#include <cstddef>
#include <cstdint>

#include "weft/rpc/wire.h"
#include "weft/transports/port.h"

namespace weft::rpc {

struct Execution;
struct LargeReply;
struct LargeRequest;
struct ReplyFlow;

// Times to the millisecond (2^20 ns) in 32 bits, compared modulo 2^32.
inline uint32_t CoarseTime(int64_t ns) { return static_cast<uint32_t>(ns >> 20); }

// The latest request of a slot, and its answer.
struct alignas(32) ServerSlot {
  enum class State : uint8_t {
    kUnused,     // there has been none
    kReceiving,  // some of its packets are here
    kExecuting,  // the handler has it
    kReplied,    // `block` has the reply
    kReplying,   // `reply` has it: it is one of several packets
    kGone,       // replied, and the reply is not kept any more
    kDropped,    // refused or ended without a reply: `code` says why
  };

  uint64_t request_id = 0;
  // Memory for replies of one packet, used again and again; managed by ReplyCache.
  uint8_t* block = nullptr;
  union {
    LargeRequest* request;           // kReceiving
    Execution* execution = nullptr;  // kExecuting; null while the handler has not returned
    LargeReply* reply;               // kReplying
    uint32_t replied_ms;             // kReplied: CoarseTime
  };
  // Timestamp of the request's latest packet, less the time at which it came: the present time
  // added, it is what `echo` must be.
  uint32_t echo_base = 0;
  uint16_t size = 0;            // kReplied: bytes in `block`. kExecuting: packets of the request
  uint8_t block_class : 7 = 0;  // of the length of `block`
  // A router has picked this server for the request, and is told when it ends.
  uint8_t routed : 1 = 0;
  State state : 4 = State::kUnused;
  DropReason code : 4 = DropReason::kNone;  // kDropped
};
static_assert(sizeof(ServerSlot) == 32);
static_assert(kDropReasonMax < 16, "a code has four bits");

struct alignas(64) ServerSession {
  // What each packet needs.
  uint32_t key = 0;  // 0: not open
  uint32_t number = 0;
  uint32_t client_number = 0;
  uint32_t heard_ms = 0;        // CoarseTime
  Peer peer;                    // that its HELLO came from; packets from elsewhere are not its
  ServerSlot* slots = nullptr;  // as many as were ever used, rounded up
  uint64_t requests = 0;
  uint16_t slot_count = 0;      // of `slots`
  uint16_t client_credits = 1;  // packets of a reply that may be sent at first
  uint16_t packet_bytes = 0;
  uint16_t executing : 14 = 0;  // options allow 4096
  uint16_t told_to_drain : 1 = 0;
  // Its client has not shown that it can receive at `peer`: no packet with the key has come.
  uint16_t half_open : 1 = 0;

  // The rest.
  ReplyFlow* flow = nullptr;  // if replies of several packets were sent lately
  uint64_t client_id = 0;
  int64_t opened_ns = 0;  // half-open: when its HELLO came
  uint32_t nonce = 0;
  uint32_t timeout_ms : 31 = 0;  // CoarseTime
  uint32_t bulk : 1 = 0;         // both sides can fetch messages
  uint16_t slots_max = 0;        // as agreed
  uint16_t blocks = 0;           // slots that have a block
  uint16_t large = 0;            // slots in kReceiving and kReplying
  uint16_t answered_slot = 0;    // in the burst `answered_burst` a duplicate of its request was
  uint32_t answered_burst = 0;   // answered
  uint32_t older = 0;            // half-open: the sessions before and behind it in the order of
  uint32_t newer = 0;            // their age, by number
  // The client's number of the pool that the session belongs to, which ANYCAST requests name it by;
  // 0: of none.
  uint32_t pool_number = 0;
  uint32_t retransmitted = 0;  // packets of replies
  uint32_t refused = 0;        // requests

  size_t payload_bytes() const { return packet_bytes - kExtendedHeaderBytes; }
};
static_assert(sizeof(ServerSession) == 128);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVER_SESSION_H_
