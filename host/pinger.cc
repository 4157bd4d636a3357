// SPDX-License-Identifier: Apache-2.0
#include "weft/host/pinger.h"

#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"

namespace weft {

Pinger::Pinger(Loop& loop, netstack::NetstackTransport& netstack)
    : loop_(loop),
      netstack_(netstack),
      id_(static_cast<uint16_t>(getpid())),
      timer_([](void* self, int64_t) { static_cast<Pinger*>(self)->SendNext(); }, this) {}

Pinger::~Pinger() {
  if (done_ == nullptr) return;
  if (const auto stack = netstack_.StackOfThisThread()) stack->SetEchoObserver(nullptr);
}

void Pinger::Start(const Request& request, Done done) {
  if (done_ != nullptr) {
    return done(absl::UnavailableError("another ping is under way; try again in a moment"));
  }
  ++id_;  // what answers the last run is late
  request_ = request;
  done_ = std::move(done);
  echoes_.clear();
  open_ = 0;
  SendNext();
}

void Pinger::SendNext() {
  if (static_cast<int>(echoes_.size()) == request_.count) return Finish(absl::OkStatus());
  const auto stack = netstack_.StackOfThisThread();
  if (stack == nullptr) {
    return Finish(absl::FailedPreconditionError(
        "the worker has no port open, and so no network stack to ping from"));
  }
  stack->SetEchoObserver(this);
  const auto sequence = static_cast<uint16_t>(echoes_.size());
  // The reply to what is sent to ourselves may come at once.
  echoes_.push_back({.sent_ns = loop_.clock().NowNs()});
  ++open_;
  const absl::Status status = stack->SendEcho(request_.to, id_, sequence, request_.bytes);
  if (!status.ok()) return Finish(status);
  if (done_ == nullptr) return;
  const bool last = static_cast<int>(echoes_.size()) == request_.count;
  const int64_t wait_ns = last ? request_.timeout_ns : request_.interval_ns;
  loop_.timers().Schedule(timer_, loop_.clock().NowNs() + wait_ns);
  FinishIfComplete();
}

void Pinger::FinishIfComplete() {
  if (open_ == 0 && static_cast<int>(echoes_.size()) == request_.count) Finish(absl::OkStatus());
}

void Pinger::Finish(absl::Status status) {
  loop_.timers().Cancel(timer_);
  if (const auto stack = netstack_.StackOfThisThread()) stack->SetEchoObserver(nullptr);
  Done done = std::exchange(done_, nullptr);
  if (done == nullptr) return;
  if (!status.ok()) return done(std::move(status));
  done(std::exchange(echoes_, {}));
}

Pinger::Echo* Pinger::Find(uint16_t id, uint16_t sequence) {
  if (id != id_ || sequence >= echoes_.size()) return nullptr;
  Echo& echo = echoes_[sequence];
  // A second reply to one request changes nothing.
  return echo.rtt_ns >= 0 || echo.error != 0 ? nullptr : &echo;
}

void Pinger::OnEchoReply(const netstack::IpAddress& from, uint16_t id, uint16_t sequence,
                         uint8_t ttl, size_t bytes) {
  Echo* const echo = Find(id, sequence);
  if (echo == nullptr) return;
  echo->rtt_ns = loop_.clock().NowNs() - echo->sent_ns;
  echo->from = from;
  echo->ttl = ttl;
  echo->bytes = bytes;
  --open_;
  FinishIfComplete();
}

void Pinger::OnEchoError(const netstack::IpAddress&, uint16_t id, uint16_t sequence, int error) {
  Echo* const echo = Find(id, sequence);
  if (echo == nullptr) return;
  echo->error = error;
  --open_;
  FinishIfComplete();
}

}  // namespace weft
