// SPDX-License-Identifier: Apache-2.0
//
// TcpPort: byte streams over TCP of weft's own stack; transports/stream_port.h says how to use
// them.
//
//   auto transport = TcpTransport::Open(*std::move(netstack), config.tcp());   // tcp_transport.h
//   auto port = (*transport)->OpenStreamPort({});
//   (*port)->Listen(*Address::Parse("10.0.0.2:80"), /*backlog=*/128);
//
// Received bytes are looked at in the buffers that the device has filled, and what is committed
// lies in those that it sends, and sends again if need be: nothing is copied.
//
// Addresses are those of the interface, "0.0.0.0" for all of IPv4, or "::" for all there are. Port
// 0 is replaced by a free one of the ephemeral range. Streams that were Close()d when their port
// goes are brought to their end as long as another port of the thread is open; all others are
// reset.
#ifndef WEFT_TCP_TCP_PORT_H_
#define WEFT_TCP_TCP_PORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/unique_fd.h"
#include "weft/netstack/port_binding.h"
#include "weft/tcp/endpoint.h"
#include "weft/transports/stream_port.h"
#include "weft/transports/transport.h"

namespace weft::tcp {

class TcpPort final : public StreamPort {
 public:
  // On the thread of `endpoint`. `options.local`: where connections that begin here come from;
  // nowhere in particular if it is none. With `options.queues` above 1 other workers may listen at
  // the same addresses. InvalidArgument for an address that is not the interface's.
  static absl::StatusOr<std::unique_ptr<TcpPort>> Open(std::shared_ptr<Endpoint> endpoint,
                                                       const PortOptions& options,
                                                       const Capabilities& capabilities);
  ~TcpPort() override;

  // Where connections come from: the first address of the interface if nobody has said.
  Address local_address() const override;

  absl::StatusOr<Address> Listen(const Address& address, int backlog) override;
  // Besides what stream_port.h says: Unavailable if no route leads there, ResourceExhausted at
  // tcp.connections_max, or when no port is free to this destination.
  absl::StatusOr<StreamId> Connect(const Address& address) override;
  size_t Poll(absl::Span<StreamEvent> events) override;

  absl::Span<const uint8_t> ReadView(StreamId stream) override;
  void Consume(StreamId stream, size_t n) override;
  absl::Span<uint8_t> Reserve(StreamId stream, size_t wanted) override;
  void Commit(StreamId stream, size_t n) override;
  // Nothing while room is reserved, which may lie behind what would be sent.
  void Flush() override {
    if (!reserved_) endpoint_->Send();
  }
  // Keeps a buffer that has capabilities().headroom_bytes in front, is not shared, and is worth it.
  bool SendBuffer(StreamId stream, Buffer* buffer) override;
  void CloseWrite(StreamId stream) override;
  void Close(StreamId stream) override;
  void Abort(StreamId stream) override;

  absl::StatusOr<Address> PeerAddress(StreamId stream) const override;
  absl::StatusOr<Address> LocalAddress(StreamId stream) const override;
  absl::Status SetOptions(StreamId stream, const StreamOptions& options) override;
  absl::StatusOr<StreamInfo> Info(StreamId stream) const override;

  int wait_fd() const override { return wait_fd_.get(); }
  bool Arm() override;
  void Disarm() override { endpoint_->stack().Disarm(); }
  // Moves the stack, and with it all ports on it.
  void BindToThisThread() override;

  Endpoint& endpoint() { return *endpoint_; }

 private:
  TcpPort(std::shared_ptr<Endpoint> endpoint, const Capabilities& capabilities, uint16_t user,
          bool shared);

  Engine& engine() { return endpoint_->engine(); }
  const Engine& engine() const { return endpoint_->engine(); }
  int64_t now_ns() const { return endpoint_->now_ns(); }

  const std::shared_ptr<Endpoint> endpoint_;
  const uint16_t user_;  // of the engine
  const bool shared_;
  netstack::PortBinding local_;
  std::vector<netstack::PortBinding> listeners_;
  UniqueFd wait_fd_;
  // What was shown last, so that what is done with it can be counted.
  StreamId viewed_;
  size_t viewed_bytes_ = 0;
  StreamId reserved_;
  size_t reserved_bytes_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TCP_PORT_H_
