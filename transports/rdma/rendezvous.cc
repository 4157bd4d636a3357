// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/rdma/rendezvous.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"

namespace weft::rdma {
namespace {

using Kind = RendezvousMessage::Kind;

// Bounds what one Poll() does, so that a flood of questions does not keep it from datagrams.
constexpr size_t kBurst = 16;
constexpr size_t kMaxBursts = 8;
// Who has not come to wait so long between two times has asked too few times to give up: he was
// not polled, and neither may those have been whom he asks.
constexpr int64_t kTriedNs = 32 * Rendezvous::kFirstRetryNs;

// Of questions. To ask again those whom a busy device keeps waiting allocates nothing.
using Ids = absl::InlinedVector<uint64_t, 64>;

}  // namespace

Rendezvous::Rendezvous(std::unique_ptr<DatagramPort> port, Options options)
    : port_(std::move(port)), options_(std::move(options)), local_(port_->local_address()) {}

absl::Status Rendezvous::Ask(const Address& to, const Offer& offer, uint64_t context,
                             int64_t now_ns) {
  if (pending_.size() >= kMaxAsks) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxAsks, " questions to peers are under way"));
  }
  if (const auto peer = asking().Resolve(to); !peer.ok()) return peer.status();
  Pending pending = {.to = to, .offer = offer, .id = ++last_id_, .context = context};
  pending.offer.incarnation = options_.incarnation;
  pending.offer.worker = options_.worker;
  pending.wait_ns = kFirstRetryNs;
  pending.retry_ns = now_ns + kFirstRetryNs;
  pending.end_ns = now_ns + options_.timeout_ns;
  next_ns_ = std::min(next_ns_, pending.retry_ns);
  ++stats_.asked;
  SendAsk(pending);
  ids_[{offer.service, context}] = pending.id;
  pending_.emplace(pending.id, std::move(pending));
  return absl::OkStatus();
}

void Rendezvous::Cancel(Offer::Service service, uint64_t context) {
  const auto id = ids_.find({service, context});
  if (id != ids_.end()) Remove(id->second);
}

Rendezvous::Pending Rendezvous::Remove(uint64_t id) {
  const auto found = pending_.find(id);
  Pending pending = std::move(found->second);
  pending_.erase(found);
  const auto context = ids_.find({pending.offer.service, pending.context});
  if (context != ids_.end() && context->second == id) ids_.erase(context);
  return pending;
}

void Rendezvous::SendAsk(const Pending& pending) {
  const auto peer = asking().Resolve(pending.to);
  if (!peer.ok()) return;  // then it times out
  RendezvousMessage message = {.kind = Kind::kAsk, .id = pending.id, .offer = pending.offer};
  if (options_.asking != nullptr) message.asked_from = local_;
  Transmit(asking(), *peer, message);
}

void Rendezvous::SayBye(const Address& to) {
  const auto peer = port_->Resolve(to);
  if (!peer.ok()) return;
  RendezvousMessage message = {.kind = Kind::kBye};
  message.offer.incarnation = options_.incarnation;
  message.offer.worker = options_.worker;
  Transmit(*port_, *peer, message);
}

void Rendezvous::Transmit(DatagramPort& port, const Peer& to, const RendezvousMessage& message) {
  Datagram out[] = {{to, port.pool().Allocate()}};
  if (!out[0].buffer) return;  // as if it were lost on the way
  uint8_t bytes[RendezvousMessage::kMaxBytes];
  const size_t size = WriteRendezvous(message, absl::MakeSpan(bytes));
  std::memcpy(out[0].buffer.Append(size), bytes, size);
  port.Send(absl::MakeSpan(out));
}

size_t Rendezvous::Poll(int64_t now_ns) {
  now_ns_ = now_ns;
  size_t work = PollPort(*port_);
  if (options_.asking != nullptr) work += PollPort(*options_.asking);
  if (now_ns >= next_ns_) work += RetryDue(now_ns);
  return work;
}

size_t Rendezvous::PollPort(DatagramPort& port) {
  Datagram in[kBurst];
  size_t work = 0;
  for (size_t burst = 0; burst < kMaxBursts; ++burst) {
    const size_t n = port.Receive(absl::MakeSpan(in));
    for (Datagram& datagram : absl::MakeSpan(in, n)) {
      OnMessage(port, datagram.peer, datagram.buffer.bytes());
      datagram.buffer.Reset();
    }
    work += n;
    if (n < kBurst) break;
  }
  while (port.has_events()) {
    PortEvent events[8];
    const size_t n = port.TakeEvents(absl::MakeSpan(events));
    for (const PortEvent& event : absl::MakeSpan(events, n)) {
      // Other errors may pass, as that there is no route while a link is down.
      if (event.kind != PortEvent::Kind::kPeerUnreachable || event.error != ECONNREFUSED) continue;
      if (const auto to = port.AddressOf(event.peer); to.ok()) OnUnreachable(*to);
    }
    work += n;
  }
  return work;
}

void Rendezvous::OnMessage(DatagramPort& port, const Peer& from, absl::Span<const uint8_t> bytes) {
  const absl::StatusOr<Address> address = port.AddressOf(from);
  if (!address.ok()) return;
  const std::optional<RendezvousMessage> message = ParseRendezvous(bytes, *address);
  if (!message.has_value()) {
    ++stats_.malformed;
    return;
  }
  switch (message->kind) {
    case Kind::kAsk: {
      const bool own = message->asked_from.kind() == Address::Kind::kNone;
      return OnAskMessage(from, own ? *address : message->asked_from, *message);
    }
    case Kind::kAnswer:
    case Kind::kRefuse:
      return OnReply(*address, *message);
    case Kind::kBye:
      for (Handler* handler : handlers_) {
        if (handler != nullptr) handler->OnBye(*address, message->offer.incarnation);
      }
      return;
  }
}

