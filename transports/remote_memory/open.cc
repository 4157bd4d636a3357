// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/remote_memory/open.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"

namespace weft {
namespace {

absl::Status MustChoose(const Address& local) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the port of the remote memory is to be at ", local.ToString(),
      ", which can be reached from beyond this machine, and nothing says how that is protected. "
      "Write into the configuration `security { psk { ... } }` or `security { x509 { ... } }` for "
      "encryption, or `security { plaintext { } }` for none; docs/security.md says more"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RemoteMemory>> OpenRemoteMemory(Transport& transport,
                                                               const PortOptions& port,
                                                               const RemoteMemoryOptions& options) {
  if (port.queue != 0 || port.queues != 1) {
    return absl::InvalidArgumentError("an address is one port's: queues must be 1, and queue 0");
  }
  const bool guarded = options.beyond_machine || options.protect != nullptr ||
                       transport.virtual_time() != nullptr;
  if (!guarded && port.local.kind() != Address::Kind::kNone && !port.local.is_within_machine()) {
    return MustChoose(port.local);
  }
  if (transport.capabilities().remote_memory && options.protect == nullptr) {
    auto own = transport.OpenRemoteMemory(port);
    if (own.ok() && !guarded && !(*own)->local_address().is_within_machine()) {
      return MustChoose((*own)->local_address());
    }
    return own;
  }
  auto datagrams = transport.OpenDatagramPort(port);
  if (!datagrams.ok()) return datagrams.status();
  // Peers are to find the port at its address, and [::] is nobody's.
  if (!guarded && port.local.kind() == Address::Kind::kNone &&
      (*datagrams)->local_address().is_any()) {
    datagrams = transport.OpenDatagramPort({.local = Address::Ipv4({127, 0, 0, 1}, 0)});
    if (!datagrams.ok()) return datagrams.status();
  }
  if (options.protect != nullptr) datagrams = options.protect(*std::move(datagrams));
  if (!datagrams.ok()) return datagrams.status();
  VirtualTime* const time = transport.virtual_time();
  EmulatedMemoryOptions emulated = options.emulated;
  emulated.beyond_machine = guarded;
  // A simulation ends when nothing is left to happen.
  if (time != nullptr) emulated.keepalive = absl::InfiniteDuration();
  const Clock& clock = time != nullptr ? static_cast<const Clock&>(*time) : RealClock();
  return EmulatedMemory::Create(*std::move(datagrams), clock, time, emulated);
}

}  // namespace weft
