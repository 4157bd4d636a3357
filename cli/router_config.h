// SPDX-License-Identifier: Apache-2.0
//
// The configuration of a router, from a file, from the command line, or from both.
#ifndef WEFT_CLI_ROUTER_CONFIG_H_
#define WEFT_CLI_ROUTER_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "weft/cli/flags.h"
#include "weft/config/config.h"

namespace weft::cli {

// What stands on the command line. It wins over the file.
struct RouterFlags {
  std::string config = {};     // --config
  std::string transport = {};  // --transport
  bool plaintext = false;      // --plaintext
  // Fields of `router`; empty or 0: not given.
  std::string listen = {};
  std::string control = {};
  std::string servers = {};
  std::string policy = {};
  uint64_t slots = 0;
  bool join = false;
  bool keep_source = false;  // forwarding, and what the transport needs for it
  std::string metrics = {};  // metrics.listen

  void Declare(Flags& flags);
};

// The file, read and checked, with what the command line says; the transport is, if nobody names
// one, that of the address at which the router listens. InvalidArgument names file, line and field,
// or the option; for transports that exist only within one process, too.
absl::StatusOr<config::Config> ChooseRouterConfig(const RouterFlags& flags);

}  // namespace weft::cli

#endif  // WEFT_CLI_ROUTER_CONFIG_H_
