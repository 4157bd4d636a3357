// SPDX-License-Identifier: Apache-2.0
//
// EngineStage: an engine on a virtual clock, and what it has sent. For tests and for scripts
// (tcp/script), which play the peer.
//
//   class Test : protected EngineStage {
//     Test() { Start(); }
//     ... engine_->Connect(flow, now_ns_); Turn(); outbox_.front() is the SYN ...
//     ... Pass(kS); outbox_ has what timers have sent ...
//   };
#ifndef WEFT_TCP_ENGINE_STAGE_H_
#define WEFT_TCP_ENGINE_STAGE_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "weft/core/buffer.h"
#include "weft/core/timer_wheel.h"
#include "weft/netstack/segment_handler.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/engine.h"
#include "weft/tcp/segment_options.h"

namespace weft::tcp {

inline constexpr int64_t kMs = 1'000'000;
inline constexpr int64_t kS = 1'000'000'000;

// A segment that an engine has sent, in words.
struct Heard {
  Flow flow;  // of the sender
  Seq seq;
  Seq ack;
  uint8_t flags = 0;
  uint8_t ecn = 0;
  uint8_t ttl = 0;
  uint8_t dscp = 0;
  uint32_t window = 0;
  SegmentOptions options;
  std::string payload;

  // An engine that sends what is no segment ends the program.
  static Heard Of(const netstack::OutgoingSegment& segment) {
    Heard heard;
    netstack::TcpView view;
    if (!netstack::TcpView::Parse(segment.buffer.bytes(), &view)) std::abort();
    heard.flow = {segment.source, segment.destination, view.source_port(), view.destination_port()};
    heard.seq = Seq(view.sequence());
    heard.ack = Seq(view.acknowledgment());
    heard.flags = view.flags();
    heard.ecn = segment.ecn;
    heard.ttl = segment.ttl;
    heard.dscp = segment.dscp;
    heard.window = view.window();
    heard.options = ParseSegmentOptions(view.options());
    if (heard.options.malformed != 0) std::abort();
    heard.payload.assign(reinterpret_cast<const char*>(view.payload().data()),
                         view.payload().size());
    return heard;
  }
};

class EngineStage {
 public:
  // What the peer's bytes are: byte `number` of its stream, as of any, tells its place.
  static uint8_t ByteAt(uint32_t number) { return static_cast<uint8_t>('a' + number % 26); }

 protected:
  EngineStage() = default;
  EngineStage(const EngineStage&) = delete;
  EngineStage& operator=(const EngineStage&) = delete;

  // Once more from the beginning, with `options_` and `world_` as they were changed.
  absl::Status Start() {
    engine_.reset();
    wheel_ = std::make_unique<TimerWheel>(now_ns_);
    pool_ = std::make_unique<BufferPool>(BufferPoolOptions{.count = buffers_});
    world_.timers = wheel_.get();
    world_.pool = pool_.get();
    world_.secret = 42;
    outbox_.clear();
    auto engine = Engine::Create(options_, world_);
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    return absl::OkStatus();
  }

  // Goes to the next time at which something may be due, `until_ns` at most, and does what is due.
  void Step(int64_t until_ns) {
    now_ns_ = std::max(now_ns_, std::min(wheel_->NextDeadlineNs(), until_ns));
    wheel_->Advance(now_ns_);
    Turn();
  }
  void Pass(int64_t ns) {
    const int64_t until_ns = now_ns_ + ns;
    while (wheel_->NextDeadlineNs() <= until_ns) Step(until_ns);
    Step(until_ns);
  }

  // As a port does at the end of a turn.
  void Turn() {
    engine_->Flush(now_ns_);
    while (!held_back_ && !engine_->pending().empty()) {
      const auto pending = engine_->pending();
      for (netstack::OutgoingSegment& segment : pending) {
        outbox_.push_back(Heard::Of(segment));
        segment.buffer.Reset();
      }
      engine_->Sent(pending.size(), now_ns_);
    }
  }

  int64_t now_ns_ = 1000 * kS;
  size_t buffers_ = 1024;
  Options options_;
  World world_;
  std::unique_ptr<TimerWheel> wheel_;
  std::unique_ptr<BufferPool> pool_;
  std::unique_ptr<Engine> engine_;
  bool held_back_ = false;  // the device takes nothing
  std::deque<Heard> outbox_;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ENGINE_STAGE_H_
