// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/runtime_directory.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"

namespace weft::benchmarks {

absl::StatusOr<std::unique_ptr<RuntimeDirectory>> RuntimeDirectory::Make() {
  std::string path = std::filesystem::temp_directory_path() / "weft-benchmark-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) return absl::ErrnoToStatus(errno, "mkdtemp");
  setenv("XDG_RUNTIME_DIR", path.c_str(), 1);
  return std::unique_ptr<RuntimeDirectory>(new RuntimeDirectory(std::move(path)));
}

RuntimeDirectory::~RuntimeDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace weft::benchmarks
