// SPDX-License-Identifier: Apache-2.0
//
// How connections come and go; what happens to them is in connection_events.cc.
#include "weft/tcp/connections.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::tcp {

Connections::Connections(Loop& loop, std::unique_ptr<StreamPort> port, ConnectionsOptions options)
    : loop_(loop), port_(std::move(port)), options_(std::move(options)) {
  loop_.Add(this);
}

Connections::~Connections() {
  loop_.Remove(this);
  for (const auto& listener : listeners_) {
    while (listener->waiter != nullptr) listener->waiter->Leave();
    listener->owner = nullptr;
  }
  // First all handles, as handlers may hold those of other connections.
  for (State& state : states_) {
    if (state.reader != nullptr) state.reader->Leave();
    if (state.writer != nullptr) state.writer->Leave();
    if (state.handle != nullptr) state.handle->state_ = nullptr;
  }
  for (State& state : states_) state.handler.reset();
}

absl::StatusOr<std::shared_ptr<internal::ListenerState>> Connections::AddListener(
    const Address& address, int backlog) {
  absl::StatusOr<Address> bound = port_->Listen(address, backlog);
  if (!bound.ok()) return bound.status();
  auto listener = std::make_shared<internal::ListenerState>();
  listener->owner = this;
  listener->address = *std::move(bound);
  listener->backlog = static_cast<size_t>(std::max(backlog, 1));
  listeners_.push_back(listener);
  return listener;
}

absl::StatusOr<Address> Connections::Listen(const Address& address, int backlog,
                                            OnConnection on_connection) {
  auto listener = AddListener(address, backlog);
  if (!listener.ok()) return listener.status();
  (*listener)->on_connection = std::move(on_connection);
  return (*listener)->address;
}

absl::StatusOr<Listener> Connections::Listen(const Address& address, int backlog) {
  auto listener = AddListener(address, backlog);
  if (!listener.ok()) return listener.status();
  return Listener(*std::move(listener));
}

absl::StatusOr<internal::ConnectionState*> Connections::BeginConnect(const Address& address) {
  if (by_id_.size() >= options_.connections_max) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot connect to ", address.ToString(),
                                                     ": there are ", options_.connections_max,
                                                     " connections already"));
  }
  const absl::StatusOr<StreamId> id = port_->Connect(address);
  if (!id.ok()) return id.status();
  State& state = NewState(*id);
  state.connecting = true;
  return &state;
}

absl::Status Connections::Connect(const Address& address,
                                  std::unique_ptr<ConnectionHandler> handler) {
  absl::StatusOr<State*> state = BeginConnect(address);
  if (!state.ok()) return state.status();
  (*state)->handler = std::move(handler);
  (*state)->own = Connection(*state);
  return absl::OkStatus();
}

ConnectAwaiter Connections::Connect(const Address& address, absl::Duration timeout) {
  return ConnectAwaiter(*this, address, timeout);
}

internal::ConnectionState& Connections::NewState(StreamId id) {
  if (free_ == nullptr) free_ = &states_.emplace_back();
  State& state = *std::exchange(free_, free_->next);
  state.owner = this;
  state.port = port_.get();
  state.id = id;
  state.connecting = state.queued = state.remote_closed = state.write_closed = false;
  state.locally_closed = state.closed = state.fresh = state.busy = false;
  state.error = 0;
  state.next = nullptr;
  by_id_.emplace(id.value, &state);
  return state;
}

// Unless somebody still has something to do with it.
void Connections::MaybeFree(State& state) {
  if (!state.closed || state.handle != nullptr || state.queued || state.busy || state.unsettled) {
    return;
  }
  state.id = {};
  state.next = free_;
  free_ = &state;
}

void Connections::Close(State& state) {
  if (state.closed || state.locally_closed) return;
  state.locally_closed = true;
  port_->Close(state.id);
  if (state.reader != nullptr || state.writer != nullptr) SettleLater(state);
}

void Connections::Abort(State& state) {
  if (state.closed) return;
  state.locally_closed = true;
  port_->Abort(state.id);
  if (state.reader != nullptr || state.writer != nullptr) SettleLater(state);
}

void Connections::LetGo(State& state) {
  state.handle = nullptr;
  Close(state);
  MaybeFree(state);
}

void Connections::CloseListener(internal::ListenerState& listener) {
  assert(listener.waiter == nullptr && "a coroutine waits in Accept()");
  listener.open = false;
  while (listener.first != nullptr) {
    State& state = *listener.Pop();
    state.queued = false;
    ++stats_.refused;
    Abort(state);
    MaybeFree(state);
  }
}

void Listener::Reset() {
  const std::shared_ptr<internal::ListenerState> state = std::move(state_);
  if (state != nullptr && state->owner != nullptr) state->owner->CloseListener(*state);
}

const Address& Listener::address() const { return state_->address; }

AcceptAwaiter Listener::Accept(absl::Duration timeout) {
  return AcceptAwaiter(state_.get(), timeout);
}

}  // namespace weft::tcp
