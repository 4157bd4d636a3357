// SPDX-License-Identifier: Apache-2.0

#include "weft/config/flags.h"

#include <cstdlib>
#include <string>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/config/loader.h"
#include "weft/config/settings.h"

ABSL_FLAG(
    std::string, config, "",
    "Configuration file, in protobuf's text format or JSON; the schema is config/config.proto. "
    "Without it, the file that the environment variable WEFT_CONFIG names.");
ABSL_FLAG(
    std::string, transport, "",
    "Transport to use instead of the configuration's, such as linux, shm or sim. Settings of a "
    "transport of another name are dropped.");

namespace weft::config {
namespace {

absl::StatusOr<Config> Load() {
  const std::string path = absl::GetFlag(FLAGS_config);
  if (!path.empty()) return LoadFile(path);
  const char* variable = std::getenv("WEFT_CONFIG");
  if (variable == nullptr || *variable == '\0') return Config();
  absl::StatusOr<Config> config = LoadFile(variable);
  if (config.ok()) return config;
  // Nobody sees the variable on the command line.
  return absl::Status(config.status().code(),
                      absl::StrCat(config.status().message(), "\n(the file is from WEFT_CONFIG)"));
}

}  // namespace

absl::StatusOr<Config> FromFlags() {
  absl::StatusOr<Config> config = Load();
  const std::string transport = absl::GetFlag(FLAGS_transport);
  if (config.ok() && !transport.empty()) {
    SelectTransport(transport, config->mutable_transport());
  }
  return config;
}

}  // namespace weft::config
