// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/awaiters.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/tcp/connection_state.h"
#include "weft/tcp/connections.h"

namespace weft::tcp {
namespace {

using internal::ConnectionState;

absl::Status NoConnection() { return absl::FailedPreconditionError("there is no connection"); }

}  // namespace

void internal::Waiter::WaitAt(Waiter** place, Loop& loop, std::coroutine_handle<> awaiting) {
  while (*place != nullptr) place = &(*place)->next_;
  *place = this;
  place_ = place;
  awaiting_ = awaiting;
  loop_ = &loop;
  if (timeout_ == absl::InfiniteDuration()) return;
  const int64_t now_ns = loop.now_ns();
  const int64_t timeout_ns = std::max<int64_t>(absl::ToInt64Nanoseconds(timeout_), 0);
  loop.timers().Schedule(timer_, now_ns + std::min(timeout_ns, INT64_MAX - now_ns));
}

void internal::Waiter::Leave() {
  if (place_ == nullptr) return;
  *place_ = next_;
  if (next_ != nullptr) next_->place_ = place_;
  place_ = nullptr;
  next_ = nullptr;
  if (timer_.armed()) loop_->timers().Cancel(timer_);
}

void internal::Waiter::OnTimeout(void* self, int64_t) {
  auto* waiter = static_cast<Waiter*>(self);
  waiter->timed_out_ = true;
  waiter->Resume();
}

absl::Status internal::Waiter::TimedOut(const char* waited_for) const {
  return absl::DeadlineExceededError(
      absl::StrCat(waited_for, " within ", absl::FormatDuration(timeout_)));
}

// Reading.

bool ReadAwaiter::IsReady() {
  return state_ == nullptr || !state_->readable() || !state_->port->ReadView(state_->id).empty();
}

void ReadAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  assert(state_->reader == nullptr && "one coroutine reads at a time");
  WaitAt(&state_->reader, state_->owner->loop(), awaiting);
}

absl::StatusOr<absl::Span<const uint8_t>> ReadAwaiter::await_resume() {
  if (state_ == nullptr) return NoConnection();
  if (!state_->locally_closed) {
    const absl::Span<const uint8_t> view = state_->port->ReadView(state_->id);
    if (!view.empty()) return view;
    if (state_->remote_closed && state_->error == 0) return view;
  }
  if (absl::Status status = state_->Status(); !status.ok()) return status;
  return TimedOut("nothing came");
}

// Writing.

bool WriteAwaiter::IsReady() {
  if (state_ == nullptr || !state_->writable()) return true;
  const uint8_t* from = left_.data();
  const size_t sent =
      state_->port->Send(state_->id, left_.size(), [&from](absl::Span<uint8_t> room) {
        std::memcpy(room.data(), from, room.size());
        from += room.size();
        return room.size();
      });
  left_.remove_prefix(sent);
  return left_.empty();
}

void WriteAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  assert(state_->writer == nullptr && "one coroutine writes at a time");
  WaitAt(&state_->writer, state_->owner->loop(), awaiting);
}

absl::Status WriteAwaiter::await_resume() {
  if (state_ == nullptr) return NoConnection();
  if (left_.empty() && state_->error == 0) return absl::OkStatus();
  if (absl::Status status = state_->Status(); !status.ok()) return status;
  if (state_->write_closed) {
    return absl::FailedPreconditionError("the connection is closed for writing");
  }
  return TimedOut("there was no room for all bytes");
}

bool WritableAwaiter::IsReady() {
  return state_ == nullptr || !state_->writable() || !state_->port->Reserve(state_->id, 1).empty();
}

void WritableAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  assert(state_->writer == nullptr && "one coroutine writes at a time");
  WaitAt(&state_->writer, state_->owner->loop(), awaiting);
}

absl::Status WritableAwaiter::await_resume() {
  if (state_ == nullptr) return NoConnection();
  if (absl::Status status = state_->Status(); !status.ok()) return status;
  if (state_->write_closed) {
    return absl::FailedPreconditionError("the connection is closed for writing");
  }
  return timed_out() ? TimedOut("there was no room") : absl::OkStatus();
}

// Connecting.

ConnectAwaiter::~ConnectAwaiter() {
  if (!waits()) return;
  Leave();
  connections_.Abort(*state_);
}

bool ConnectAwaiter::IsReady() { return !state_->connecting || state_->closed; }

bool ConnectAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  absl::StatusOr<ConnectionState*> state = connections_.BeginConnect(address_);
  if (!state.ok()) {
    begun_ = state.status();
    return false;
  }
  state_ = *state;
  WaitAt(&state_->writer, connections_.loop(), awaiting);
  return true;
}

absl::StatusOr<Connection> ConnectAwaiter::await_resume() {
  if (!begun_.ok()) return begun_;
  if (state_->closed) {
    return absl::UnavailableError(absl::StrCat("cannot connect to ", address_.ToString(), ": ",
                                               std::strerror(state_->error)));
  }
  if (state_->connecting) {
    connections_.Abort(*state_);
    return TimedOut(absl::StrCat("no answer of ", address_.ToString()).c_str());
  }
  return Connection(state_);
}

// Accepting.

bool AcceptAwaiter::IsReady() {
  return listener_ == nullptr || listener_->owner == nullptr || listener_->first != nullptr;
}

void AcceptAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  WaitAt(&listener_->waiter, listener_->owner->loop(), awaiting);
}

absl::StatusOr<Connection> AcceptAwaiter::await_resume() {
  if (listener_ == nullptr || listener_->owner == nullptr) {
    return absl::FailedPreconditionError("nothing listens any more");
  }
  if (listener_->first == nullptr) return TimedOut("nobody connected");
  ConnectionState* const state = listener_->Pop();
  state->queued = false;
  return Connection(state);
}

}  // namespace weft::tcp
