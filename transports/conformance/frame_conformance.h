// SPDX-License-Identifier: Apache-2.0
//
// What the tests of frame_port.h share: frames to send, and ports whose link is up.
#ifndef WEFT_TRANSPORTS_CONFORMANCE_FRAME_CONFORMANCE_H_
#define WEFT_TRANSPORTS_CONFORMANCE_FRAME_CONFORMANCE_H_

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "weft/core/bytes.h"
#include "weft/transports/conformance/conformance.h"

namespace weft {

constexpr size_t kFrameHeaderBytes = 14;
constexpr MacAddress kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr uint16_t kExperimentType = 0x88b5;  // IEEE 802: for local experiments

inline Buffer Frame(BufferPool& pool, const MacAddress& to, const MacAddress& from,
                    const std::string& payload, uint16_t type = kExperimentType) {
  Buffer frame = pool.Allocate();
  if (!frame) return frame;
  std::memcpy(frame.Append(6), to.data(), 6);
  std::memcpy(frame.Append(6), from.data(), 6);
  StoreBig16(frame.Append(2), type);
  if (!payload.empty()) std::memcpy(frame.Append(payload.size()), payload.data(), payload.size());
  return frame;
}

inline std::string PayloadOf(const Buffer& frame) {
  return {reinterpret_cast<const char*>(frame.data()) + kFrameHeaderBytes,
          frame.size() - kFrameHeaderBytes};
}

class FrameTest : public ConformanceTest {
 protected:
  // The test's n-th port; with the whole device, or one of its queues.
  std::unique_ptr<FramePort> OpenPort(size_t n, int queue = 0, int queues = 1) {
    auto port = transport(n).OpenFramePort({.local = Local(n), .queue = queue, .queues = queues});
    EXPECT_TRUE(port.ok()) << port.status();
    if (!port.ok()) return nullptr;
    const bool has_peer = !GetParam().back_to_back || n > 0;
    EXPECT_TRUE(!has_peer || UntilLinkIs(**port, true)) << "no link";
    return *std::move(port);
  }
  bool UntilLinkIs(FramePort& port, bool up) {
    return Until([&] {
      port.Receive({});
      return port.link_up() == up;
    });
  }

  // Tries until it is taken.
  bool Send(FramePort& port, Buffer frame) {
    if (!frame) return false;
    Buffer burst[] = {std::move(frame)};
    return Until([&] { return port.Send(absl::MakeSpan(burst)) == 1; }) && !burst[0];
  }
  bool Send(FramePort& from, FramePort& to, const std::string& payload) {
    return Send(from, Frame(from.pool(), to.mac(), from.mac(), payload));
  }
  // The next frame; null if none comes.
  Buffer Receive(FramePort& port) {
    Buffer burst[1];
    Until([&] { return port.Receive(absl::MakeSpan(burst)) == 1; });
    return std::move(burst[0]);
  }

  // A frame from one to the other, and back; what else there is meanwhile does not matter.
  void ExpectTheyTalk(FramePort& a, FramePort& b) {
    ExpectArrives(a, b, "ping");
    ExpectArrives(b, a, "pong");
  }
  void ExpectArrives(FramePort& from, FramePort& to, const std::string& payload) {
    ASSERT_TRUE(Send(from, to, payload));
    for (;;) {
      const Buffer frame = Receive(to);
      ASSERT_TRUE(frame) << payload << " has not arrived";
      if (PayloadOf(frame).substr(0, payload.size()) == payload) return;
    }
  }

  size_t max_frame() { return transport().capabilities().max_frame_bytes; }
};

}  // namespace weft

#endif  // WEFT_TRANSPORTS_CONFORMANCE_FRAME_CONFORMANCE_H_
