// SPDX-License-Identifier: Apache-2.0
//
// TCP for applications: connections that are told what happens, by handlers or by coroutines, over
// any StreamPort: the kernel's TCP, weft's own, shared memory, a simulated network.
//
// With handlers, nothing is read or written but where it lies:
//
//   class Echo : public tcp::ConnectionHandler {
//     void OnData(tcp::Connection& connection) override {
//       for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
//         const size_t n = connection.Send(in);
//         connection.Consume(n);
//         if (n < in.size()) return;  // no room: OnWritable() goes on
//       }
//     }
//     void OnWritable(tcp::Connection& connection) override { OnData(connection); }
//   };
//   tcp::Connections connections(worker.loop(), *worker.OpenStreamPort());
//   connections.Listen(address, 128, [](tcp::Connection connection) {
//     std::move(connection).Serve(std::make_unique<Echo>());
//   });
//
// With coroutines, a connection belongs to the coroutine that holds it:
//
//   Task<absl::Status> Ask(tcp::Connections& connections, const Address& server) {
//     absl::StatusOr<tcp::Connection> connection =
//         co_await connections.Connect(server, absl::Seconds(3));
//     if (!connection.ok()) co_return connection.status();
//     if (absl::Status sent = co_await connection->Write(question); !sent.ok()) co_return sent;
//     for (;;) {
//       absl::StatusOr<absl::Span<const uint8_t>> in = co_await connection->Read(absl::Seconds(3));
//       if (!in.ok()) co_return in.status();
//       if (in->empty()) co_return absl::OkStatus();  // the server has closed
//       Use(*in);
//       connection->Consume(in->size());
//     }
//   }
//
// Threads: everything belongs to the thread of the loop. Nothing is allocated for an event; what
// handlers and coroutines hold is theirs.
//
// Handlers and coroutines may close, abort and destroy any connection, their own included, listen
// and connect; only the Connections itself must not be destroyed by them.
#ifndef WEFT_TCP_CONNECTIONS_H_
#define WEFT_TCP_CONNECTIONS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/tcp/awaiters.h"
#include "weft/tcp/connection_handle.h"
#include "weft/tcp/connection_state.h"
#include "weft/transports/stream_port.h"

namespace weft::tcp {

struct ConnectionsOptions {
  // At a time, those included that are still being opened or closed. Beyond them, accepted ones are
  // reset and Connect() is refused.
  size_t connections_max = 1 << 20;
  // Called once, from within the loop, when the port is dead: what there was has ended or will
  // never be heard of again.
  absl::AnyInvocable<void(const absl::Status& status)> on_dead = nullptr;
};

// Since the beginning. Any thread may read.
struct ConnectionsStats {
  Counter accepted;
  Counter refused;    // accepted, and reset at a limit: connections_max, or a Listener's backlog
  Counter connected;  // what Connect() began
  Counter closed;     // ended in good order
  Counter reset;      // ended otherwise: reset, refused, timed out, aborted
};

class Connections final : public Pollable {
 public:
  using OnConnection = absl::AnyInvocable<void(Connection)>;

  // Adds itself to `loop`, which must outlive it.
  Connections(Loop& loop, std::unique_ptr<StreamPort> port, ConnectionsOptions options = {});
  // Resets the connections that there are. No handler is called and no coroutine resumed any more;
  // handles that are left are those of connections that have ended.
  ~Connections() override;
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // Listens at `address` from now on, as long as this object lives; `backlog` connections wait in
  // the transport at most. Each that comes is handed to `on_connection`, which serves it
  // (Connection::Serve()) or keeps it; what it lets go of is closed. Returns the complete address.
  // Errors: those of StreamPort::Listen().
  absl::StatusOr<Address> Listen(const Address& address, int backlog, OnConnection on_connection);

  // The same for coroutines, which take connections by Listener::Accept(). As many as `backlog`
  // wait here too; further ones are reset.
  absl::StatusOr<Listener> Listen(const Address& address, int backlog);

  // `handler` is told of OnConnected(), and else of OnReset(). Errors: ResourceExhausted at
  // connections_max, and those of StreamPort::Connect(); then `handler` is destroyed.
  absl::Status Connect(const Address& address, std::unique_ptr<ConnectionHandler> handler);

  // `co_await` gives an absl::StatusOr<Connection>. Errors: Unavailable when the other side refused
  // or did not answer, DeadlineExceeded after `timeout`, and those above.
  ConnectAwaiter Connect(const Address& address, absl::Duration timeout = absl::InfiniteDuration());

  Loop& loop() { return loop_; }
  StreamPort& port() { return *port_; }
  const StreamPort& port() const { return *port_; }
  size_t size() const { return by_id_.size(); }
  const ConnectionsStats& stats() const { return stats_; }

  size_t Poll() override;
  int wait_fd() const override { return port_->wait_fd(); }
  bool Arm() override { return unsettled_ == nullptr && port_->Arm(); }
  void Disarm() override { port_->Disarm(); }

 private:
  friend class Connection;
  friend class Listener;
  friend class ConnectAwaiter;
  using State = internal::ConnectionState;
  class Busy;

  // Begins to connect and makes what remembers it.
  absl::StatusOr<State*> BeginConnect(const Address& address);
  absl::StatusOr<std::shared_ptr<internal::ListenerState>> AddListener(const Address& address,
                                                                       int backlog);

  State& NewState(StreamId id);
  void MaybeFree(State& state);
  internal::ListenerState* ListenerOf(StreamId id);

  void Dispatch(const StreamEvent& event);
  void OnAccepted(StreamId id);
  void OnConnected(State& state);
  void OnRemoteClosed(State& state);
  void OnClosed(State& state, int error);
  void EndHandler(State& state);
  // Tells in the next Poll() whoever waits or serves what the state says.
  void SettleLater(State& state);
  size_t SettleAll();
  void Settle(State& state);

  // What handles do.
  void Close(State& state);
  void Abort(State& state);
  void LetGo(State& state);
  void CloseListener(internal::ListenerState& listener);

  Loop& loop_;
  const std::unique_ptr<StreamPort> port_;
  ConnectionsOptions options_;
  ConnectionsStats stats_;
  std::deque<State> states_;  // they never move
  State* free_ = nullptr;
  absl::flat_hash_map<uint64_t, State*> by_id_;
  State* unsettled_ = nullptr;
  std::vector<std::shared_ptr<internal::ListenerState>> listeners_;
  // Of the present Poll(). Not on its stack: most find nothing, and would clear them all the same.
  std::array<StreamEvent, 64> events_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONNECTIONS_H_
