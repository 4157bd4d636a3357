// SPDX-License-Identifier: Apache-2.0
//
// router: `weft router serve` as a program of its own.

#include <string>
#include <vector>

#include "weft/cli/command.h"

int main(int argc, char** argv) {
  return weft::cli::RouterServe(std::vector<std::string>(argv + 1, argv + argc));
}
