// SPDX-License-Identifier: Apache-2.0
//
// The streams of a client to one server, and the sessions of their own that they go through. Not
// for users: Channel has them, and the stubs that are generated.
//
//   ClientStream stream(streams, {.reads = true, .writes = false});
//   if (!stream.status().ok()) ...
//   head.number = stream.id();                       // of the OPEN, and what else belongs there
//   stream.Start(std::move(open_request), options);
//   ... stream.state(): read and write ...
//   absl::StatusOr<BufferChain> reply = co_await stream.End();  // of the OPEN, head and all
//
// A stream is an OPEN, which the server answers when it has ended, a few PULLs, each of which it
// answers with a batch of messages, and a PUSH for each batch of the client's. PULLs are as many as
// there is room for batches here: what is not read stops the server, and costs it nothing more. A
// PUSH stays here until the server has room for the next one.
//
// Destroying a ClientStream that has not ended cancels it at the server.
//
// Sessions take so many streams that each has its slots, and further ones are opened; with 128
// slots and windows of 16, three streams that read and write, or seven that only do one of it.
//
// Threads: the client's, which must outlive it.
#ifndef WEFT_RPC_SERVICE_CLIENT_STREAMS_H_
#define WEFT_RPC_SERVICE_CLIENT_STREAMS_H_

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/rpc/client.h"
#include "weft/rpc/gatherer.h"
#include "weft/rpc/service/service_wire.h"
#include "weft/rpc/service/stream_options.h"
#include "weft/rpc/service/stream_receiver.h"
#include "weft/rpc/service/stream_sender.h"

namespace weft::rpc {

class ClientStreams;

struct StreamDirections {
  bool reads = false;   // messages of the server
  bool writes = false;  // messages of the client

  size_t ways() const { return reads && writes ? 2 : 1; }
  // For the OPEN, and a window of calls each way.
  size_t SlotsFor(size_t window) const { return 1 + ways() * window; }
  // The window that so many slots suffice for.
  size_t WindowFor(size_t slots) const { return slots == 0 ? 0 : (slots - 1) / ways(); }
};

// What a client keeps of one stream. Used again for another one when it has ended.
class ClientStreamState final : public StreamSender, public StreamReceiver {
 public:
  explicit ClientStreamState(ClientStreams& streams);

  // Ends it on this side, with that error, and tells the server. Wakes whoever waits, later.
  void Break(absl::Status error);
  BufferPool& pool();
  // As ServerStreamState's.
  void set_observer(ObservedCall* observer) {
    StreamSender::set_observer(observer);
    StreamReceiver::set_observer(observer);
  }

 private:
  friend class ClientStream;
  friend class ClientStreams;
  struct Push {
    Outgoing batch;
    CallId call;         // while it is outstanding
    bool again = false;  // to be sent once more
  };

  // StreamSender
  bool CanSend() override;
  void SendBatch(Outgoing batch) override;
  size_t BatchBytes() override;
  void WantFlush() override;
  // StreamReceiver
  void OnConsumed(uint64_t sequence) override;

  void Begin(size_t session, uint64_t id, const StreamDirections& directions, size_t window);
  void Start(Payload open, const CallOptions& options);
  void OnOpenEnd(absl::StatusOr<BufferChain> reply);
  void Pull();
  void OnPullEnd(size_t place, absl::StatusOr<BufferChain> reply);
  void SendPush(uint64_t sequence);
  void OnPushEnd(uint64_t sequence, absl::StatusOr<BufferChain> reply);
  // What to do about a PULL or PUSH that ended like that.
  enum class Then : uint8_t { kGoOn, kAgain, kNothing };
  Then Judge(const absl::StatusOr<BufferChain>& reply, RequestKind kind, ReplyHead* head);
  void TryAgainLater();
  bool ServerDrains(const absl::Status& error) const;
  static void OnRetry(void* self, int64_t now_ns);
  // Of the session, once it is open.
  void Learn();
  void WakeAll();
  void CancelCalls();

  ClientStreams& streams_;
  uint64_t generation_ = 0;
  bool in_use_ = false;
  bool gathered_ = false;
  size_t session_ = 0;
  uint64_t id_ = 0;
  StreamDirections directions_;
  size_t slots_ = 0;                   // of its session, that are set aside for it
  size_t window_ = 1;                  // as there are slots
  size_t batch_bytes_ = 0;             // 0: the session was not open yet
  CallId open_;                        // while it is outstanding
  bool ended_ = true;                  // the OPEN has
  absl::StatusOr<BufferChain> reply_;  // of the OPEN
  absl::Status error_;
  StreamWaiter::Place end_ = nullptr;

