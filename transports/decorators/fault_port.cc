// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/decorators/fault_port.h"

#include <utility>

namespace weft {

Capabilities WithFaults(Capabilities capabilities, const config::Fault& faults) {
  // Even a delay alone may lose something, when too much is held back.
  if (faults.loss() > 0 || faults.duplicate() > 0 || faults.reorder() > 0 || faults.corrupt() > 0 ||
      faults.delay_us() > 0 || faults.delay_jitter_us() > 0) {
    capabilities.reliable = false;
    capabilities.ordered = false;
  }
  return capabilities;
}

FaultDatagramPort::FaultDatagramPort(std::unique_ptr<DatagramPort> port,
                                     const config::Fault& faults, const Clock& clock,
                                     TimerWheel* timers)
    : DatagramDecorator(std::move(port)), injector_(inner(), stats_, faults, clock, timers) {
  capabilities_ = WithFaults(capabilities_, faults);
}

size_t FaultDatagramPort::SendWhole(absl::Span<Datagram> burst) { return injector_.Send(burst); }

size_t FaultDatagramPort::ForwardWhole(absl::Span<Datagram> burst, absl::Span<const Peer> sources) {
  return injector_.Send(burst, sources);
}

size_t FaultDatagramPort::Receive(absl::Span<Datagram> burst) {
  AssertOwner();
  injector_.ReleaseDue();
  return inner().Receive(burst);
}

bool FaultDatagramPort::Arm() {
  injector_.ReleaseDue();
  return !injector_.holding() && inner().Arm();
}

FaultFramePort::FaultFramePort(std::unique_ptr<FramePort> port, const config::Fault& faults,
                               const Clock& clock, TimerWheel* timers)
    : FrameDecorator(std::move(port)), injector_(inner(), stats_, faults, clock, timers) {
  capabilities_ = WithFaults(capabilities_, faults);
}

size_t FaultFramePort::Send(absl::Span<Buffer> burst) {
  AssertOwner();
  return injector_.Send(burst);
}

size_t FaultFramePort::Receive(absl::Span<Buffer> burst) {
  AssertOwner();
  injector_.ReleaseDue();
  return inner().Receive(burst);
}

bool FaultFramePort::Arm() {
  injector_.ReleaseDue();
  return !injector_.holding() && inner().Arm();
}

}  // namespace weft
