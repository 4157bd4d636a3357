// SPDX-License-Identifier: Apache-2.0
//
// The server's part of a program: a Store behind the address of the configuration.
#ifndef WEFT_EXAMPLES_KV_SERVICE_SERVE_H_
#define WEFT_EXAMPLES_KV_SERVICE_SERVE_H_

#include "absl/status/status.h"
#include "weft/config/config.h"

namespace kv {

// Serves until SIGINT or SIGTERM, and then answers what it has begun.
absl::Status Serve(const weft::config::Config& config);

}  // namespace kv

#endif  // WEFT_EXAMPLES_KV_SERVICE_SERVE_H_
