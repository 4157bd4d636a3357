// SPDX-License-Identifier: Apache-2.0

#include "weft/config/loader.h"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/config/problem.h"
#include "weft/config/reader.h"
#include "weft/config/settings.h"
#include "weft/config/validate.h"

namespace weft::config {
namespace {

absl::Status CannotRead(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, absl::StrCat("cannot read configuration file '", path, "'"));
}

absl::StatusOr<Config> LoadFromEnvironment(const Check& check) {
  const char* path = std::getenv("WEFT_CONFIG");
  if (path == nullptr || *path == '\0') return Config();
  absl::StatusOr<Config> config = LoadFile(path, check);
  if (config.ok()) return config;
  // Nobody sees the variable on the command line.
  return absl::Status(config.status().code(),
                      absl::StrCat(config.status().message(), "\n(the file is from WEFT_CONFIG)"));
}

}  // namespace

Format DetectFormat(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && text[first] == '{' ? Format::kJson : Format::kText;
}

absl::StatusOr<Config> Parse(const std::string& text, const std::string& origin, Format format,
                             const Check& check) {
  if (text.size() > kTextBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        origin, ": ", text.size(), " bytes; a configuration has at most ", kTextBytesMax));
  }
  Config config;
  Reading reading = format == Format::kJson ? ReadJson(text, &config) : ReadText(text, &config);
  // Half a configuration would only give consequential errors.
  if (reading.problems.empty()) reading.problems = FindProblems(config, reading.locations);
  if (reading.problems.empty() && check) {
    reading.problems = check(config);
    for (Problem& problem : reading.problems) problem.at = Find(reading.locations, problem.field);
  }
  absl::Status status = ToStatus(std::move(reading.problems), origin);
  if (!status.ok()) return status;
  return config;
}

absl::StatusOr<Config> LoadFile(const std::string& path, const Check& check) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return CannotRead(path, errno);
  std::string text;
  text.resize(kTextBytesMax + 1);
  errno = 0;
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return CannotRead(path, errno != 0 ? errno : EIO);
  text.resize(static_cast<size_t>(file.gcount()));
  return Parse(text, path, absl::EndsWith(path, ".json") ? Format::kJson : DetectFormat(text),
               check);
}

absl::StatusOr<Config> LoadChosen(const std::string& path, const std::string& transport,
                                  bool plaintext, const Check& check) {
  absl::StatusOr<Config> config = path.empty() ? LoadFromEnvironment(check) : LoadFile(path, check);
  if (!config.ok()) return config;
  if (!transport.empty()) SelectTransport(transport, config->mutable_transport());
  if (!plaintext) return config;
  if (config->has_security() && !config->security().has_plaintext()) {
    return absl::InvalidArgumentError(
        "--plaintext, but the configuration has keys (security); give one of the two");
  }
  config->mutable_security()->mutable_plaintext();
  return config;
}

}  // namespace weft::config
