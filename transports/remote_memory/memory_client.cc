// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/remote_memory/memory_client.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace weft {
namespace {

// Bursts of completions that a Poll() takes: what they resume may go on for ever.
constexpr int kBursts = 4;
constexpr absl::Duration kGrantAgainMin = absl::Microseconds(20);
constexpr absl::Duration kGrantAgainMax = absl::Milliseconds(1);

const char* MessageOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kPermissionDenied:
      return "the key does not allow it: wrong, revoked, for somebody else or too narrow";
    case absl::StatusCode::kAborted:
      return "not executed, as an operation before it has failed; it may be tried again";
    case absl::StatusCode::kUnavailable:
      return "the peer cannot be reached; whether it was executed is not known";
    case absl::StatusCode::kInvalidArgument:
      return "not executed: an unknown peer, bytes that are not registered, or a wrong offset";
    default:
      return "the operation has failed";
  }
}

// INT64_MAX for never, as that of an infinite timeout is.
int64_t EndNs(int64_t now_ns, absl::Duration timeout) {
  const int64_t timeout_ns = absl::ToInt64Nanoseconds(timeout);
  return timeout_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + timeout_ns;
}

}  // namespace

struct MemoryClient::GrantWait {
  GrantWait(MemoryClient& client, const Peer& peer)
      : client(client), peer(peer), next(client.grants_) {
    if (next != nullptr) next->previous = this;
    client.grants_ = this;
  }
  ~GrantWait() {
    (previous == nullptr ? client.grants_ : previous->next) = next;
    if (next != nullptr) next->previous = previous;
  }
  GrantWait(const GrantWait&) = delete;
  GrantWait& operator=(const GrantWait&) = delete;

  MemoryClient& client;
  const Peer peer;
  bool unreachable = false;
  GrantWait* previous = nullptr;
  GrantWait* next;
};

absl::Status MemoryClient::Awaiter::status() const {
  if (completion_.code == absl::StatusCode::kOk) return absl::OkStatus();
  if (!client_.memory_->status().ok()) return client_.memory_->status();
  return absl::Status(completion_.code, MessageOf(completion_.code));
}

MemoryClient::MemoryClient(Loop& loop, std::unique_ptr<RemoteMemory> memory, size_t begun_max)
    : loop_(loop), memory_(std::move(memory)), slots_(begun_max, nullptr) {
  for (size_t i = begun_max; i > 0; --i) free_.push_back(static_cast<uint32_t>(i - 1));
  loop_.Add(this);
}

MemoryClient::~MemoryClient() { loop_.Remove(this); }

MemoryClient::ReadWrite MemoryClient::Read(const Peer& peer, const RemoteKey& key, uint64_t offset,
                                           absl::Span<uint8_t> local) {
  return ReadWrite(*this, {.kind = MemoryOperation::Kind::kRead,
                           .peer = peer,
                           .key = key,
                           .offset = offset,
                           .local = local});
}

MemoryClient::ReadWrite MemoryClient::Write(const Peer& peer, const RemoteKey& key, uint64_t offset,
                                            absl::Span<uint8_t> local) {
  return ReadWrite(*this, {.kind = MemoryOperation::Kind::kWrite,
                           .peer = peer,
                           .key = key,
                           .offset = offset,
                           .local = local});
}

MemoryClient::Atomic MemoryClient::CompareSwap(const Peer& peer, const RemoteKey& key,
                                               uint64_t offset, uint64_t compare, uint64_t swap) {
  return Atomic(*this, {.kind = MemoryOperation::Kind::kCompareSwap,
                        .peer = peer,
                        .key = key,
                        .offset = offset,
                        .local = {},
                        .compare = compare,
                        .operand = swap});
}

MemoryClient::Atomic MemoryClient::FetchAdd(const Peer& peer, const RemoteKey& key, uint64_t offset,
                                            uint64_t add) {
  return Atomic(*this, {.kind = MemoryOperation::Kind::kFetchAdd,
                        .peer = peer,
                        .key = key,
                        .offset = offset,
                        .local = {},
                        .operand = add});
}

Task<absl::StatusOr<RemoteKey>> MemoryClient::Grant(Peer peer, MemoryRegion region, size_t offset,
                                                    size_t bytes, MemoryAccess access,
                                                    absl::Duration timeout) {
  const int64_t end_ns = EndNs(loop_.now_ns(), timeout);
  GrantWait wait(*this, peer);
  absl::Duration pause = kGrantAgainMin;
  while (true) {
    absl::StatusOr<RemoteKey> key = memory_->Grant(peer, region, offset, bytes, access);
    if (key.ok() || !absl::IsUnavailable(key.status()) || wait.unreachable ||
        !memory_->status().ok() || loop_.now_ns() >= end_ns) {
      co_return key;
    }
    co_await loop_.Sleep(pause);
    pause = std::min(2 * pause, kGrantAgainMax);
    if (wait.unreachable) co_return absl::UnavailableError("the peer cannot be reached");
  }
}

