// SPDX-License-Identifier: Apache-2.0
//
// Command-line flags of every program that is configured:
//
//   --config FILE       the configuration; without it, the environment variable WEFT_CONFIG
//                       names the file; without that, everything has its default.
//   --transport NAME    another transport than the configuration's. Settings there of a
//                       transport of another name are dropped; decorators and buffers stay.
//   --plaintext         RPC in plain text to other machines too, as `security { plaintext { } }`
//                       in the configuration says.
//
// A program calls absl::ParseCommandLine() first.

#ifndef WEFT_CONFIG_FLAGS_H_
#define WEFT_CONFIG_FLAGS_H_

#include "absl/status/statusor.h"
#include "weft/config/config.h"

namespace weft::config {

// The configuration that the flags and the environment ask for. Errors are those of LoadFile().
absl::StatusOr<Config> FromFlags();

}  // namespace weft::config

#endif  // WEFT_CONFIG_FLAGS_H_