  std::array<CallId, kStreamWindowMax> pulls_;
  uint64_t pulls_unused_ = 0;  // places in pulls_, as bits
  size_t pulls_out_ = 0;
  size_t pull_window_ = 1;
  uint64_t pull_number_ = 0;
  bool pulls_over_ = false;  // the server has said so
  uint64_t batches_in_ = 0;
  uint64_t batches_total_ = UINT64_MAX;

  std::vector<Push> pushes_;  // by sequence
  uint64_t push_next_ = 0;
  uint64_t push_oldest_ = 0;  // that is not answered
  size_t push_window_ = 1;

  Timer retry_;
  int64_t pause_ns_ = 0;
};

class ClientStreams final : public Gatherer {
 public:
  ClientStreams(Client& client, const Peer& server, const StreamOptions& options);
  // Streams must be gone, and none of what they do be under way, such as to resume a coroutine.
  ~ClientStreams() override;
  // Gives up its sessions and its client, which may then end first. Streams must be gone; there
  // will be no more. May be called from a coroutine that one of them has resumed.
  void Leave();

  // Open streams, and sessions for them.
  size_t size() const { return static_cast<size_t>(stats_.open.value()); }
  size_t sessions() const { return sessions_used_; }
  // Of all streams: bytes that have not been read, and batches that the server has no room for.
  size_t bytes_held() const;
  const StreamStats& stats() const { return stats_; }

 private:
  friend class ClientStream;
  friend class ClientStreamState;
  struct Session {
    SessionId id;
    size_t slots = 0;  // that its streams may need
    size_t streams = 0;
  };

  void Flush() override;
  void OnSession() override;
  void Gather(ClientStreamState& state) {
    if (std::exchange(state.gathered_, true)) return;
    to_flush_.push_back(&state);
    Want();
  }
  absl::StatusOr<ClientStreamState*> Open(const StreamDirections& directions);
  absl::StatusOr<size_t> SessionFor(size_t slots);
  void Release(ClientStreamState& state);
  size_t SlotsOf(const Session& session) const;

  Client& client_;
  bool left_ = false;  // the client
  const Peer server_;
  const StreamOptions options_;
  Prng random_;
  StreamBlocks blocks_;
  std::vector<Session> sessions_;  // unused places have no id
  size_t sessions_used_ = 0;
  size_t latest_session_ = 0;
  std::vector<std::unique_ptr<ClientStreamState>> states_;
  std::vector<ClientStreamState*> unused_;
  std::vector<ClientStreamState*> to_flush_;
  StreamStats stats_;
};

// A stream as its user has it.
class ClientStream {
 public:
  class EndAwaiter;

  ClientStream(ClientStreams& streams, const StreamDirections& directions);
  ClientStream(ClientStream&& other) noexcept
      : streams_(other.streams_),
        state_(std::exchange(other.state_, nullptr)),
        status_(std::move(other.status_)) {}
  ClientStream& operator=(ClientStream&&) = delete;
  ~ClientStream();

  // ResourceExhausted: there are too many sessions; FailedPrecondition: the client speaks the
  // original format only. Only a stream that is OK may be used.
  const absl::Status& status() const { return status_; }
  uint64_t id() const { return state_->id_; }

  // Sends the OPEN, which has id() in its head. A deadline of `options` is the stream's; without
  // one, it has none.
  void Start(Payload open, const CallOptions& options) { state_->Start(std::move(open), options); }

  ClientStreamState& state() { return *state_; }

  // `co_await stream.End()` gives absl::StatusOr<BufferChain>: the reply to the OPEN, or how the
  // stream broke. Once. What is written must have been closed before, and nobody be reading.
  EndAwaiter End();

 private:
  ClientStreams& streams_;
  ClientStreamState* state_ = nullptr;
  absl::Status status_;
};

class ClientStream::EndAwaiter {
 public:
  explicit EndAwaiter(ClientStreamState& state) : state_(state) {}
  bool await_ready() const { return state_.ended_; }
  void await_suspend(std::coroutine_handle<> coroutine) { waiter_.Wait(state_.end_, coroutine); }
  absl::StatusOr<BufferChain> await_resume() {
    if (!state_.error_.ok()) return state_.error_;
    return std::move(state_.reply_);
  }

 private:
  ClientStreamState& state_;
  StreamWaiter waiter_;
};

inline ClientStream::EndAwaiter ClientStream::End() { return EndAwaiter(*state_); }

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_CLIENT_STREAMS_H_
