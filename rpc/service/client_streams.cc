// SPDX-License-Identifier: Apache-2.0
//
// One stream of a client; client_stream_sessions.cc has what all have in common.
#include "weft/rpc/service/client_streams.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "weft/rpc/call_status.h"
#include "weft/rpc/service/service_wire.h"

namespace weft::rpc {
namespace {

// PULLs of a stream at first: enough for news now and then, cheap for those that have none.
constexpr size_t kPullsAtFirst = 4;
// With so much unread, no PULL is sent but one.
constexpr size_t kUnreadBytesMax = size_t{1} << 20;
// Of a batch, before it is known what a packet takes.
constexpr size_t kSafeBatchBytes = 1024;
constexpr int64_t kPauseMinNs = 50'000;
constexpr int64_t kPauseMaxNs = 20'000'000;

constexpr CallOptions kHeld = {.timeout = absl::InfiniteDuration(), .held = true};
static_assert(StreamSender::kHeadBytes == kRequestHeadBytesMin + 8, "the head of a PUSH");

absl::Status Nonsense() { return absl::InternalError("the server's reply makes no sense"); }

}  // namespace

ClientStreamState::ClientStreamState(ClientStreams& streams)
    : StreamSender(streams.blocks_),
      StreamReceiver(streams.options_.window),
      streams_(streams),
      pushes_(kStreamWindowMax),
      retry_(&ClientStreamState::OnRetry, this) {}

BufferPool& ClientStreamState::pool() { return streams_.client_.port().pool(); }

void ClientStreamState::Begin(size_t session, uint64_t id, const StreamDirections& directions,
                              size_t window) {
  in_use_ = true;
  session_ = session;
  id_ = id;
  directions_ = directions;
  window_ = window;
  batch_bytes_ = 0;
  ended_ = pulls_over_ = false;
  slots_ = directions.SlotsFor(window);
  batches_in_ = 0;
  batches_total_ = UINT64_MAX;
  error_ = absl::OkStatus();
  pulls_unused_ = ~uint64_t{0};
  pulls_out_ = 0;
  pull_window_ = push_window_ = 1;
  pull_number_ = push_next_ = push_oldest_ = 0;
  pause_ns_ = kPauseMinNs;
  StreamSender::Reset();
  StreamReceiver::Reset();
  if (!directions.writes) StreamSender::Stop();
  if (!directions.reads) StreamReceiver::EndAt(0);
}

void ClientStreamState::Start(Payload open, const CallOptions& options) {
  CallOptions held = options;
  held.held = true;
  if (held.timeout == absl::ZeroDuration()) held.timeout = absl::InfiniteDuration();
  Client& client = streams_.client_;
  ClientStreams::Session& session = streams_.sessions_[session_];
  if (session.streams == 1 && !client.IsConnected(session.id)) {
    // Its server has drained.
    absl::StatusOr<SessionId> again = client.Connect(streams_.server_);
    if (!again.ok()) return Break(again.status());
    session.id = *again;
  }
  absl::StatusOr<CallId> begun = client.Call(
      session.id, std::move(open),
      [this](absl::StatusOr<BufferChain> reply) { OnOpenEnd(std::move(reply)); }, held);
  if (!begun.ok()) return Break(begun.status());
  open_ = *begun;
  Learn();
  Pull();
}

void ClientStreamState::Learn() {
  if (batch_bytes_ != 0) return;
  const ClientStreams::Session& session = streams_.sessions_[session_];
  const SessionShape shape = streams_.client_.ShapeOf(session.id);
  if (shape.slots == 0) return;
  batch_bytes_ = shape.packet_payload_bytes - kHeadBytes;
  // The server may have agreed to fewer slots than were asked for.
  window_ = std::clamp<size_t>(directions_.WindowFor(shape.slots / session.streams), 1, window_);
  push_window_ = window_;
  pull_window_ = std::min(window_, kPullsAtFirst);
}

// --- The end

void ClientStreamState::OnOpenEnd(absl::StatusOr<BufferChain> reply) {
  open_ = {};
  ended_ = true;
  streams_.client_.loop().timers().Cancel(retry_);
  StreamSender::Stop();
  ReplyHead head;
  if (reply.ok()) {
    std::array<uint8_t, kReplyHeadBytesMax> first;
    const size_t got = reply->CopyTo(absl::MakeSpan(first));
    if (!ReadReplyHead(absl::MakeSpan(first).first(got), RequestKind::kOpen, &head)) {
      ++streams_.stats_.malformed;
      reply = Nonsense();
    }
  }
  if (reply.ok()) {
    batches_total_ = head.number;
    if (directions_.reads) StreamReceiver::EndAt(head.number);
  } else {
    ++streams_.stats_.broken;
    error_ = reply.status();
    StreamReceiver::Stop();
  }
  reply_ = std::move(reply);
  WakeAll();
}

void ClientStreamState::WakeAll() {
  const uint64_t generation = generation_;
  Wake();
  if (generation_ == generation) OnRoom();
  if (generation_ == generation && ended_) StreamWaiter::Wake(end_);
}

void ClientStreamState::Break(absl::Status error) {
  if (!error_.ok()) return;
  ++streams_.stats_.broken;
  error_ = std::move(error);
  ended_ = true;
  StreamSender::Stop();
  StreamReceiver::Stop();
  CancelCalls();
  // Whoever waits goes on later: this may be running inside of a coroutine that another one ends.
  streams_.Gather(*this);
}

// The server is told of the OPEN: what belongs to it ends with it.
void ClientStreamState::CancelCalls() {
  Client& client = streams_.client_;
  client.loop().timers().Cancel(retry_);
  if (open_) client.Cancel(std::exchange(open_, {}));
  for (CallId& pull : pulls_) {
    if (pull) client.Abandon(std::exchange(pull, {}));
  }
  for (; push_oldest_ != push_next_; ++push_oldest_) {
    Push& push = pushes_[push_oldest_ % kStreamWindowMax];
    if (push.call) client.Abandon(std::exchange(push.call, {}));
    push.again = false;
    FreeBatch(push.batch);
  }
  pulls_unused_ = ~uint64_t{0};
  pulls_out_ = 0;
}

ClientStreamState::Then ClientStreamState::Judge(const absl::StatusOr<BufferChain>& reply,
                                                 RequestKind kind, ReplyHead* head) {
  absl::StatusCode code = reply.status().code();
  if (reply.ok()) {
    if (!ReadReplyHead(reply->front(), kind, head)) {
      ++streams_.stats_.malformed;
      Break(Nonsense());
      return Then::kNothing;
    }
    code = head->code;
  }
  // Not a call that may have been executed: the batch that it was to bring would be lost.
  const bool again =
      reply.ok()
          ? code == absl::StatusCode::kResourceExhausted || code == absl::StatusCode::kNotFound
          : code == absl::StatusCode::kResourceExhausted && WasNotExecuted(reply.status());
  if (code == absl::StatusCode::kOk) {
    pause_ns_ = kPauseMinNs;
    Learn();
    return Then::kGoOn;
  }
  if (ended_) {
    // Batches that are missing are then missed; what was still to be sent is wanted no more.
    const bool missed = kind == RequestKind::kPull && !reply.ok() && !again;
    if (missed && batches_in_ < batches_total_) Break(reply.status());
    return Then::kNothing;
  }
  if (!again) {
    Break(reply.ok() ? absl::Status(code, "the server refused a part of the stream")
                     : reply.status());
    return Then::kNothing;
  }
  ++streams_.stats_.retries;
  return Then::kAgain;
}

// --- Reading

void ClientStreamState::Pull() {
  if (!directions_.reads) return;
  const size_t window = StreamReceiver::bytes_held() > kUnreadBytesMax ? 1 : pull_window_;
  while (!ended_ && !pulls_over_ && !retry_.armed() &&
         pulls_out_ + StreamReceiver::batches() < window) {
    const auto place = static_cast<size_t>(std::countr_zero(pulls_unused_));
    std::array<uint8_t, kHeadBytes> request;
    WriteRequestHead({.kind = RequestKind::kPull, .id = id_, .number = pull_number_},
                     request.data());
    absl::StatusOr<CallId> begun = streams_.client_.Call(
        streams_.sessions_[session_].id, request,
        [this, place](absl::StatusOr<BufferChain> reply) { OnPullEnd(place, std::move(reply)); },
        kHeld);
    if (!begun.ok()) {
      if (absl::IsResourceExhausted(begun.status())) return TryAgainLater();
      if (!ServerDrains(begun.status())) return Break(begun.status());
      pulls_over_ = true;
      return;
    }
    ++pull_number_;
    pulls_[place] = *begun;
    pulls_unused_ &= ~(uint64_t{1} << place);
    ++pulls_out_;
  }
}

void ClientStreamState::OnPullEnd(size_t place, absl::StatusOr<BufferChain> reply) {
  pulls_[place] = {};
  pulls_unused_ |= uint64_t{1} << place;
  --pulls_out_;
  ReplyHead head;
  switch (Judge(reply, RequestKind::kPull, &head)) {
    case Then::kNothing:
      return;
    case Then::kAgain:
      pull_window_ = std::max<size_t>(pull_window_ / 2, 1);
      return TryAgainLater();
    case Then::kGoOn:
      break;
  }
  if (head.end_of_messages) {
    pulls_over_ = true;
    return;
  }
  if (Check(head.number) != Taken::kYes) {
    ++streams_.stats_.malformed;
    return Break(Nonsense());
  }
  reply->TrimFront(kReplyHeadBytesMax + head.trailer_bytes);
  // A batch that fills its packet had to wait for a PULL, as a rule.
  const size_t size = reply->size();
  if (size > batch_bytes_ / 4 * 3) pull_window_ = std::min(2 * pull_window_, window_);
  const uint64_t sequence = head.number;
  Put(sequence, *std::move(reply), /*last=*/false);
  ++batches_in_;
  const uint64_t generation = generation_;
  if (sequence == next()) Wake();
  if (generation_ != generation) return;
  if (next() <= sequence && size <= kCopiedBytesMax && BuffersLow(pool())) [[unlikely]] {
    ++streams_.stats_.copied;
    CopyOut(sequence);
  }
  Pull();
}

void ClientStreamState::OnConsumed(uint64_t) { Pull(); }

// --- Writing

bool ClientStreamState::CanSend() {
  Learn();
  return !ended_ && push_next_ - push_oldest_ < push_window_;
}

size_t ClientStreamState::BatchBytes() {
  Learn();
  return batch_bytes_ != 0 ? batch_bytes_ : kSafeBatchBytes;
}

void ClientStreamState::WantFlush() { streams_.Gather(*this); }

void ClientStreamState::SendBatch(Outgoing batch) {
  const uint64_t sequence = push_next_++;
  Push& push = pushes_[sequence % kStreamWindowMax];
  push.batch = std::move(batch);
  WriteRequestHead({.kind = RequestKind::kPush,
                    .end_of_messages = push.batch.last,
                    .id = id_,
                    .number = sequence},
                   push.batch.block.get());
  SendPush(sequence);
}

void ClientStreamState::SendPush(uint64_t sequence) {
  Push& push = pushes_[sequence % kStreamWindowMax];
  push.again = false;
  absl::StatusOr<CallId> begun = streams_.client_.Call(
      streams_.sessions_[session_].id,
      Payload::External({push.batch.block.get(), kHeadBytes + push.batch.bytes}),
      [this, sequence](absl::StatusOr<BufferChain> reply) {
        OnPushEnd(sequence, std::move(reply));
      },
      kHeld);
  if (begun.ok()) {
    push.call = *begun;
  } else if (absl::IsResourceExhausted(begun.status())) {
    push.again = true;
    TryAgainLater();
  } else if (!ServerDrains(begun.status())) {
    Break(begun.status());
  }
}

void ClientStreamState::OnPushEnd(uint64_t sequence, absl::StatusOr<BufferChain> reply) {
  Push& push = pushes_[sequence % kStreamWindowMax];
  push.call = {};
  ReplyHead head;
  switch (Judge(reply, RequestKind::kPush, &head)) {
    case Then::kNothing:
      return;
    case Then::kAgain:
      push_window_ = std::max<size_t>(push_window_ / 2, 1);
      push.again = true;
      return TryAgainLater();
    case Then::kGoOn:
      break;
  }
  FreeBatch(push.batch);
  while (push_oldest_ != push_next_ &&
         pushes_[push_oldest_ % kStreamWindowMax].batch.block == nullptr) {
    ++push_oldest_;
  }
  OnRoom();
}

// --- Again

// Its session takes no more calls, but the OPEN is going to be answered.
bool ClientStreamState::ServerDrains(const absl::Status& error) const {
  return absl::IsUnavailable(error) && open_;
}

void ClientStreamState::TryAgainLater() {
  if (retry_.armed() || ended_) return;
  Loop& loop = streams_.client_.loop();
  loop.timers().Schedule(retry_, loop.now_ns() + pause_ns_);
  pause_ns_ = std::min(2 * pause_ns_, kPauseMaxNs);
}

void ClientStreamState::OnRetry(void* self, int64_t) {
  auto& state = *static_cast<ClientStreamState*>(self);
  for (uint64_t sequence = state.push_oldest_; sequence != state.push_next_; ++sequence) {
    if (state.pushes_[sequence % kStreamWindowMax].again) state.SendPush(sequence);
    if (state.ended_) return;
  }
  state.Pull();
}

}  // namespace weft::rpc
