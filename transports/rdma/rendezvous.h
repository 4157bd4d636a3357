// SPDX-License-Identifier: Apache-2.0
//
// How queue pairs find each other: questions and answers over an ordinary datagram port, kernel UDP
// or a simulated network, at the very address that the RDMA port is reached at.
//
//   Rendezvous rendezvous(std::move(port), {.incarnation = random});
//   rendezvous.Serve(Offer::Service::kBulk, &bulk);         // answers, and hears answers
//   rendezvous.Ask(address, {.service = Offer::Service::kBulk, .queue = mine}, context, now_ns);
//   ... each round: rendezvous.Poll(now_ns);
//
// A question is asked again after 1, 2, 4 ... 100 ms until it is answered, refused, or `timeout_ns`
// have passed; one refused with ResourceExhausted is asked until then. The same question, asked
// again, gets the same answer, without the handler. Bytes that no honest peer sends are counted and
// dropped. docs/protocols/rdma.md has the layout.
//
// Threads: that of its port. Handlers are called by Poll() and may ask, cancel and say bye.
#ifndef WEFT_TRANSPORTS_RDMA_RENDEZVOUS_H_
#define WEFT_TRANSPORTS_RDMA_RENDEZVOUS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/datagram_port.h"
#include "weft/transports/rdma/rendezvous_wire.h"

namespace weft::rdma {

class Rendezvous {
 public:
  static constexpr size_t kMaxAsks = 16'384;    // under way; one more fails at once
  static constexpr size_t kMaxAnswers = 1'024;  // remembered; the oldest are forgotten
  static constexpr int64_t kFirstRetryNs = 1'000'000;
  static constexpr int64_t kLastRetryNs = 100'000'000;

  class Handler {
   public:
    virtual ~Handler() = default;
    // What to answer, or the status to refuse with. `from` is who asks: his port's address.
    virtual absl::StatusOr<Offer> OnAsk(const Address& from, const Offer& offer) = 0;
    virtual void OnAnswer(uint64_t context, const Offer& answer) = 0;
    // Refused (with the other side's code and words), Unavailable when nobody is there or
    // DeadlineExceeded when nobody answers.
    virtual void OnFailed(uint64_t context, const absl::Status& status) = 0;
    // A port there has closed, or a peer has ended what it had with this one.
    virtual void OnBye(const Address& from, uint64_t incarnation) = 0;
  };

  struct Options {
    uint64_t incarnation = 0;  // random, another one for each port; not 0
    int64_t timeout_ns = 1'000'000'000;
    uint8_t worker = 0;
    // Of several workers that share an address: a port of its own for what it asks, since answers
    // to a shared one would come to any of them. On the same IP address.
    std::unique_ptr<DatagramPort> asking;
  };

  struct Stats {
    uint64_t asked = 0, asked_again = 0;  // questions, and repetitions
    uint64_t answered = 0, answered_again = 0;
    uint64_t refused = 0;    // by this side
    uint64_t failed = 0;     // questions of this side
    uint64_t malformed = 0;  // messages that no honest peer sends
    uint64_t stale = 0;      // late or unwanted ones
  };

  Rendezvous(std::unique_ptr<DatagramPort> port, Options options);

  // `handler` outlives this; null: questions about the service are refused.
  void Serve(Offer::Service service, Handler* handler) {
    handlers_[static_cast<size_t>(service)] = handler;
  }

  // Whether questions can go to such an address; InvalidArgument if not.
  absl::Status Check(const Address& to) const { return asking().Resolve(to).status(); }

  // Ends in OnAnswer() or OnFailed() of the service's handler, with `context`, unless it is
  // canceled; one context at a time of a service. InvalidArgument for an address of another kind,
  // ResourceExhausted beyond kMaxAsks.
  absl::Status Ask(const Address& to, const Offer& offer, uint64_t context, int64_t now_ns);
  void Cancel(Offer::Service service, uint64_t context);
  // Once: it may be lost.
  void SayBye(const Address& to);

  // Handles what has arrived and what is due; returns how much that was.
  size_t Poll(int64_t now_ns);
  // When Poll() has something to do even if nothing arrives; INT64_MAX for never.
  int64_t NextNs() const { return next_ns_; }
  // When Poll() was last called: the time of what handlers are told.
  int64_t now_ns() const { return now_ns_; }

  // Those to watch of a sleeping loop, -1 where there is none; as Port's.
  std::array<int, 2> wait_fds() const;
  bool Arm();
  void Disarm();
  void BindToThisThread();

  uint64_t incarnation() const { return options_.incarnation; }
  Address local_address() const { return local_; }
  const Stats& stats() const { return stats_; }

 private:
  struct Pending {
    Address to;
    Offer offer;
    uint64_t id = 0;
    uint64_t context = 0;
    int64_t retry_ns = 0;  // when to ask again
    int64_t wait_ns = 0;   // between the last time and then
    int64_t end_ns = 0;
    absl::Status refusal = {};  // what it was put off with; ok when it was not
  };
  // Whose question, of which life of his: what makes it the same one.
  using AskKey = std::tuple<Address, uint64_t, uint64_t>;

  DatagramPort& asking() const { return options_.asking != nullptr ? *options_.asking : *port_; }
  size_t PollPort(DatagramPort& port);
  void OnMessage(DatagramPort& port, const Peer& from, absl::Span<const uint8_t> bytes);
  void OnAskMessage(const Peer& from, const Address& who, const RendezvousMessage& message);
  void OnReply(const Address& from, const RendezvousMessage& message);
  void OnUnreachable(const Address& to);
  size_t RetryDue(int64_t now_ns);
  void SendAsk(const Pending& pending);
  void Fail(uint64_t id, const absl::Status& status);
  // Takes a question off the list of those under way.
  Pending Remove(uint64_t id);
  void Transmit(DatagramPort& port, const Peer& to, const RendezvousMessage& message);
  void Remember(const AskKey& key, const RendezvousMessage& answer);

  const std::unique_ptr<DatagramPort> port_;
  const Options options_;
  const Address local_;
  std::array<Handler*, kServices> handlers_ = {};
  absl::flat_hash_map<uint64_t, Pending> pending_;                          // by id
  absl::flat_hash_map<std::pair<Offer::Service, uint64_t>, uint64_t> ids_;  // by context
  absl::flat_hash_map<AskKey, RendezvousMessage> answers_;
  std::deque<AskKey> oldest_answers_;
  uint64_t last_id_ = 0;
  int64_t next_ns_ = INT64_MAX;
  int64_t now_ns_ = 0;
  Stats stats_;
};

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_RENDEZVOUS_H_
