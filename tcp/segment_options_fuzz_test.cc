// SPDX-License-Identifier: Apache-2.0
//
// Options of TCP headers: whatever is read can be written, and is read the same again.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "weft/tcp/segment_options.h"

namespace weft::tcp {
namespace {

bool Same(const SegmentOptions& a, const SegmentOptions& b, size_t sacks) {
  for (size_t i = 0; i < sacks; ++i) {
    if (a.sacks[i] != b.sacks[i]) return false;
  }
  return a.mss == b.mss && a.has_window_scale == b.has_window_scale &&
         a.window_scale == b.window_scale && a.sack_permitted == b.sack_permitted &&
         a.has_timestamps == b.has_timestamps && a.timestamp_value == b.timestamp_value &&
         a.timestamp_echo == b.timestamp_echo && a.has_user_timeout == b.has_user_timeout &&
         a.user_timeout_s / 60 == b.user_timeout_s / 60;
}

}  // namespace
}  // namespace weft::tcp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::tcp;
  if (size > weft::netstack::kTcpOptionBytesMax) return 0;
  const SegmentOptions options = ParseSegmentOptions({data, size});
  if (options.sack_count > kSackBlocksMax || options.window_scale > kWindowScaleMax) std::abort();
  uint8_t again[weft::netstack::kTcpOptionBytesMax];
  const size_t n = WriteSegmentOptions(options, again);
  if (n > sizeof(again) || n % 4 != 0 || n != SegmentOptionsBytes(options)) std::abort();
  const SegmentOptions read = ParseSegmentOptions({again, n});
  if (read.malformed != 0 || read.sack_count > options.sack_count ||
      !Same(options, read, read.sack_count)) {
    std::abort();
  }
  return 0;
}
