// SPDX-License-Identifier: Apache-2.0
//
// Settings of R2P2 clients and servers, by hand or from a configuration: its sections `rpc` and
// `security` (config/config.proto has the meaning and range of each).
#ifndef WEFT_RPC_OPTIONS_H_
#define WEFT_RPC_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/config/config.h"
#include "weft/rpc/congestion_control.h"
#include "weft/rpc/security/security.h"
#include "weft/rpc/wire.h"
#include "weft/transports/address.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// What a client speaks; servers answer each in the format in which it was asked.
enum class Wire : uint8_t {
  kAuto = 0,      // the extended format with servers that know it, the original with others
  kOriginal = 1,  // the 8-byte header only
  kExtended = 2,  // the extended format only
};

// Sessions in the extended format: what clients and servers have in common.
struct SessionOptions {
  // A peer not heard of for so long is dead. The smaller one of the two sides' holds.
  absl::Duration timeout = absl::Seconds(5);
  size_t slots = 128;           // requests in flight, 1 to 4096; the smaller one holds
  size_t credits = 128;         // packets on their way to this side, 1 to 4096
  size_t packet_bytes_max = 0;  // header included; 0: what the path carries
  size_t sessions_max = 131072;
  size_t message_bytes_max = size_t{16} << 20;
  absl::Duration rto_min = absl::Microseconds(200);
  absl::Duration rto_max = absl::Milliseconds(100);
  absl::Duration rto_initial = absl::Milliseconds(1);
  CongestionOptions congestion = {};

  // InvalidArgument that names the field, for what is out of range.
  absl::Status Validate() const;
  static SessionOptions From(const config::Rpc& config);
};

struct ClientOptions {
  Policy policy = Policy::kLbRoute;
  absl::Duration timeout = absl::Seconds(1);
  size_t outstanding_max = 1024;     // calls; at most 32768
  size_t message_packets_max = 254;  // of a request and of a reply; at most 65535
  // Makes the request ids foreseeable, so that a simulation can be repeated; none: a secret.
  std::optional<uint64_t> request_id_seed = std::nullopt;

  Wire wire = Wire::kAuto;
  // kAuto: how long to wait for a server to say that it knows the extended format.
  absl::Duration negotiation_timeout = absl::Milliseconds(100);
  SessionOptions session = {};

  // How what is sent is protected. None: plain text, within this machine only.
  std::shared_ptr<const Security> security = nullptr;

  // Errors: those of Security::Open().
  static absl::StatusOr<ClientOptions> From(const config::Config& config);
};

// What a server has to do with routers (docs/protocols/router.md). Without `control`, nothing.
struct RouterOptions {
  static constexpr size_t kControlMax = 64;
  static constexpr absl::Duration kKeepaliveMin = absl::Milliseconds(1);
  static constexpr absl::Duration kKeepaliveMax = absl::Minutes(1);

  // Where they take FEEDBACK and JOIN; at most kControlMax.
  std::vector<Address> control = {};
  // Asks them for requests, and before the server ends for no more.
  bool join = false;
  // Where they send requests to; kNone: where the server listens, which then must not be 0.0.0.0.
  Address address = {};
  uint16_t slots = 0;   // requests that it wants at a time from each; 0: as the router says
  uint16_t weight = 1;  // at least 1; for the policy "weighted"
  // They hear of the server so often; kKeepaliveMin to kKeepaliveMax. The smaller one of the two
  // sides' holds.
  absl::Duration keepalive = absl::Milliseconds(100);
  // Whose word, beside that of `control`, is taken for which client a request comes from. The ports
  // of IP addresses do not count.
  std::vector<Address> forwards_from = {};

  // How JOIN and FEEDBACK are protected; plain text goes through the port that takes requests. With
  // keys they have a port of their own, which `open_port` opens on any free address.
  std::shared_ptr<const Security> security = nullptr;
  std::function<absl::StatusOr<std::unique_ptr<DatagramPort>>()> open_port = nullptr;

  // InvalidArgument that names the field, for what is out of range.
  absl::Status Validate() const;
  // Errors: those of Security::Open() and Validate(); InvalidArgument for an address that is none.
  static absl::StatusOr<RouterOptions> From(const config::Routers& config);
};

struct ServerOptions {
  size_t message_packets_max = 254;
  // Limits on requests that have begun to arrive. Beyond `messages_max` the one that has made no
  // progress for the longest time gives way; beyond `messages_per_peer_max`, the peer's next is
  // refused.
  size_t messages_max = 1024;
  size_t messages_per_peer_max = 256;
  absl::Duration reassembly_timeout = absl::Seconds(1);  // without progress
  RouterOptions router = {};

  SessionOptions session = {};
  // Replies kept in case that they are lost: each for so long at most, all together so much.
  absl::Duration reply_cache_time = absl::Seconds(2);
  size_t reply_cache_bytes_max = size_t{64} << 20;
  // Requests in handlers; one more is refused with a hint when to try again.
  size_t executing_max = 8192;
  // Makes the session keys foreseeable, so that a simulation can be repeated; none: secrets.
  std::optional<uint64_t> key_seed = std::nullopt;

  // As of a client. Which methods its peers may call, too.
  std::shared_ptr<const Security> security = nullptr;

  // Errors: those of Security::Open() and RouterOptions::From(). Who has keys in `router` sets its
  // `open_port` too: Worker::PortOpener().
  static absl::StatusOr<ServerOptions> From(const config::Config& config);
};

// For programs without a configuration: plain text, to other machines too, as is said by name with
// `security { plaintext { } }`.
std::shared_ptr<const Security> Plaintext();

}  // namespace weft::rpc

#endif  // WEFT_RPC_OPTIONS_H_
