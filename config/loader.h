// SPDX-License-Identifier: Apache-2.0
//
// Reads and prints configurations.
//
//     absl::StatusOr<Config> config = LoadFile("server.cfg");
//     if (!config.ok()) {
//       std::cerr << config.status().message() << "\n";  // server.cfg:3:9: host.workers: 0 is ...
//     }
//
// Programs that take --config use config/flags.h instead.

#ifndef WEFT_CONFIG_LOADER_H_
#define WEFT_CONFIG_LOADER_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/config/problem.h"

namespace weft::config {

enum class Format {
  // Protobuf's text format: https://protobuf.dev/reference/protobuf/textformat-spec/.
  kText,
  // JSON as protobuf maps it; names as in the schema or in camelCase.
  kJson,
};

// Longest text of a configuration; more is refused.
inline constexpr size_t kTextBytesMax = 1 << 20;

// JSON if the first character is '{', which text format cannot begin with.
Format DetectFormat(const std::string& text);

// What else is wrong with a configuration that Validate() has nothing against: of values whose
// meaning rooms above this one know. Problems name their field; the loader adds where it stands.
using Check = std::function<std::vector<Problem>(const Config& config)>;

// Reads and checks a configuration. InvalidArgument for all that is wrong, a line
// each: "origin:line:column: field: what is wrong; what would be right". `origin`
// is the file's name or another word for where the text is from.
absl::StatusOr<Config> Parse(const std::string& text, const std::string& origin, Format format,
                             const Check& check = nullptr);

// Parse() of a file: JSON if its name ends in ".json" or its text looks like it, or
// else text format. NotFound, PermissionDenied and so on if it cannot be read.
absl::StatusOr<Config> LoadFile(const std::string& path, const Check& check = nullptr);

// What a program is to use: the file `path` or, if that is empty, the one that the environment
// variable WEFT_CONFIG names or, without it, all defaults; on `transport` unless that is empty.
// Settings of a transport of another name are dropped then; decorators and buffers stay.
// `plaintext` says `security { plaintext { } }`: InvalidArgument beside keys.
absl::StatusOr<Config> LoadChosen(const std::string& path, const std::string& transport,
                                  bool plaintext = false, const Check& check = nullptr);

// The effective configuration: every field that has a value, with defaults filled in.
// Of the transports' settings, only those of the one named. Parse() reads it back as
// the same. The type of `plugin` must be linked into the program, as Parse() demands.
std::string Print(const Config& config, Format format);

}  // namespace weft::config

#endif  // WEFT_CONFIG_LOADER_H_
