// SPDX-License-Identifier: Apache-2.0
//
// For tests: a directory of their own, which goes with the object. Its path is short, as those of
// sockets must be.
//
//   const TempDirectory directory;
//   config.mutable_shm()->set_directory(directory.path());
#ifndef WEFT_CORE_TEMP_DIRECTORY_H_
#define WEFT_CORE_TEMP_DIRECTORY_H_

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace weft {

class TempDirectory {
 public:
  TempDirectory() {
    char path[] = "/tmp/weft-test-XXXXXX";
    if (mkdtemp(path) == nullptr) std::abort();
    path_ = path;
  }
  // A process that this one has forked leaves it where it is.
  ~TempDirectory() {
    if (owner_ == getpid()) std::filesystem::remove_all(path_);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const pid_t owner_ = getpid();
};

}  // namespace weft

#endif  // WEFT_CORE_TEMP_DIRECTORY_H_
