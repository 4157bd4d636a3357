// SPDX-License-Identifier: Apache-2.0
//
// Ports that make the network worse: what is sent through them is lost, duplicated, reordered,
// corrupted and delayed as `config::Fault` says. A seed fixes which messages are hit by what.
//
//   config::Fault faults;
//   faults.set_loss(0.01);
//   FaultDatagramPort port(std::move(plain), faults, RealClock());
//
// Messages that must wait are held in a bounded queue; those that find it full, or the port below
// full when their time has come, are lost and counted. They leave when the port is next used: a
// port that holds some refuses to Arm(), so a loop spins until they are gone. Where time is virtual
// nobody spins: there they leave by a timer of the clock's (VirtualTime::timers()), which
// RunVirtual() waits for as for any other event.
//
// Statistics are those of the port below: what was lost on purpose never came there.
#ifndef WEFT_TRANSPORTS_DECORATORS_FAULT_PORT_H_
#define WEFT_TRANSPORTS_DECORATORS_FAULT_PORT_H_

#include <cstddef>
#include <memory>

#include "absl/types/span.h"
#include "weft/config/config.h"
#include "weft/core/clock.h"
#include "weft/core/timer_wheel.h"
#include "weft/transports/decorators/decorator.h"
#include "weft/transports/decorators/fault_injector.h"

namespace weft {

class FaultDatagramPort final : public DatagramDecorator {
 public:
  // `clock` must outlive the port, and so must `timers`: those that its owner advances, where time
  // is virtual.
  FaultDatagramPort(std::unique_ptr<DatagramPort> inner, const config::Fault& faults,
                    const Clock& clock, TimerWheel* timers = nullptr);

  size_t Receive(absl::Span<Datagram> burst) override;
  bool Arm() override;

  const FaultStats& fault_stats() const { return injector_.stats(); }

 private:
  size_t SendWhole(absl::Span<Datagram> burst) override;
  size_t ForwardWhole(absl::Span<Datagram> burst, absl::Span<const Peer> sources) override;

  internal::FaultInjector<DatagramPort, Datagram> injector_;
};

class FaultFramePort final : public FrameDecorator {
 public:
  FaultFramePort(std::unique_ptr<FramePort> inner, const config::Fault& faults, const Clock& clock,
                 TimerWheel* timers = nullptr);

  size_t Send(absl::Span<Buffer> burst) override;
  size_t Receive(absl::Span<Buffer> burst) override;
  bool Arm() override;

  const FaultStats& fault_stats() const { return injector_.stats(); }

 private:
  internal::FaultInjector<FramePort, Buffer> injector_;
};

// What is left of `capabilities` behind such a port.
Capabilities WithFaults(Capabilities capabilities, const config::Fault& faults);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_FAULT_PORT_H_
