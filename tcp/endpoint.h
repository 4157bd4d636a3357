// SPDX-License-Identifier: Apache-2.0
//
// Endpoint: the TCP of one thread: an engine on a network stack of weft's own, for all stream ports
// of that thread.
//
//   auto endpoint = Endpoint::Open(stack, options, secret);
//   (*endpoint)->Poll();      // sends, receives, sends what that has made due
//   (*endpoint)->engine().TakeEvents(...)
//
// Programs get it by a TcpPort. It lives as long as one of these, and the stack as long as it.
#ifndef WEFT_TCP_ENDPOINT_H_
#define WEFT_TCP_ENDPOINT_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/netstack/port_binding.h"
#include "weft/netstack/segment_handler.h"
#include "weft/netstack/stack.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/engine.h"
#include "weft/tcp/options.h"

namespace weft::tcp {

// Used by the stack's thread.
class Endpoint final : public netstack::SegmentHandler {
 public:
  // In front of what a segment carries: all headers.
  static constexpr size_t kHeadroom =
      netstack::Stack::kSegmentHeadroom + netstack::kTcpHeaderBytesMax;

  // The stack's segments come here from now on. `secret` is random, and the same for all workers.
  // `stats`: as World::stats.
  // InvalidArgument for a congestion control that does not exist, for fewer ephemeral ports than
  // workers, and for a device whose buffers have too little room for headers or for a segment.
  static absl::StatusOr<std::shared_ptr<Endpoint>> Open(std::shared_ptr<netstack::Stack> stack,
                                                        const Options& options, uint64_t secret,
                                                        TcpStats* stats = nullptr);
  ~Endpoint() override;
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  Engine& engine() { return *engine_; }
  const Engine& engine() const { return *engine_; }
  netstack::Stack& stack() { return *stack_; }
  // When everything happens that is done now.
  int64_t now_ns() const { return stack_->now_ns(); }
  // Ok, or why the device is dead. All streams have ended then.
  const absl::Status& status() const { return status_; }

  void Poll();
  // Sends what was committed and what is due, as far as the device takes it.
  void Send();
  // Nothing waits for the device.
  bool has_sent() const { return engine_->pending().empty(); }

  // Accepts connections for `user` there, port 0 for one that no worker has, and tells the other
  // workers. `shared`: they may listen there too. Returns where. AlreadyExists; InvalidArgument for
  // an address that is not the interface's.
  absl::StatusOr<netstack::PortBinding> Listen(const netstack::PortBinding& at, int backlog,
                                               bool shared, uint16_t user);
  void StopListening(const netstack::PortBinding& at);

  // Begins a connection for `user` from `from`, or, where that is unspecified, from the address
  // that the route says. Unavailable: there is none.
  absl::StatusOr<StreamId> Connect(const netstack::PortBinding& from,
                                   const netstack::PortBinding& to, uint16_t user);

 private:
  Endpoint(std::shared_ptr<netstack::Stack> stack, std::unique_ptr<Engine> engine);

  absl::StatusOr<uint16_t> AddAtFreePort(const netstack::IpAddress& address, bool shared);
  void CheckDevice();

  // netstack::SegmentHandler
  void OnSegments(absl::Span<netstack::ReceivedSegment> burst) override;
  void OnStraySegments(absl::Span<netstack::ReceivedSegment> burst) override;
  bool OnIcmpError(const netstack::IcmpErrorReport& report) override;
  void OnPathMtu(const netstack::IpAddress& destination, size_t mtu) override;

  const std::shared_ptr<netstack::Stack> stack_;
  const std::unique_ptr<Engine> engine_;
  absl::Status status_;
  uint32_t next_port_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ENDPOINT_H_
