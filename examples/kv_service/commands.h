// SPDX-License-Identifier: Apache-2.0
//
// The client's part of a program: one command for the server that the configuration names.
#ifndef WEFT_EXAMPLES_KV_SERVICE_COMMANDS_H_
#define WEFT_EXAMPLES_KV_SERVICE_COMMANDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "weft/config/config.h"

namespace kv {

// `words`: a command and its arguments, as main.cc lists them. Prints what it finds to standard
// output. InvalidArgument if there is no such command; else what the server said.
absl::Status RunCommand(const weft::config::Config& config, const std::vector<std::string>& words);

}  // namespace kv

#endif  // WEFT_EXAMPLES_KV_SERVICE_COMMANDS_H_
