// SPDX-License-Identifier: Apache-2.0
//
// In place of httpd.cc where the machine has no lwIP.

#include <cstdio>

int main() {
  std::printf("not installed: install liblwip-dev and run bazel sync --configure\n");
  return 1;
}
