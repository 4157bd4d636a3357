// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/connection_handle.h"

#include <cassert>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "weft/tcp/connection_state.h"
#include "weft/tcp/connections.h"

namespace weft::tcp {
namespace {

absl::Status Gone() { return absl::NotFoundError("the connection is gone"); }

}  // namespace

absl::Status internal::ConnectionState::Status() const {
  if (closed && error == ECONNABORTED && locally_closed) {
    return absl::FailedPreconditionError("the connection was aborted by this side");
  }
  if (closed && error != 0) {
    return absl::UnavailableError(absl::StrCat("the connection failed: ", std::strerror(error)));
  }
  if (locally_closed) {
    return absl::FailedPreconditionError("the connection was closed by this side");
  }
  if (closed) return absl::FailedPreconditionError("the connection is closed");
  return absl::OkStatus();
}

void ConnectionHandler::OnRemoteClose(Connection& connection) { connection.Close(); }

Connection::Connection(internal::ConnectionState* state) : state_(state) { state_->handle = this; }

void Connection::Take(Connection& other) {
  state_ = std::exchange(other.state_, nullptr);
  if (state_ != nullptr) state_->handle = this;
}

void Connection::Reset() {
  if (state_ == nullptr) return;
  internal::ConnectionState* const state = std::exchange(state_, nullptr);
  state->owner->LetGo(*state);
}

void Connection::Serve(std::unique_ptr<ConnectionHandler> handler) && {
  if (state_ == nullptr) return;
  internal::ConnectionState& state = *state_;
  assert(state.reader == nullptr && state.writer == nullptr && "a coroutine waits for it");
  // The one that is replaced may be the one that runs.
  if (state.handler != nullptr) state.retired = std::move(state.handler);
  state.handler = std::move(handler);
  state.own = std::move(*this);
  state.fresh = true;
  state.owner->SettleLater(state);
}

bool Connection::readable() const { return state_ != nullptr && state_->readable(); }
bool Connection::writable() const { return state_ != nullptr && state_->writable(); }
bool Connection::remote_closed() const { return state_ != nullptr && state_->remote_closed; }

absl::Span<const uint8_t> Connection::ReadView() const {
  if (state_ == nullptr || state_->locally_closed) return {};
  return state_->port->ReadView(state_->id);
}

void Connection::Consume(size_t n) {
  if (state_ != nullptr) state_->port->Consume(state_->id, n);
}

size_t Connection::Send(absl::Span<const uint8_t> bytes) {
  const uint8_t* from = bytes.data();
  return Send(bytes.size(), [&from](absl::Span<uint8_t> room) {
    std::memcpy(room.data(), from, room.size());
    from += room.size();
    return room.size();
  });
}

size_t Connection::Send(size_t bytes, StreamWriter writer) {
  if (!writable()) return 0;
  return state_->port->Send(state_->id, bytes, writer);
}

bool Connection::SendBuffer(Buffer* buffer) {
  return writable() && state_->port->SendBuffer(state_->id, buffer);
}

void Connection::CloseWrite() {
  if (!writable()) return;
  state_->write_closed = true;
  state_->port->CloseWrite(state_->id);
}

void Connection::Close() {
  if (state_ != nullptr) state_->owner->Close(*state_);
}

void Connection::Abort() {
  if (state_ != nullptr) state_->owner->Abort(*state_);
}

ReadAwaiter Connection::Read(absl::Duration timeout) { return ReadAwaiter(state_, timeout); }

WriteAwaiter Connection::Write(absl::Span<const uint8_t> bytes, absl::Duration timeout) {
  return WriteAwaiter(state_, bytes, timeout);
}

WritableAwaiter Connection::Writable(absl::Duration timeout) {
  return WritableAwaiter(state_, timeout);
}

absl::Status Connection::status() const { return state_ == nullptr ? Gone() : state_->Status(); }

absl::Status Connection::SetOptions(const StreamOptions& options) {
  return state_ == nullptr ? Gone() : state_->port->SetOptions(state_->id, options);
}

absl::StatusOr<StreamInfo> Connection::Info() const {
  if (state_ == nullptr) return Gone();
  return state_->port->Info(state_->id);
}

absl::StatusOr<Address> Connection::PeerAddress() const {
  if (state_ == nullptr) return Gone();
  return state_->port->PeerAddress(state_->id);
}

absl::StatusOr<Address> Connection::LocalAddress() const {
  if (state_ == nullptr) return Gone();
  return state_->port->LocalAddress(state_->id);
}

StreamId Connection::id() const { return state_ == nullptr ? StreamId() : state_->id; }

Connections* Connection::connections() const { return state_ == nullptr ? nullptr : state_->owner; }

}  // namespace weft::tcp