void Rendezvous::OnAskMessage(const Peer& from, const Address& who,
                              const RendezvousMessage& message) {
  AskKey key{who, message.offer.incarnation, message.id};
  if (const auto known = answers_.find(key); known != answers_.end()) {
    ++stats_.answered_again;
    return Transmit(*port_, from, known->second);
  }
  RendezvousMessage answer = {.id = message.id};
  Handler* const handler = handlers_[static_cast<size_t>(message.offer.service)];
  const absl::StatusOr<Offer> offer = handler == nullptr
                                          ? absl::UnimplementedError("the port does not offer this")
                                          : handler->OnAsk(who, message.offer);
  if (offer.ok()) {
    ++stats_.answered;
    answer.kind = Kind::kAnswer;
    answer.offer = *offer;
  } else {
    ++stats_.refused;
    answer.kind = Kind::kRefuse;
    answer.code = static_cast<uint8_t>(offer.status().code());
    answer.reason = std::string(offer.status().message());
  }
  answer.offer.service = message.offer.service;
  answer.offer.incarnation = options_.incarnation;
  answer.offer.worker = options_.worker;
  Transmit(*port_, from, answer);
  // A refusal may be another one next time, and costs little to give again.
  if (offer.ok()) Remember(key, answer);
}

void Rendezvous::Remember(const AskKey& key, const RendezvousMessage& answer) {
  if (oldest_answers_.size() >= kMaxAnswers) {
    answers_.erase(oldest_answers_.front());
    oldest_answers_.pop_front();
  }
  answers_.emplace(key, answer);
  oldest_answers_.push_back(key);
}

void Rendezvous::OnReply(const Address& from, const RendezvousMessage& message) {
  const auto found = pending_.find(message.id);
  if (found == pending_.end() || found->second.to != from ||
      found->second.offer.service != message.offer.service) {
    ++stats_.stale;
    return;
  }
  if (message.kind == Kind::kRefuse) {
    const auto code = static_cast<absl::StatusCode>(message.code);
    const absl::Status refusal(code, absl::StrCat(from.ToString(), " refused: ", message.reason));
    if (code != absl::StatusCode::kResourceExhausted) return Fail(message.id, refusal);
    found->second.refusal = refusal;  // that passes
    return;
  }
  const Pending pending = Remove(message.id);
  Handler* const handler = handlers_[static_cast<size_t>(pending.offer.service)];
  if (handler != nullptr) handler->OnAnswer(pending.context, message.offer);
}

void Rendezvous::Fail(uint64_t id, const absl::Status& status) {
  ++stats_.failed;
  const Pending pending = Remove(id);
  Handler* const handler = handlers_[static_cast<size_t>(pending.offer.service)];
  if (handler != nullptr) handler->OnFailed(pending.context, status);
}

void Rendezvous::OnUnreachable(const Address& to) {
  Ids failed;
  for (const auto& [id, pending] : pending_) {
    if (pending.to == to) failed.push_back(id);
  }
  std::sort(failed.begin(), failed.end());
  for (const uint64_t id : failed) {
    // A handler may have canceled it meanwhile.
    if (!pending_.contains(id)) continue;
    Fail(id, absl::UnavailableError(absl::StrCat("nobody listens at ", to.ToString())));
  }
}

size_t Rendezvous::RetryDue(int64_t now_ns) {
  Ids due;
  for (const auto& [id, pending] : pending_) {
    if (now_ns >= std::min(pending.retry_ns, pending.end_ns)) due.push_back(id);
  }
  std::sort(due.begin(), due.end());  // that of a hash table would differ from run to run
  for (const uint64_t id : due) {
    const auto found = pending_.find(id);
    if (found == pending_.end()) continue;
    Pending& pending = found->second;
    if (now_ns >= pending.end_ns && pending.wait_ns < kTriedNs) {
      pending.end_ns = now_ns + 2 * kTriedNs;
    }
    if (now_ns >= pending.end_ns) {
      Fail(id, !pending.refusal.ok() ? pending.refusal
                                     : absl::DeadlineExceededError(absl::StrCat(
                                           pending.to.ToString(), " did not answer in ",
                                           options_.timeout_ns / 1'000'000, " ms")));
      continue;
    }
    pending.wait_ns = std::min(2 * pending.wait_ns, kLastRetryNs);
    pending.retry_ns = now_ns + pending.wait_ns;
    ++stats_.asked_again;
    SendAsk(pending);
  }
  next_ns_ = INT64_MAX;
  for (const auto& [id, pending] : pending_) {
    next_ns_ = std::min({next_ns_, pending.retry_ns, pending.end_ns});
  }
  return due.size();
}

std::array<int, 2> Rendezvous::wait_fds() const {
  return {port_->wait_fd(), options_.asking != nullptr ? options_.asking->wait_fd() : -1};
}

bool Rendezvous::Arm() {
  if (!port_->Arm()) return false;
  if (options_.asking == nullptr || options_.asking->Arm()) return true;
  port_->Disarm();
  return false;
}

void Rendezvous::Disarm() {
  port_->Disarm();
  if (options_.asking != nullptr) options_.asking->Disarm();
}

void Rendezvous::BindToThisThread() {
  port_->BindToThisThread();
  if (options_.asking != nullptr) options_.asking->BindToThisThread();
}

}  // namespace weft::rdma
