// SPDX-License-Identifier: Apache-2.0
//
// Runs scripts, and says of each what is wrong: bazel run //tcp/script:run -- $PWD/mine.tcp ...
#include <cstdio>

#include "weft/tcp/script/script.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: run SCRIPT...\n");
    return 2;
  }
  int failed = 0;
  for (int i = 1; i < argc; ++i) {
    const auto script = weft::tcp::script::Load(argv[i]);
    const absl::Status status = script.ok() ? weft::tcp::script::Run(*script) : script.status();
    if (status.ok()) {
      std::printf("%s: OK\n", argv[i]);
      continue;
    }
    ++failed;
    std::printf("%s\n", std::string(status.message()).c_str());
  }
  return failed == 0 ? 0 : 1;
}
