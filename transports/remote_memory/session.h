// SPDX-License-Identifier: Apache-2.0
//
// What two emulated ports do for each other once they have shaken hands: each asks the other to
// execute operations, and answers its requests. Two independent halves, of one shape.
//
// Who asks: cuts operations into pieces, one request each, numbered from 0 on, of which as many are
// unanswered as the window allows. What is not answered is sent again, the same piece under the
// same number, with the same bytes: those of a write may not change before it has ended.
//
// Who answers: executes requests in the order of their numbers, each once, holding those back that
// come early. It remembers each answer, the bytes of a read included, until the other has said that
// it has it, and gives the same one again. So what was lost, doubled or reordered changes nothing:
// not even that a read sees what was there before a write behind it.
//
// Pure: time and packets come in, packets go to an Outbox. Sources: the reliable connections of the
// InfiniBand Architecture Specification, volume 1, 9.7 (of whose duplicate reads ours differ, which
// are not executed again); RFC 6298.
#ifndef WEFT_TRANSPORTS_REMOTE_MEMORY_SESSION_H_
#define WEFT_TRANSPORTS_REMOTE_MEMORY_SESSION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "weft/core/buffer.h"
#include "weft/core/metrics.h"
#include "weft/core/rtt_estimator.h"
#include "weft/transports/port.h"
#include "weft/transports/remote_memory/memory_table.h"
#include "weft/transports/remote_memory/operations.h"
#include "weft/transports/remote_memory/outbox.h"
#include "weft/transports/remote_memory/wire.h"

namespace weft::emulated {

// Any thread may read.
struct SessionStats {
  Counter executed;     // requests of peers
  Counter denied;       // those of them that a key did not allow
  Counter repeated;     // requests of peers that had been executed: answered as before
  Counter held_back;    // requests of peers that came early
  Counter not_taken;    // requests of peers dropped for want of buffers: they come again
  Counter sent_again;   // requests
  Counter old_answers;  // to requests that had been answered
};

// What the sessions of a port have in common.
struct SessionShared {
  Outbox* outbox;
  MemoryTable* memory;
  Operations* operations;
  PortStats* port_stats;
  SessionStats* stats;
  RttOptions rtt;
  int64_t give_up_ns;    // without an answer for so long, the peer is gone
  int64_t keepalive_ns;  // without a word for so long, it is asked whether it is there
  // Buffers that answers and requests held back may occupy in all, and do. The latter have half of
  // them at most: they wait for others to be answered.
  size_t held_max;
  size_t held = 0;
  size_t held_early = 0;

  // Whether a session that keeps `own` answers with buffers may keep another. One each has as long
  // as there are as many again, so that those whose peers have gone without a word do not hold up
  // the others until they are missed.
  bool MayHold(size_t own) const { return held < held_max || (own == 0 && held < 2 * held_max); }
};

class Session {
 public:
  // How packets reach the peer, what was agreed, and which peer of the memory's keys it is.
  struct Ends {
    Peer peer;
    uint64_t token = 0;
    uint32_t index = 0;
    uint32_t packet_max = kPacketMin;
    uint32_t window = 1;
    uint32_t number = 0;
  };

  explicit Session(SessionShared* shared) : shared_(*shared) {}
  ~Session() { Forget(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Begin(const Ends& ends, int64_t now_ns);
  // Ends all operations with `code`, and forgets the peer. Begin() may follow.
  void End(absl::StatusCode code);

  // An operation that has not been looked at, begun by a Pump() while there is a session.
  void Add(Operation* operation) { waiting_.Push(operation); }
  bool has_operations() const { return !begun_.empty() || !waiting_.empty(); }

  // Packets of this session. `buffer` is where `request` lies; it may be kept.
  void OnRequest(const Packet& request, int64_t now_ns, Buffer* buffer);
  void OnResponse(const Packet& response, int64_t now_ns);
  void OnAck(const Packet& ack, int64_t now_ns);

  // Sends requests, as far as the window and the outbox allow.
  void Pump(int64_t now_ns);
  // Sends what is to be sent again or now at the latest. False: the peer is gone.
  bool OnTime(int64_t now_ns);
  // When to call it.
  int64_t DeadlineNs() const;
  // Packets could be sent but for the outbox.
  bool wants_to_send() const { return !waiting_.empty() && unanswered() < open_window(); }

 private:
  // A request that has been sent; at its number modulo the window.
  struct Request {
    Operation* operation = nullptr;  // null: asks whether the peer is there
    uint32_t piece_offset = 0;
    uint32_t piece_bytes = 0;
    int64_t sent_ns = 0;
    uint8_t overtaken = 0;  // by answers to later ones
    bool again = false;
    bool answered = false;
  };
  // A request of the peer's; at its number modulo the window.
  struct Answer {
    enum class State : uint8_t { kNone, kHeldBack, kGiven };
    State state = State::kNone;
    Result result = Result::kOk;
    bool has_value = false;
    uint64_t old_value = 0;
    Buffer buffer = {};  // the request held back, or the packet with what was read
    size_t headroom = 0;
    size_t size = 0;
  };

  // Asking.
  uint32_t unanswered() const { return next_ - first_; }
  uint32_t open_window() const { return std::min(ends_.window, congestion_window_); }
  Request& RequestAt(uint32_t number) { return requests_[number % ends_.window]; }
  bool SendRequest(uint32_t number, int64_t now_ns);
  bool BeginPiece(int64_t now_ns);
  bool BeginRequest(const Request& request, int64_t now_ns);
  bool Accept(const Packet& response, Request* request);
  void OnOvertaken(uint32_t number, int64_t now_ns);
  void OnAnswered();
  void EndOperations();
  void Resend(int64_t now_ns);
  int64_t RtoNs() const { return rtt_.rto_ns(shared_.rtt, retries_); }
  bool SendAck(int64_t now_ns);

  // Answering.
  Answer& AnswerTo(uint32_t number) { return answers_[number % ends_.window]; }
  void ForgetBelow(uint32_t number);
  bool Execute(const Packet& request);
  bool ExecuteRead(const Packet& request, const uint8_t* from);
  void Respond(uint32_t number);
  void HoldBack(uint32_t number, Buffer* buffer);
  void ExecuteHeldBack();
  void Release(Answer* answer);
  void Forget();

  SessionShared& shared_;
  Ends ends_;
  bool up_ = false;
  int64_t heard_ns_ = 0;

  OperationList begun_;    // all of whose pieces have been sent, and the one below
  OperationList waiting_;  // the first may have been begun: cutting_
  std::vector<Request> requests_;
  uint32_t first_ = 0;  // the lowest number that is not answered
  uint32_t next_ = 0;
  uint32_t congestion_window_ = 1;
  uint32_t answered_in_window_ = 0;
  uint32_t retries_ = 0;
  int64_t progress_ns_ = 0;  // when a request was last answered, or the first one sent
  RttEstimator rtt_;
  int64_t ack_ns_ = INT64_MAX;  // when the peer is to be told what is answered

  std::vector<Answer> answers_;
  uint32_t expected_ = 0;   // the number to be executed next
  uint32_t forgotten_ = 0;  // answers below it are
  size_t held_ = 0;         // answers that have a buffer
};

}  // namespace weft::emulated

#endif  // WEFT_TRANSPORTS_REMOTE_MEMORY_SESSION_H_
