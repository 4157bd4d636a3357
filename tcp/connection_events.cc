// SPDX-License-Identifier: Apache-2.0
//
// What Connections do when something has happened.
#include <utility>

#include "weft/tcp/connections.h"

namespace weft::tcp {
namespace {

bool IsAnyIpv4(const Address& address) {
  return address.kind() == Address::Kind::kIpv4 && address.ipv4() == Address::Ipv4Bytes{};
}
bool IsAnyIpv6(const Address& address) {
  return address.kind() == Address::Kind::kIpv6 && address.ipv6() == Address::Ipv6Bytes{};
}

}  // namespace

// While there is one, handlers and coroutines of the connection may run.
class Connections::Busy {
 public:
  explicit Busy(State& state) : state_(state) { state_.busy = true; }
  ~Busy() {
    state_.retired.reset();
    state_.busy = false;
    state_.owner->MaybeFree(state_);
  }

 private:
  State& state_;
};

size_t Connections::Poll() {
  const size_t settled = SettleAll();
  const size_t n = port_->Poll(absl::MakeSpan(events_));
  for (size_t i = 0; i < n; ++i) Dispatch(events_[i]);
  // Answers need not wait for the loop's next round.
  if (n > 0) port_->Flush();
  if (n == 0 && options_.on_dead != nullptr && !port_->status().ok()) {
    std::exchange(options_.on_dead, nullptr)(port_->status());
  }
  return settled + n;
}

void Connections::Dispatch(const StreamEvent& event) {
  using Kind = StreamEvent::Kind;
  if (event.kind == Kind::kAccepted) return OnAccepted(event.stream);
  const auto it = by_id_.find(event.stream.value);
  if (it == by_id_.end()) return;  // reset as soon as it was accepted
  State& state = *it->second;
  const Busy busy(state);
  if (state.fresh) Settle(state);
  if (event.kind == Kind::kClosed) return OnClosed(state, event.error);
  if (state.locally_closed) return;
  switch (event.kind) {
    case Kind::kConnected:
      return OnConnected(state);
    case Kind::kReadable:
      if (state.handler != nullptr) return state.handler->OnData(state.own);
      if (state.reader != nullptr) state.reader->Try();
      return;
    case Kind::kWritable:
      if (state.handler != nullptr) return state.handler->OnWritable(state.own);
      if (state.writer != nullptr) state.writer->Try();
      return;
    case Kind::kRemoteClosed:
      return OnRemoteClosed(state);
    case Kind::kAccepted:
    case Kind::kClosed:
      return;
  }
}

// The one that it was made to; null if it is not one of ours.
internal::ListenerState* Connections::ListenerOf(StreamId id) {
  if (listeners_.size() == 1) return listeners_[0].get();
  const absl::StatusOr<Address> local = port_->LocalAddress(id);
  if (!local.ok()) return nullptr;
  for (const auto& listener : listeners_) {
    if (listener->address == *local) return listener.get();
  }
  // "::" takes IPv4, too, where nobody has all of that.
  internal::ListenerState* of_all = nullptr;
  for (const auto& listener : listeners_) {
    const Address& address = listener->address;
    if (address.port() != local->port()) continue;
    if (IsAnyIpv4(address) && local->kind() == Address::Kind::kIpv4) return listener.get();
    if (IsAnyIpv6(address)) of_all = listener.get();
  }
  return of_all;
}

void Connections::OnAccepted(StreamId id) {
  internal::ListenerState* const listener = ListenerOf(id);
  if (listener == nullptr || !listener->open || by_id_.size() >= options_.connections_max ||
      (listener->on_connection == nullptr && listener->waiting >= listener->backlog)) {
    ++stats_.refused;
    port_->Abort(id);
    return;
  }
  ++stats_.accepted;
  State& state = NewState(id);
  const Busy busy(state);
  if (listener->on_connection != nullptr) return listener->on_connection(Connection(&state));
  state.queued = true;
  listener->Push(state);
  if (listener->waiter != nullptr) listener->waiter->Try();
}

void Connections::OnConnected(State& state) {
  ++stats_.connected;
  state.connecting = false;
  if (state.handler != nullptr) return state.handler->OnConnected(state.own);
  if (state.writer != nullptr) state.writer->Try();
}

void Connections::OnRemoteClosed(State& state) {
  state.remote_closed = true;
  if (state.handler != nullptr) return state.handler->OnRemoteClose(state.own);
  if (state.reader != nullptr) state.reader->Try();
}

void Connections::OnClosed(State& state, int error) {
  state.closed = true;
  state.error = error;
  by_id_.erase(state.id.value);
  ++(error == 0 ? stats_.closed : stats_.reset);
  if (state.handler != nullptr) return EndHandler(state);
  if (state.reader != nullptr) state.reader->Try();
  if (state.writer != nullptr) state.writer->Try();
}

void Connections::EndHandler(State& state) {
  if (state.error == 0) {
    state.handler->OnClose(state.own);
  } else {
    state.handler->OnReset(state.own, state.error);
  }
  state.retired = std::move(state.handler);
  state.own = Connection();
}

void Connections::SettleLater(State& state) {
  if (std::exchange(state.unsettled, true)) return;
  state.next_unsettled = std::exchange(unsettled_, &state);
}

size_t Connections::SettleAll() {
  size_t n = 0;
  for (State* state = std::exchange(unsettled_, nullptr); state != nullptr; ++n) {
    State* const next = state->next_unsettled;
    state->unsettled = false;
    const Busy busy(*state);
    Settle(*state);
    state = next;
  }
  return n;
}

// What a new handler has not seen, as it happened: data, the end, the end of all. Coroutines look
// for themselves.
void Connections::Settle(State& state) {
  if (state.handler == nullptr) {
    if (state.reader != nullptr) state.reader->Try();
    if (state.writer != nullptr) state.writer->Try();
    return;
  }
  if (!std::exchange(state.fresh, false)) return;
  // Of a connection that has ended already only that is told; and of one that a call has given to
  // another handler, nothing more.
  const auto told = [&state] { return state.locally_closed || state.closed || state.fresh; };
  if (!told()) state.handler->OnConnected(state.own);
  if (!told() && !port_->ReadView(state.id).empty()) state.handler->OnData(state.own);
  if (!told() && state.remote_closed) state.handler->OnRemoteClose(state.own);
  if (state.closed && !state.fresh) EndHandler(state);
}

}  // namespace weft::tcp
