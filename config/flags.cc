// SPDX-License-Identifier: Apache-2.0

#include "weft/config/flags.h"

#include <string>

#include "absl/flags/flag.h"
#include "weft/config/loader.h"

ABSL_FLAG(
    std::string, config, "",
    "Configuration file, in protobuf's text format or JSON; the schema is config/config.proto. "
    "Without it, the file that the environment variable WEFT_CONFIG names.");
ABSL_FLAG(
    std::string, transport, "",
    "Transport to use instead of the configuration's, such as linux, shm or sim. Settings of a "
    "transport of another name are dropped.");

ABSL_FLAG(bool, plaintext, false,
          "Speak plain text to other machines too: as `security { plaintext { } }` in the "
          "configuration.");

namespace weft::config {

absl::StatusOr<Config> FromFlags() {
  return LoadChosen(absl::GetFlag(FLAGS_config), absl::GetFlag(FLAGS_transport),
                    absl::GetFlag(FLAGS_plaintext));
}

}  // namespace weft::config
