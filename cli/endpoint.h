// SPDX-License-Identifier: Apache-2.0
//
// What commands that talk have in common.
#ifndef WEFT_CLI_ENDPOINT_H_
#define WEFT_CLI_ENDPOINT_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/core/loop.h"
#include "weft/transports/address.h"
#include "weft/transports/transport.h"

namespace weft::cli {

struct EndpointOptions {
  std::string config;     // --config
  std::string transport;  // --transport
  std::string address;    // empty: where the configuration says to listen, or else the default
};

// An address and the transport that reaches it.
struct Endpoint {
  config::Config config;
  Address address;
  std::unique_ptr<Transport> transport;
};

// The transport is the one of `options.transport`, or of the configuration, or else the one that
// the address is of. A transport that exists only within one process is refused.
absl::StatusOr<Endpoint> OpenEndpoint(const EndpointOptions& options);

// kExitUsage for an error that another command line or configuration would avoid, else kExitFailed.
int ExitStatus(const absl::Status& error);

// Stops `loop` on SIGINT and SIGTERM as long as it exists; a second signal ends the program. One at
// a time.
class StopOnSignal {
 public:
  explicit StopOnSignal(Loop& loop);
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;
};

LoopOptions LoopOptionsOf(const config::Config& config);

}  // namespace weft::cli

#endif  // WEFT_CLI_ENDPOINT_H_