void MemoryClient::Begin(Awaiter* awaiter) {
  // Behind those that wait already, so that the order is kept.
  if (first_waiting_ == nullptr && Post(awaiter)) return;
  Queue(awaiter);
}

bool MemoryClient::Post(Awaiter* awaiter) {
  if (free_.empty()) return false;
  const uint32_t slot = free_.back();
  awaiter->operation_.context = slot;
  if (memory_->Post({&awaiter->operation_, 1}) == 0) return false;
  free_.pop_back();
  slots_[slot] = awaiter;
  awaiter->state_ = Awaiter::State::kBegun;
  return true;
}

void MemoryClient::Queue(Awaiter* awaiter) {
  awaiter->state_ = Awaiter::State::kWaiting;
  awaiter->previous_ = last_waiting_;
  (last_waiting_ == nullptr ? first_waiting_ : last_waiting_->next_) = awaiter;
  last_waiting_ = awaiter;
}

void MemoryClient::Unqueue(Awaiter* awaiter) {
  (awaiter->previous_ == nullptr ? first_waiting_ : awaiter->previous_->next_) = awaiter->next_;
  (awaiter->next_ == nullptr ? last_waiting_ : awaiter->next_->previous_) = awaiter->previous_;
  awaiter->previous_ = awaiter->next_ = nullptr;
}

void MemoryClient::GiveUp(Awaiter* awaiter) {
  if (awaiter->state_ == Awaiter::State::kWaiting) Unqueue(awaiter);
  if (awaiter->state_ == Awaiter::State::kBegun) slots_[awaiter->operation_.context] = nullptr;
}

void MemoryClient::End(Awaiter* awaiter, const MemoryCompletion& completion) {
  awaiter->completion_ = completion;
  awaiter->state_ = Awaiter::State::kEnded;
  awaiter->awaiting_.resume();
}

size_t MemoryClient::Poll() {
  size_t work = 0;
  size_t ended = completions_.size();
  for (int burst = 0; burst < kBursts && ended == completions_.size(); ++burst) {
    ended = memory_->Poll(absl::MakeSpan(completions_));
    work += ended;
    for (size_t i = 0; i < ended; ++i) {
      const MemoryCompletion completion = completions_[i];
      Awaiter* const awaiter = std::exchange(slots_[completion.context], nullptr);
      free_.push_back(static_cast<uint32_t>(completion.context));
      if (awaiter != nullptr) End(awaiter, completion);
    }
  }
  // Packets too are work, of those who only have memory: a loop that serves does not go to sleep.
  const uint64_t moved = memory_->stats().sent.value() + memory_->stats().received.value();
  if (moved != moved_) ++work;
  moved_ = moved;
  if (memory_->has_events()) work += OnEvents();
  if (first_waiting_ != nullptr) work += BeginWaiting();
  if (!memory_->status().ok()) [[unlikely]] {
    work += EndAll();
  }
  return work;
}

size_t MemoryClient::BeginWaiting() {
  size_t begun = 0;
  while (first_waiting_ != nullptr) {
    Awaiter* const awaiter = first_waiting_;
    if (!Post(awaiter)) break;
    Unqueue(awaiter);
    ++begun;
  }
  return begun;
}

// The port takes nothing any more. Those that come while others are resumed wait for the next
// round.
size_t MemoryClient::EndAll() {
  size_t waiting = 0;
  for (const Awaiter* awaiter = first_waiting_; awaiter != nullptr; awaiter = awaiter->next_) {
    ++waiting;
  }
  size_t ended = 0;
  for (; ended < waiting && first_waiting_ != nullptr; ++ended) {
    Awaiter* const awaiter = first_waiting_;
    Unqueue(awaiter);
    End(awaiter, {.code = absl::StatusCode::kUnavailable});
  }
  return ended;
}

size_t MemoryClient::OnEvents() {
  std::array<PortEvent, 16> events;
  const size_t count = memory_->TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < count; ++i) {
    const PortEvent& event = events[i];
    if (event.kind == PortEvent::Kind::kPeerUnreachable ||
        event.kind == PortEvent::Kind::kPeerClosed) {
      for (GrantWait* wait = grants_; wait != nullptr; wait = wait->next) {
        if (wait->peer == event.peer) wait->unreachable = true;
      }
    }
    if (on_event_) on_event_(event);
  }
  return count;
}

}  // namespace weft
