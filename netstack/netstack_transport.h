// SPDX-License-Identifier: Apache-2.0
//
// A transport of datagrams over UDP of weft's own stack, made of a transport of frames.
//
//   auto frames = OpenTransport(config.transport());
//   auto transport = NetstackTransport::Open(*std::move(frames), config.netstack(), /*workers=*/1);
//   auto port = (*transport)->OpenDatagramPort({.local = *Address::Parse("10.0.0.2:7000")});
//
// Programs with a weft::Host get it by a `netstack` section in their configuration.
//
// Each thread that opens ports has a stack of its own on a queue of the device of its own, for as
// long as one of its ports is open; all ports of a thread share it.
#ifndef WEFT_NETSTACK_NETSTACK_TRANSPORT_H_
#define WEFT_NETSTACK_NETSTACK_TRANSPORT_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/netstack/options.h"
#include "weft/netstack/siblings.h"
#include "weft/netstack/stack.h"
#include "weft/transports/transport.h"

namespace weft::netstack {

class NetstackTransport final : public Transport {
 public:
  // `workers`: threads that may open ports, each with a queue of the device. FailedPrecondition
  // where `frames` has none, InvalidArgument for what is wrong with `config`.
  static absl::StatusOr<std::unique_ptr<NetstackTransport>> Open(std::unique_ptr<Transport> frames,
                                                                 const config::Netstack& config,
                                                                 int workers);

  absl::string_view name() const override { return frames_->name(); }
  const Capabilities& capabilities() const override { return capabilities_; }
  VirtualTime* virtual_time() override { return frames_->virtual_time(); }

  // A port of the calling thread's stack. With `queues` above 1 other workers may listen at the
  // same address; the device decides who gets what.
  absl::StatusOr<std::unique_ptr<DatagramPort>> OpenDatagramPort(
      const PortOptions& options) override;

  // The calling thread's stack, opened if need be, for what goes beyond datagrams.
  absl::StatusOr<std::shared_ptr<Stack>> OpenStack();
  // The same, null where the thread has none.
  std::shared_ptr<Stack> StackOfThisThread();

 private:
  struct Slot {
    std::weak_ptr<Stack> stack;
    std::shared_ptr<std::atomic<const void*>> owner =
        std::make_shared<std::atomic<const void*>>(nullptr);
  };

  NetstackTransport(std::unique_ptr<Transport> frames, std::unique_ptr<Transport> kernel,
                    StackOptions options, int workers);
  absl::StatusOr<std::shared_ptr<Stack>> OpenStackAt(int queue);
  absl::StatusOr<std::unique_ptr<FramePort>> OpenException(int queue, const MacAddress& mac);

  const std::unique_ptr<Transport> frames_;
  const std::unique_ptr<Transport> kernel_;  // a TAP device; null without exception path
  const StackOptions options_;
  const std::shared_ptr<Siblings> siblings_;
  Capabilities capabilities_;
  std::mutex mutex_;
  std::vector<Slot> slots_;  // guarded by mutex_
};

}  // namespace weft::netstack

#endif  // WEFT_NETSTACK_NETSTACK_TRANSPORT_H_
