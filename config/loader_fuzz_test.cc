// SPDX-License-Identifier: Apache-2.0
//
// No text crashes the loader, and what it accepts it prints and reads back.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "weft/config/loader.h"

using weft::config::DetectFormat;
using weft::config::Format;
using weft::config::Parse;
using weft::config::Print;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = Parse(text, "fuzz", DetectFormat(text));
  if (!config.ok()) return 0;
  const std::string printed = Print(*config, Format::kText);
  const auto again = Parse(printed, "printed", Format::kText);
  if (!again.ok() || Print(*again, Format::kText) != printed) abort();
  Print(*config, Format::kJson);
  return 0;
}
