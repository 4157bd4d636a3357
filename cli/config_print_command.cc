// SPDX-License-Identifier: Apache-2.0

#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "weft/cli/command.h"
#include "weft/cli/flags.h"
#include "weft/config/loader.h"

namespace weft::cli {

int ConfigPrint(Arguments arguments) {
  std::string file;
  std::string transport;
  bool plaintext = false;
  bool as_json = false;
  Flags flags("config print",
              "Prints the configuration that a program with the same options would run with, with\n"
              "every default filled in: a file to begin with.");
  flags.Config(&file, &transport, &plaintext);
  flags.Bool("json", "JSON instead of protobuf's text format", &as_json);
  if (std::optional<int> status = flags.Parse(arguments)) return *status;

  const absl::StatusOr<config::Config> config = config::LoadChosen(file, transport, plaintext);
  if (!config.ok()) return flags.UsageError(config.status().message());
  std::string text =
      config::Print(*config, as_json ? config::Format::kJson : config::Format::kText);
  if (text.empty() || text.back() != '\n') text += '\n';
  std::fputs(text.c_str(), stdout);
  return kExitOk;
}

}  // namespace weft::cli
