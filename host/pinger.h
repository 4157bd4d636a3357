// SPDX-License-Identifier: Apache-2.0
//
// Echo requests (ICMP, ICMPv6) from the network stack of a running worker, for operators: whether
// another machine is reached, and in what time.
//
//   Pinger pinger(worker.loop(), *host.netstack());
//   pinger.Start({.to = *IpAddress::Parse("10.0.0.1"), .count = 3},
//                [](absl::StatusOr<std::vector<Pinger::Echo>> echoes) { ... });
#ifndef WEFT_HOST_PINGER_H_
#define WEFT_HOST_PINGER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "weft/core/loop.h"
#include "weft/core/timer_wheel.h"
#include "weft/netstack/ip_address.h"
#include "weft/netstack/netstack_transport.h"
#include "weft/netstack/stack.h"

namespace weft {

// The loop's thread, but for the constructor. The stack is that of the loop's thread, and moves
// only while the thread polls a port on it.
class Pinger final : private netstack::EchoObserver {
 public:
  struct Request {
    netstack::IpAddress to;
    int count = 1;
    int64_t interval_ns = 200'000'000;
    size_t bytes = 56;                   // payload of each
    int64_t timeout_ns = 1'000'000'000;  // how long the last is waited for
  };
  struct Echo {
    int64_t sent_ns = 0;
    int64_t rtt_ns = -1;  // -1: no reply
    int error = 0;        // an errno where the network or the stack said that there will be none
    netstack::IpAddress from = {};
    uint8_t ttl = 0;
    size_t bytes = 0;
  };
  // Each request in order; or why none could be sent.
  using Done = absl::AnyInvocable<void(absl::StatusOr<std::vector<Echo>>)>;

  // Both outlive it.
  Pinger(Loop& loop, netstack::NetstackTransport& netstack);
  ~Pinger() override;

  // `done` is called once, when each request has its reply or error or the last has timed out;
  // never after the pinger is gone. Errors are given to it: FailedPrecondition where the thread has
  // no stack, Unavailable while another run goes on, those of Stack::SendEcho().
  void Start(const Request& request, Done done);

 private:
  void SendNext();
  void Finish(absl::Status status);
  void FinishIfComplete();
  Echo* Find(uint16_t id, uint16_t sequence);
  void OnEchoReply(const netstack::IpAddress& from, uint16_t id, uint16_t sequence, uint8_t ttl,
                   size_t bytes) override;
  void OnEchoError(const netstack::IpAddress& to, uint16_t id, uint16_t sequence,
                   int error) override;

  Loop& loop_;
  netstack::NetstackTransport& netstack_;
  uint16_t id_ = 0;
  Request request_;
  Done done_;  // null: not running
  std::vector<Echo> echoes_;
  int open_ = 0;  // of echoes_, those without reply or error
  Timer timer_;   // the next request, or the end
};

}  // namespace weft

#endif  // WEFT_HOST_PINGER_H_
