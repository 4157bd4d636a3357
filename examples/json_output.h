// SPDX-License-Identifier: Apache-2.0
//
// Where --json says that results go.
#ifndef WEFT_EXAMPLES_JSON_OUTPUT_H_
#define WEFT_EXAMPLES_JSON_OUTPUT_H_

#include <cerrno>
#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "weft/core/json_writer.h"

namespace weft {

// Writes it to the file `path`, "-" for standard output; nothing for an empty one.
inline absl::Status WriteJson(const JsonWriter& json, const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  std::FILE* const file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  bool written = file != nullptr;
  if (written) {
    written = std::fprintf(file, "%s\n", json.text().c_str()) > 0;
    written = (file == stdout ? std::fflush(file) : std::fclose(file)) == 0 && written;
  }
  if (written) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
}

// Where text for people goes beside it: standard output alone belongs to one of them.
inline std::FILE* TextBeside(const std::string& json_path) {
  return json_path == "-" ? stderr : stdout;
}

}  // namespace weft

#endif  // WEFT_EXAMPLES_JSON_OUTPUT_H_
