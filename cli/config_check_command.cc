// SPDX-License-Identifier: Apache-2.0

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/config/loader.h"
#include "weft/router/config_check.h"

namespace weft::cli {

int ConfigCheck(Arguments arguments) {
  std::vector<std::string> files;
  Flags flags("config check",
              "Says what is wrong with configuration files: file, line, column, field, and what\n"
              "would be right. Exit status 0 if nothing is, else 2.");
  flags.Arguments("FILE", "configuration in protobuf's text format or JSON", &files);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  int exit_status = kExitOk;
  for (const std::string& file : files) {
    const absl::StatusOr<config::Config> config = config::LoadFile(file, &router::FindProblems);
    if (config.ok()) {
      std::printf("%s: ok\n", file.c_str());
    } else {
      std::fprintf(stderr, "%s\n", std::string(config.status().message()).c_str());
      exit_status = kExitUsage;
    }
  }
  return exit_status;
}

}  // namespace weft::cli
