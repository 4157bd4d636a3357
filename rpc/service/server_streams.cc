// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/server_streams.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/payload.h"

namespace weft::rpc {

// --- One stream

ServerStreamState::ServerStreamState(ServerStreams& streams)
    : StreamSender(streams.blocks_),
      StreamReceiver(streams.options_.window),
      streams_(streams),
      pulls_(streams.options_.window),
      pushes_(kStreamWindowMax) {}

BufferPool& ServerStreamState::pool() { return streams_.server_.port().pool(); }

void ServerStreamState::Begin(std::pair<uint32_t, uint64_t> name, const ServerCall& open) {
  name_ = name;
  open_ = open.name();
  batch_bytes_ = open.packet_payload_bytes() - kReplyHeadBytesMax;
  sent_ = 0;
  error_ = absl::OkStatus();
  StreamSender::Reset();
  StreamReceiver::Reset();
}

void ServerStreamState::WantFlush() { streams_.Gather(*this); }

ServerCall ServerStreamState::TakePull() {
  std::optional<ServerCall>& oldest = pulls_[pulls_begin_];
  ServerCall pull = *std::move(oldest);
  oldest.reset();
  pulls_begin_ = (pulls_begin_ + 1) % pulls_.size();
  --pulls_count_;
  return pull;
}

bool ServerStreamState::CanSend() {
  while (pulls_count_ > 0) {
    if (!pulls_[pulls_begin_]->cancelled()) return true;
    TakePull();
  }
  return false;
}

void ServerStreamState::SendBatch(Outgoing batch) {
  ServerCall pull = TakePull();
  uint8_t* const head = batch.block.get() + kHeadBytes - kReplyHeadBytesMax;
  WriteReplyHead({.number = sent_}, RequestKind::kPull, head);
  const absl::Span<const uint8_t> reply(head, kReplyHeadBytesMax + batch.bytes);
  absl::Status sent;
  if (batch.large) {
    sent = pull.Reply(Payload::External(reply, [block = std::move(batch.block)] {}));
  } else {
    sent = pull.Reply(reply);
    FreeBatch(batch);
  }
  if (sent.ok()) {
    ++sent_;
  } else {
    Break(std::move(sent));  // a batch is missing, or the message is longer than the client takes
  }
}

void ServerStreamState::OnConsumed(uint64_t sequence) {
  std::optional<ServerCall>& push = pushes_[sequence % kStreamWindowMax];
  if (!push.has_value()) return;
  ServerStreams::Answer(*push, RequestKind::kPush, {});
  push.reset();
}

void ServerStreamState::Break(absl::Status error) {
  if (!error_.ok()) return;
  error_ = std::move(error);
  ++streams_.stats_.broken;
  StreamSender::Stop();
  StreamReceiver::Stop();
  // Whoever waits goes on later: this may be running inside of a coroutine that the other one ends.
  streams_.Gather(*this);
}

void ServerStreamState::AnswerParked() {
  while (pulls_count_ > 0) {
    ServerCall pull = TakePull();
    ServerStreams::Answer(pull, RequestKind::kPull, {.end_of_messages = true, .number = sent_});
  }
  for (std::optional<ServerCall>& push : pushes_) {
    if (!push.has_value()) continue;
    ServerStreams::Answer(*push, RequestKind::kPush, {.end_of_messages = true});
    push.reset();
  }
}

// --- All of them

ServerStreams::ServerStreams(Server& server, const StreamOptions& options)
    : server_(server),
      options_(options.WithinLimits()),
      blocks_(server.port().pool().payload_bytes()),
      drain_timeout_(&ServerStreams::OnDrainTimeout, this) {
  open_.reserve(options.streams_max);
  server_.Add(this);
}

ServerStreamState* ServerStreams::Find(const ServerCall& call, const RequestHead& head) {
  const auto found = open_.find({call.session(), head.id});
  return found != open_.end() ? found->second : nullptr;
}

void ServerStreams::Answer(ServerCall& call, RequestKind kind, const ReplyHead& head) {
  std::array<uint8_t, kReplyHeadBytesMax> bytes;
  const size_t size = WriteReplyHead(head, kind, bytes.data());
  // If nobody waits for it any more, or it finds no room: the client asks again, or is gone.
  (void)call.Reply(absl::MakeSpan(bytes).first(size));
}

void ServerStreams::OnPull(ServerCall call, const RequestHead& head) {
  ServerStreamState* const state = Find(call, head);
  if (state == nullptr) {
    ++stats_.unknown;
    return Answer(call, RequestKind::kPull, {.code = absl::StatusCode::kNotFound});
  }
  if (state->pulls_count_ == state->pulls_.size()) {
    ++stats_.beyond_window;
    return Answer(call, RequestKind::kPull, {.code = absl::StatusCode::kResourceExhausted});
  }
  call.request().Clear();  // a PULL is its head: nothing else of it is to wait here
  call.Park();
  const size_t place = (state->pulls_begin_ + state->pulls_count_++) % state->pulls_.size();
  state->pulls_[place].emplace(std::move(call));
  state->OnRoom();
}

void ServerStreams::OnPush(ServerCall call, const RequestHead& head) {
  ServerStreamState* const state = Find(call, head);
  if (state == nullptr) {
    ++stats_.unknown;
    return Answer(call, RequestKind::kPush, {.code = absl::StatusCode::kNotFound});
  }
  const uint64_t sequence = head.number;
  const bool turn = sequence == state->next();
  switch (state->Check(sequence)) {
    case StreamReceiver::Taken::kDuplicate:
      ++stats_.duplicates;
      return Answer(call, RequestKind::kPush, {.code = absl::StatusCode::kInvalidArgument});
    case StreamReceiver::Taken::kBeyond:
      ++stats_.beyond_window;
      return Answer(call, RequestKind::kPush, {.code = absl::StatusCode::kResourceExhausted});
    case StreamReceiver::Taken::kYes:
      break;
  }
  const bool low = StreamReceiver::BuffersLow(server_.port().pool());
  // One that is too long to be copied out of buffers is refused unless it is its turn.
  if (low && !turn && call.request().size() > StreamReceiver::kCopiedBytesMax) {
    ++stats_.beyond_window;
    return Answer(call, RequestKind::kPush, {.code = absl::StatusCode::kResourceExhausted});
  }
  call.Park();
  state->Put(sequence, std::move(call.request()), head.end_of_messages);
  state->pushes_[sequence % kStreamWindowMax].emplace(std::move(call));
  const uint64_t generation = state->generation_;
  if (turn) state->Wake();
  if (low && state->generation_ == generation && state->next() <= sequence) [[unlikely]] {
    ++stats_.copied;
    state->CopyOut(sequence);
  }
}

absl::StatusOr<ServerStreamState*> ServerStreams::Open(ServerCall& open, uint64_t id) {
  if (open.session() == 0) {
    return absl::FailedPreconditionError("streams need the extended format");
  }
  if (open_.size() >= options_.streams_max) {
    ++stats_.refused;
    return absl::ResourceExhaustedError(
        absl::StrCat(open_.size(), " streams are open, as many as streams_max allows"));
  }
  const std::pair<uint32_t, uint64_t> name(open.session(), id);
  const auto [place, is_new] = open_.try_emplace(name, nullptr);
  if (!is_new) {
    ++stats_.refused;
    return absl::AlreadyExistsError("a stream of this id is open");
  }
  if (unused_.empty()) {
    states_.push_back(std::make_unique<ServerStreamState>(*this));
    unused_.push_back(states_.back().get());
  }
  ServerStreamState* const state = unused_.back();
  unused_.pop_back();
  place->second = state;
  state->Begin(name, open);
  open.Park();
  ++stats_.opened;
  stats_.open.Set(static_cast<int64_t>(open_.size()));
  return state;
}

void ServerStreams::Release(ServerStreamState& state) {
  open_.erase(state.name_);
  ++state.generation_;
  StreamWaiter::Forget(state.arrival());
  StreamWaiter::Forget(state.room());
  state.AnswerParked();
  stats_.messages_sent += state.StreamSender::messages();
  stats_.messages_received += state.StreamReceiver::messages();
  state.StreamSender::Stop();
  state.StreamReceiver::Reset();
  state.name_ = {};
  unused_.push_back(&state);
  stats_.open.Set(static_cast<int64_t>(open_.size()));
}

void ServerStreams::Flush() {
  // Those that coroutines add meanwhile come in this round too; windows bound how often.
  for (size_t i = 0; i < to_flush_.size(); ++i) {
    ServerStreamState& state = *to_flush_[i];
    state.gathered_ = false;
    if (state.name_.first == 0) continue;
    const uint64_t generation = state.generation_;
    state.FlushBatch();
    if (state.error_.ok()) [[likely]]
      continue;
    state.Wake();
    if (state.generation_ == generation) state.OnRoom();
  }
  to_flush_.clear();
}

void ServerStreams::OnDrain() {
  std::vector<ServerStreamState*> open;
  for (const auto& [name, state] : open_) open.push_back(state);
  for (ServerStreamState* state : open) {
    state->Break(absl::UnavailableError("the server is shutting down"));
  }
  Loop& loop = server_.loop();
  loop.timers().Schedule(drain_timeout_,
                         loop.now_ns() + absl::ToInt64Nanoseconds(options_.drain_timeout));
}

void ServerStreams::OnDrainTimeout(void* self, int64_t) {
  auto& streams = *static_cast<ServerStreams*>(self);
  std::vector<ServerCall::Name> open;
  for (const auto& [name, state] : streams.open_) open.push_back(state->open_);
  for (const ServerCall::Name& name : open) streams.server_.Cancel(name);
}

size_t ServerStreams::bytes_held() const {
  size_t bytes = 0;
  for (const auto& [name, state] : open_) bytes += state->StreamReceiver::bytes_held();
  return bytes;
}

// --- What the handler has

ServerStream::ServerStream(ServerStreams& streams, ServerCall& open, uint64_t id)
    : streams_(streams) {
  absl::StatusOr<ServerStreamState*> state = streams.Open(open, id);
  status_ = state.status();
  if (state.ok()) state_ = *state;
}

ServerStream::~ServerStream() {
  if (state_ != nullptr) streams_.Release(*state_);
}

absl::Status ServerStream::Close(absl::Status of_handler) {
  state_->AnswerParked();
  state_->StreamSender::Stop();
  state_->StreamReceiver::Stop();
  return of_handler.ok() ? state_->error_ : std::move(of_handler);
}

}  // namespace weft::rpc
