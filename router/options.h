// SPDX-License-Identifier: Apache-2.0
//
// Settings of a router, by hand or from a configuration: its section `router` (config/config.proto
// has the meaning and range of each).
#ifndef WEFT_ROUTER_OPTIONS_H_
#define WEFT_ROUTER_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"

namespace weft::router {

struct RouterOptions {
  struct Server {
    Address address;
    uint32_t slots = 0;  // 0: as the router says
    uint32_t weight = 1;

    friend bool operator==(const Server&, const Server&) = default;
  };
  struct Tenant {
    std::string name;
    std::vector<std::string> clients;  // "10.1.0.0/16", or the beginning of names: "shm:batch-"
    uint32_t weight = 1;

    friend bool operator==(const Tenant&, const Tenant&) = default;
  };
  enum class Forwarding : uint8_t { kAuto, kKeepSource, kAddressInHeader };

  static constexpr size_t kTenantsMax = 255;

  Address listen;
  Address control;  // equal to `listen`: there is no port of its own for it
  std::vector<Server> servers;
  std::string policy = "jbsq";
  uint32_t slots = 2;
  size_t queue_max = 4096;
  absl::Duration lease = absl::Seconds(1);
  absl::Duration keepalive = absl::Milliseconds(100);
  size_t servers_max = 1024;
  std::vector<Tenant> tenants;
  Forwarding forwarding = Forwarding::kAuto;
  bool join = false;
  // With `join`: whether who has proved to be `identity` (DatagramPort::IdentityOf() of the port
  // for control) may join. Null: everybody may.
  std::function<bool(absl::string_view identity)> may_join = nullptr;
  // FEEDBACK and JOIN are taken from the port for control only, as it is protected.
  bool control_protected = false;

  size_t placements_max = size_t{1} << 17;  // requests that are known at a time
  // Makes choices foreseeable, so that a simulation can be repeated; none: a secret.
  std::optional<uint64_t> seed = std::nullopt;

  // InvalidArgument "router.servers[1].address: ..." says what is wrong and what would be right.
  // `may_join` and `control_protected` are left to the caller, who knows about security.
  static absl::StatusOr<RouterOptions> From(const config::Config& config);
  // What From() checks, of options made by hand.
  absl::Status Validate() const;
  // Whether requests can be sent to `server` by a router that listens at `listen`. InvalidArgument
  // says why not.
  static absl::Status CheckServer(const Address& server, const Address& listen);
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_OPTIONS_H_
