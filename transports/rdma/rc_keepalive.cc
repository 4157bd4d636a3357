// SPDX-License-Identifier: Apache-2.0
//
// Whether those who have windows are still there.

#include <algorithm>

#include "weft/transports/rdma/rc_connections.h"

namespace weft::rdma {

void RcConnections::Hold(ConnectionId id) {
  Connection& connection = connections_[id.index];
  ++connection.holds;
  next_look_after_ns_ = std::min(next_look_after_ns_, LookAfterNs(connection));
}

// When its user is to be asked; kNever while he is, or for none.
int64_t RcConnections::LookAfterNs(const Connection& connection) const {
  const bool watched = connection.used && connection.role == Role::kOwner && connection.holds > 0 &&
                       connection.state != State::kConnecting && !connection.asks_after;
  if (!watched || options_.keepalive_ns == kNever) return kNever;
  return connection.looked_after_ns + options_.keepalive_ns;
}

void RcConnections::LookAfterUsers(int64_t now_ns) {
  next_look_after_ns_ = kNever;
  for (size_t i = 0; i < connections_.size(); ++i) {  // a handler may add some
    Connection& connection = connections_[i];
    if (now_ns >= LookAfterNs(connection)) {
      connection.looked_after_ns = now_ns;
      ++stats_.asked_after;
      if (connection.state == State::kNone) {
        Begin(connection, now_ns);
      } else {
        // As when it was made, so that it stays as it is if both know of it.
        const absl::Status asked = rendezvous_->Ask(connection.peer.address, OfferOf(connection),
                                                    ContextOf(connection), now_ns);
        connection.asks_after = asked.ok();
      }
    }
    next_look_after_ns_ = std::min(next_look_after_ns_, LookAfterNs(connection));
  }
}

void RcConnections::OnThere(Connection& connection) {
  connection.unanswered = 0;
  connection.looked_after_ns = now_ns_;
  next_look_after_ns_ = std::min(next_look_after_ns_, LookAfterNs(connection));
}

// A question to the peer has failed. Who refuses is there; where nobody listens he is not.
void RcConnections::OnNoAnswer(Connection& connection, const absl::Status& status) {
  if (connection.role != Role::kOwner || connection.holds == 0) return;
  if (absl::IsUnavailable(status) ||
      (absl::IsDeadlineExceeded(status) && ++connection.unanswered >= kUnansweredMax)) {
    Break(connection, Loss::kGone, absl::DeadlineExceededError("the peer has gone without a word"));
    if (connection.holds == 0) Forget(connection);
    return;
  }
  next_look_after_ns_ = std::min(next_look_after_ns_, LookAfterNs(connection));
}

}  // namespace weft::rdma
