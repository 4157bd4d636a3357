// SPDX-License-Identifier: Apache-2.0
//
// The transports linked into this program, by name. A plugin registers itself from its own source
// file:
//
//   const TransportRegistrar registrar({
//       .name = "linux", .summary = "UDP and TCP through the kernel's sockets",
//       .address_kinds = {Address::Kind::kIpv4, Address::Kind::kIpv6},
//       .capabilities = Offered(), .probe = &Probe, .open = &Open});
//
// and its library is `alwayslink`. A program depends on the plugins it wants, or on
// //transports:all.
#ifndef WEFT_TRANSPORTS_REGISTRY_H_
#define WEFT_TRANSPORTS_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/capabilities.h"
#include "weft/transports/transport.h"

namespace weft {

struct TransportPlugin {
  std::string name;
  std::string summary;  // one line for tables
  // Of addresses that its ports, or a network stack over its frames, are reached at; the first is
  // its own choice.
  std::vector<Address::Kind> address_kinds;
  Capabilities capabilities;  // at its best, for tables
  // Whether it can be opened on this machine by this user; if not, why, and what to do. Quick,
  // without side effects.
  absl::Status (*probe)();
  absl::StatusOr<std::unique_ptr<Transport>> (*open)(const config::Transport& config);
};

// Registers before main(). Two plugins of one name end the program with a message: a mistake of the
// build.
class TransportRegistrar {
 public:
  explicit TransportRegistrar(TransportPlugin plugin);
};

// All, by name.
std::vector<const TransportPlugin*> RegisteredTransports();

// Null if there is none of that name.
const TransportPlugin* FindTransport(absl::string_view name);

// Null if none is reached at addresses of that kind; if several are, the first by name. One that
// has nothing but frames is not: it needs a network stack.
const TransportPlugin* FindTransportFor(Address::Kind kind);

// Opens the plugin `config.name()`, without the decorators it asks for (see decorators/open.h for
// them). NotFound names the transports that are linked in.
absl::StatusOr<std::unique_ptr<Transport>> OpenPlainTransport(const config::Transport& config);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_REGISTRY_H_
