// SPDX-License-Identifier: Apache-2.0
//
// Streams over kernel TCP: any number of listeners and streams behind one epoll descriptor.
//
// Descriptors are registered once, edge-triggered. What the kernel has said is remembered in the
// stream (may_read, may_write), and a stream that can make progress stands in the work list: one
// turn a Poll(), in which it reads once and writes once, so that a busy stream does not starve
// others. Commit() only enters the stream there: what was committed between two polls leaves with
// one system call.
#ifndef WEFT_TRANSPORTS_LINUX_LINUX_STREAM_PORT_H_
#define WEFT_TRANSPORTS_LINUX_LINUX_STREAM_PORT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/linux/byte_queue.h"
#include "weft/transports/linux/lingering_sockets.h"
#include "weft/transports/linux/socket.h"
#include "weft/transports/stream_port.h"
#include "weft/transports/transport.h"

namespace weft::linux_transport {

class LinuxStreamPort final : public StreamPort {
 public:
  static absl::StatusOr<std::unique_ptr<StreamPort>> Open(const config::Linux& config,
                                                          const BufferPoolOptions& buffers,
                                                          const Capabilities& capabilities,
                                                          const PortOptions& options);

  // Of the first listener.
  Address local_address() const override;
  int wait_fd() const override { return epoll_.get(); }
  bool Arm() override;

  absl::StatusOr<Address> Listen(const Address& address, int backlog) override;
  absl::StatusOr<StreamId> Connect(const Address& address) override;
  size_t Poll(absl::Span<StreamEvent> events) override;
  absl::Span<const uint8_t> ReadView(StreamId stream) override;
  void Consume(StreamId stream, size_t n) override;
  absl::Span<uint8_t> Reserve(StreamId stream, size_t wanted) override;
  void Commit(StreamId stream, size_t n) override;
  void CloseWrite(StreamId stream) override;
  void Close(StreamId stream) override;
  void Abort(StreamId stream) override;
  absl::StatusOr<Address> PeerAddress(StreamId stream) const override;
  absl::StatusOr<Address> LocalAddress(StreamId stream) const override;
  absl::Status SetOptions(StreamId stream, const StreamOptions& options) override;
  absl::StatusOr<StreamInfo> Info(StreamId stream) const override;

 private:
  // A StreamId is a generation and, in its low bits, an index; listeners are told apart by a tag.
  static constexpr uint64_t kGeneration = uint64_t{1} << 24;
  static constexpr uint64_t kIndexMask = kGeneration - 1;
  static constexpr uint64_t kListenerTag = uint64_t{1} << 63;

  enum class State : uint8_t {
    kFree,  // a slot without a stream
    kConnecting,
    kOpen,
    kClosing,  // Close() was called: sends the rest
    kClosed,   // kClosed is to be delivered, or has been by the last Poll()
  };

  struct Stream {
    explicit Stream(ChunkPool& chunks) : in(chunks), out(chunks) {}

    StreamId id;
    State state = State::kFree;
    UniqueFd fd;
    SocketAddress peer;
    ByteQueue in;   // received and not consumed
    ByteQueue out;  // committed and not sent

    bool may_read = false;       // the kernel may have bytes, an end or an error to give
    bool may_write = false;      // and take bytes
    bool hung_up = false;        // the end or an error has come: read until it shows
    bool remote_closed = false;  // it was the end, and has been read
    bool write_closing = false;  // CloseWrite()
    bool write_closed = false;   // the end has been sent
    bool wants_room = false;     // Reserve() gave less than was wanted
    int write_error = 0;         // sending has failed: what there is to read is still read

    uint8_t events = 0;  // to be delivered: one bit a kind, in the order of the kinds
    int error = 0;       // of kClosed

    bool in_work = false;
    bool in_ready = false;
    Stream* next_work = nullptr;
    Stream* next_ready = nullptr;
  };

  // First in, first out, through members of the streams.
  template <Stream* Stream::*kNext, bool Stream::*kIn>
  class Fifo {
   public:
    bool empty() const { return head_ == nullptr; }
    Stream* front() const { return head_; }
    void Push(Stream& stream) {
      if (stream.*kIn) return;
      stream.*kIn = true;
      stream.*kNext = nullptr;
      (tail_ != nullptr ? tail_->*kNext : head_) = &stream;
      tail_ = &stream;
    }
    Stream* Pop() {
      Stream* stream = head_;
      head_ = stream->*kNext;
      if (head_ == nullptr) tail_ = nullptr;
      stream->*kIn = false;
      return stream;
    }

   private:
    Stream* head_ = nullptr;
    Stream* tail_ = nullptr;
  };

  struct Listener {
    UniqueFd fd;
    Address address;
    bool may_accept = false;  // the kernel may have a connection
    bool starved = false;     // and no descriptor for it: tried again when one comes free
    bool CanProgress() const { return may_accept && !starved; }
  };

  LinuxStreamPort(const config::Linux& config, const BufferPoolOptions& buffers,
                  const Capabilities& capabilities, bool share_addresses, UniqueFd epoll);

  // The slots and what is in them. Find() gives null for a stream that is gone.
  Stream* Find(StreamId id);
  const Stream* Find(StreamId id) const;
  Stream* NewStream(UniqueFd fd, const SocketAddress& peer, State state);
  void FreeClosedStreams();
  bool Watch(int fd, uint32_t events, uint64_t data);

  // One Poll().
  void TakeTurns();
  void TakeKernelEvents();
  void OnKernelEvent(Stream& stream, uint32_t events);
  void Accept(Listener& listener);
  void TakeTurn(Stream& stream);
  bool FinishConnecting(Stream& stream);
  void Write(Stream& stream);
  void Read(Stream& stream);
  bool CanProgress(const Stream& stream) const;
  size_t DeliverEvents(absl::Span<StreamEvent> events);

  void Raise(Stream& stream, StreamEvent::Kind kind);
  // The stream ends with this error.
  void Retire(Stream& stream, int error);

  const config::Linux config_;
  const bool share_addresses_;
  const UniqueFd epoll_;
  std::vector<Listener> listeners_;
  LingeringSockets lingering_;
  ChunkPool chunks_;
  std::deque<Stream> streams_;  // by index; they never move
  std::vector<uint32_t> free_;
  std::vector<Stream*> closed_;  // kClosed was delivered by the last Poll()
  Fifo<&Stream::next_work, &Stream::in_work> work_;
  Fifo<&Stream::next_ready, &Stream::in_ready> ready_;
};

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_LINUX_STREAM_PORT_H_
