// SPDX-License-Identifier: Apache-2.0
//
// Any text is either ignored or a context that writes back as it was read, but for its version and
// what a later version has more.

#include <cstdint>
#include <cstdlib>

#include "weft/rpc/trace/trace_parent.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::rpc;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parent = ParseTraceParent(text);
  if (!parent.has_value()) return 0;
  const std::string written = FormatTraceParent(*parent);
  if (!IsValid(*parent) || text.substr(2, 53) != written.substr(2)) std::abort();
  if (ParseTraceParent(written) != parent) std::abort();
  return 0;
}
