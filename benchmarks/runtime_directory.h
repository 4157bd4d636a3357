// SPDX-License-Identifier: Apache-2.0
//
// Where the peers of one run of a benchmark meet over shared memory: a directory of its own, which
// goes when the run ends.
#ifndef WEFT_BENCHMARKS_RUNTIME_DIRECTORY_H_
#define WEFT_BENCHMARKS_RUNTIME_DIRECTORY_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace weft::benchmarks {

class RuntimeDirectory {
 public:
  // Makes it, and lets XDG_RUNTIME_DIR of this process and those that it starts name it.
  static absl::StatusOr<std::unique_ptr<RuntimeDirectory>> Make();
  ~RuntimeDirectory();
  const std::string& path() const { return path_; }
  RuntimeDirectory(const RuntimeDirectory&) = delete;
  RuntimeDirectory& operator=(const RuntimeDirectory&) = delete;

 private:
  explicit RuntimeDirectory(std::string path) : path_(std::move(path)) {}

  const std::string path_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_RUNTIME_DIRECTORY_H_
