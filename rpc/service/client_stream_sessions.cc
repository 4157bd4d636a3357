// SPDX-License-Identifier: Apache-2.0
//
// What the streams of a client have in common: sessions, memory, and the end of the loop's round.
#include <algorithm>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "weft/rpc/service/client_streams.h"

namespace weft::rpc {
namespace {

uint64_t RandomSeed() {
  static thread_local absl::BitGen random;
  return absl::Uniform<uint64_t>(random);
}

}  // namespace

ClientStreams::ClientStreams(Client& client, const Peer& server, const StreamOptions& options)
    : client_(client),
      server_(server),
      options_(options.WithinLimits()),
      random_(options.seed ? *options.seed : RandomSeed()),
      blocks_(client.port().pool().payload_bytes()) {
  client_.Add(this);
}

ClientStreams::~ClientStreams() {
  if (!left_) Leave();
}

void ClientStreams::Leave() {
  left_ = true;
  client_.Remove(this);
  for (const Session& session : sessions_) {
    if (session.id) client_.Disconnect(session.id);
  }
}

size_t ClientStreams::SlotsOf(const Session& session) const {
  const size_t agreed = client_.ShapeOf(session.id).slots;
  return agreed != 0 ? agreed : client_.options().session.slots;
}

// A session that has so many slots left, or a new one.
absl::StatusOr<size_t> ClientStreams::SessionFor(size_t slots) {
  const auto fits = [&](const Session& session) {
    return session.id && (session.streams == 0 || session.slots + slots <= SlotsOf(session));
  };
  if (latest_session_ < sessions_.size() && fits(sessions_[latest_session_])) {
    return latest_session_;
  }
  size_t unused = sessions_.size();
  for (size_t i = 0; i < sessions_.size(); ++i) {
    if (fits(sessions_[i])) return latest_session_ = i;
    if (!sessions_[i].id) unused = i;
  }
  absl::StatusOr<SessionId> id = client_.Connect(server_);
  if (!id.ok()) return id.status();
  if (unused == sessions_.size()) sessions_.emplace_back();
  sessions_[unused] = {.id = *id};
  ++sessions_used_;
  return latest_session_ = unused;
}

absl::StatusOr<ClientStreamState*> ClientStreams::Open(const StreamDirections& directions) {
  if (client_.options().wire == Wire::kOriginal) {
    return absl::FailedPreconditionError("streams need the extended format");
  }
  const size_t slots = client_.options().session.slots;
  const size_t window = std::min(options_.window, directions.WindowFor(slots));
  if (window == 0) {
    return absl::FailedPreconditionError(absl::StrCat("a stream needs ", directions.SlotsFor(1),
                                                      " slots; rpc.session.slots is ", slots));
  }
  absl::StatusOr<size_t> session = SessionFor(directions.SlotsFor(window));
  if (!session.ok()) return session.status();
  if (unused_.empty()) {
    states_.push_back(std::make_unique<ClientStreamState>(*this));
    unused_.push_back(states_.back().get());
  }
  ClientStreamState* const state = unused_.back();
  unused_.pop_back();
  state->Begin(*session, random_.Next(), directions, window);
  sessions_[*session].slots += state->slots_;
  ++sessions_[*session].streams;
  ++stats_.opened;
  stats_.open.Add(1);
  return state;
}

void ClientStreams::Release(ClientStreamState& state) {
  ++state.generation_;
  state.in_use_ = false;
  state.ended_ = true;
  state.CancelCalls();
  StreamWaiter::Forget(state.arrival());
  StreamWaiter::Forget(state.room());
  StreamWaiter::Forget(state.end_);
  stats_.messages_sent += state.StreamSender::messages();
  stats_.messages_received += state.StreamReceiver::messages();
  state.StreamSender::Stop();
  state.StreamReceiver::Reset();
  state.reply_ = absl::UnknownError("");
  unused_.push_back(&state);
  stats_.open.Add(-1);
  Session& session = sessions_[state.session_];
  session.slots -= state.slots_;
  // One that is not used is kept for the next stream.
  if (--session.streams > 0 || sessions_used_ == 1) return;
  client_.Disconnect(std::exchange(session.id, {}));
  --sessions_used_;
}

void ClientStreams::OnSession() {
  for (size_t i = 0; i < states_.size(); ++i) {  // which coroutines may lengthen
    ClientStreamState& state = *states_[i];
    if (!state.in_use_ || state.ended_ || state.batch_bytes_ != 0) continue;
    state.Learn();
    if (state.batch_bytes_ == 0) continue;
    state.Pull();
    state.OnRoom();
  }
}

void ClientStreams::Flush() {
  // Those that coroutines add meanwhile come in this round too; windows bound how often.
  for (size_t i = 0; i < to_flush_.size(); ++i) {
    ClientStreamState& state = *to_flush_[i];
    state.gathered_ = false;
    if (!state.in_use_) continue;
    state.FlushBatch();
    if (!state.error_.ok()) [[unlikely]]
      state.WakeAll();
  }
  to_flush_.clear();
}

size_t ClientStreams::bytes_held() const {
  size_t bytes = 0;
  for (const auto& state : states_) {
    bytes += state->StreamReceiver::bytes_held();
    for (uint64_t i = state->push_oldest_; i != state->push_next_; ++i) {
      bytes += state->pushes_[i % kStreamWindowMax].batch.bytes;
    }
  }
  return bytes;
}

// --- What the user has

ClientStream::ClientStream(ClientStreams& streams, const StreamDirections& directions)
    : streams_(streams) {
  absl::StatusOr<ClientStreamState*> state = streams.Open(directions);
  status_ = state.status();
  if (state.ok()) state_ = *state;
}

ClientStream::~ClientStream() {
  if (state_ != nullptr) streams_.Release(*state_);
}

}  // namespace weft::rpc
