// SPDX-License-Identifier: Apache-2.0
//
// What the tests of packet sockets and TAP devices share.
#ifndef WEFT_TRANSPORTS_LINUX_FRAME_TEST_UTIL_H_
#define WEFT_TRANSPORTS_LINUX_FRAME_TEST_UTIL_H_

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "weft/core/bytes.h"
#include "weft/transports/conformance/packet.h"
#include "weft/transports/linux/linux_test_util.h"

namespace weft::linux_transport {

inline std::unique_ptr<FramePort> OpenFrames(Transport& transport, int queue = 0, int queues = 1) {
  return ValueOrDie(transport.OpenFramePort({.queue = queue, .queues = queues}));
}

// Polls `done` until it is true; false after a long time.
inline bool Until(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

inline bool UntilLinkIs(FramePort& port, bool up) {
  return Until([&] {
    port.Receive({});
    return port.link_up() == up;
  });
}

// The next frame; null if none comes.
inline Buffer ReceiveFrame(FramePort& port) {
  Buffer in[1];
  Until([&] { return port.Receive(absl::MakeSpan(in)) == 1; });
  return std::move(in[0]);
}

// The next one that has UDP in it, and is not the kernel's own talk; null if none comes.
inline Buffer ReceiveUdp(FramePort& port) {
  for (;;) {
    Buffer frame = ReceiveFrame(port);
    if (!frame) return frame;
    const bool ipv4 = LoadBig16(frame.data() + 12) == 0x0800;
    if (frame.size() >= 42 && frame.data()[ipv4 ? 14 + 9 : 14 + 6] == kProtocolUdp) return frame;
  }
}

inline bool SendFrame(FramePort& port, Buffer frame) {
  Buffer out[] = {std::move(frame)};
  return Until([&] { return port.Send(absl::MakeSpan(out)) == 1; });
}

inline Buffer FrameOf(FramePort& from, const MacAddress& to, uint16_t type,
                      const std::string& payload) {
  Buffer frame = from.pool().Allocate();
  if (!frame) std::abort();
  std::memcpy(frame.Append(6), to.data(), 6);
  std::memcpy(frame.Append(6), from.mac().data(), 6);
  StoreBig16(frame.Append(2), type);
  std::memcpy(frame.Append(payload.size()), payload.data(), payload.size());
  return frame;
}
inline Buffer FrameOf(FramePort& from, const MacAddress& to, const Packet& packet) {
  return FrameOf(from, to, packet.type(), packet.Bytes());
}

// "02:00:..." for `ip neigh`.
inline std::string ToString(const MacAddress& mac) {
  return absl::StrFormat("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                         mac[5]);
}

// Of an untagged UDP frame.
inline std::string UdpPayload(const Buffer& frame) {
  const size_t headers = 14 + (LoadBig16(frame.data() + 12) == 0x0800 ? 20 : 40) + 8;
  const size_t bytes = LoadBig16(frame.data() + headers - 4) - 8u;
  if (headers + bytes > frame.size()) return "(truncated)";
  return {reinterpret_cast<const char*>(frame.data()) + headers, bytes};
}

// Calls `function` on a thread that has no capabilities.
inline void WithoutCapabilities(const std::function<void()>& function) {
  std::thread([&] {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    if (syscall(SYS_capset, &header, none) != 0) std::abort();
    function();
  }).join();
}

}  // namespace weft::linux_transport

#endif  // WEFT_TRANSPORTS_LINUX_FRAME_TEST_UTIL_H_
