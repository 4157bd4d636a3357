// SPDX-License-Identifier: Apache-2.0
//
// Byte streams through a pair of byte rings for each stream.
//
// Reserve() gives room in the shared memory itself, so sending copies nothing. ReadView() copies
// into memory of this port's own, as the other process could change bytes under the eyes of whoever
// parses them; PortStats counts it. At most kInboxBytes are shown that are not consumed.
#ifndef WEFT_TRANSPORTS_SHM_SHM_STREAM_PORT_H_
#define WEFT_TRANSPORTS_SHM_SHM_STREAM_PORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/transports/shm/byte_ring.h"
#include "weft/transports/shm/control.h"
#include "weft/transports/shm/session.h"
#include "weft/transports/stream_port.h"
#include "weft/transports/transport.h"

namespace weft::shm {

class ShmTransport;
struct Settings;

class ShmStreamPort final : public StreamPort, private ControlHandler {
 public:
  static constexpr size_t kInboxBytes = 65536;
  // Streams that one Poll() looks at; the next goes on with the others.
  static constexpr size_t kMaxLooks = 64;

  // `transport` must outlive the port.
  static absl::StatusOr<std::unique_ptr<ShmStreamPort>> Open(ShmTransport* transport,
                                                             const Settings& settings,
                                                             const PortOptions& options);
  // Resets all streams.
  ~ShmStreamPort() override;

  Address local_address() const override { return Address::Shm(name_); }
  int wait_fd() const override { return control_->wait_fd(); }
  bool Arm() override;
  void Disarm() override;

  absl::StatusOr<Address> Listen(const Address& address, int backlog) override;
  absl::StatusOr<StreamId> Connect(const Address& address) override;
  size_t Poll(absl::Span<StreamEvent> events) override;
  absl::Span<const uint8_t> ReadView(StreamId id) override;
  void Consume(StreamId id, size_t n) override;
  absl::Span<uint8_t> Reserve(StreamId id, size_t wanted) override;
  void Commit(StreamId id, size_t n) override;
  void CloseWrite(StreamId id) override;
  void Close(StreamId id) override;
  void Abort(StreamId id) override;
  absl::StatusOr<Address> PeerAddress(StreamId id) const override;
  absl::StatusOr<Address> LocalAddress(StreamId id) const override;

 private:
  enum class State : uint8_t {
    kFree,
    kConnecting,
    kOpen,
    kClosed,  // only the event kClosed is still to come
  };

  // Its place in streams_ is used again for another, under the next generation.
  struct Stream {
    ByteReader reader;
    ByteWriter writer;
    Session session;
    StreamId id;
    State state = State::kFree;
    bool greeted = false;        // kAccepted or kConnected has been told
    bool accepted = false;       // the other side connected, rather than we
    bool peer_gone = false;      // its socket has ended
    bool broken = false;         // Reserve() was asked for room that nobody will read
    bool wants_room = false;     // kWritable is owed
    bool write_closed = false;   // we have said kFin
    bool remote_closed = false;  // kRemoteClosed has been told
    uint64_t told = 0;           // bytes received up to the last kReadable
    int error = 0;               // kClosed: why

    // Bytes copied out and not consumed: [begin, end) of inbox.
    std::unique_ptr<uint8_t[]> inbox;
    size_t begin = 0;
    size_t end = 0;

    uint32_t generation = 0;
    std::shared_ptr<Listener> listener;
    int queue = 0;
  };

  ShmStreamPort(ShmTransport* transport, const Settings& settings, const PortOptions& options);

  Stream* Find(StreamId id) const;
  Stream* FindOpen(StreamId id) const;
  Stream& AddStream(State state);
  absl::Status AttachSession(Stream& stream, Session&& session);
  void EndSession(Stream& stream, int error);
  void Release(Stream& stream);
  bool HasNews(Stream& stream) const;
  size_t TakeNews(Stream& stream, absl::Span<StreamEvent> events);
  static constexpr int kGoesOn = -1;
  static int EndOf(const Stream& stream);
  void FillInbox(Stream& stream);

  int OnSession(Session& session, const std::shared_ptr<Listener>& listener, int queue) override;
  void OnReadable(uint32_t index) override;

  ShmTransport* const transport_;
  const Directory directory_;
  const uint32_t ring_bytes_;
  const uint32_t max_peers_;
  const int queue_;
  const int queues_;
  std::string name_;  // the first one listened at; before that, a name for the peers to see
  bool listening_ = false;
  std::unique_ptr<Control> control_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<Stream*> active_;  // those that are not free, in any order
  size_t cursor_ = 0;            // in active_: where the next Poll() begins
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_SHM_STREAM_PORT_H_
