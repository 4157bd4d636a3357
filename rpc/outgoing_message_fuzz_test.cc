// SPDX-License-Identifier: Apache-2.0
//
// A message mid-transfer is told anything. It never sends what it may not, counts what it has right
// and, once an honest receiver takes over, ends.
//
// Input: packets, initial edge, then steps of one byte each and what they need. The low two bits
// say what happens: send (high bits: how many), time passes and nothing is heard, a PROGRESS with
// anything in it, or one near what is true.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "weft/core/bytes.h"
#include "weft/rpc/outgoing_message.h"
#include "weft/rpc/wire.h"

namespace {

using namespace weft;
using namespace weft::rpc;

constexpr int64_t kRttNs = 50'000;

void Check(bool good) {
  if (!good) std::abort();
}

class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(data, size) {}
  bool empty() const { return left_.empty(); }
  uint8_t Byte() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_[0];
    left_.remove_prefix(1);
    return byte;
  }
  absl::Span<const uint8_t> Take(size_t n) {
    const absl::Span<const uint8_t> taken = left_.subspan(0, n);
    left_.remove_prefix(taken.size());
    return taken;
  }

 private:
  absl::Span<const uint8_t> left_;
};

class Target {
 public:
  Target(size_t packets, size_t granted) : bytes_(packets) {
    Check(message_.Start(Payload::External(bytes_), 1, granted));
  }

  void Send(size_t count) {
    for (; count > 0; --count) {
      const std::optional<size_t> next = message_.Next();
      if (!next) break;
      Check(*next < message_.granted());
      Check(message_.packet(*next).data() == &bytes_[*next]);
      const size_t in_flight = message_.in_flight();
      sent_ = std::max(sent_, *next + 1);
      message_.OnSent(*next, now_ns_);
      Check(message_.in_flight() == in_flight + 1);
    }
    Consistent();
  }

  void Timeout() {
    now_ns_ += 10 * kRttNs;
    const size_t waiting = message_.in_flight() + message_.lost();
    Check(message_.OnTimeout() == waiting && message_.in_flight() == 0);
    if (waiting == 0 && !message_.complete() && !message_.Next()) {
      sent_ = std::max<size_t>(sent_, 1);
      message_.OnSent(0, now_ns_);
    }
    Consistent();
  }

  void Hear(uint16_t cumulative, uint8_t flags, const Progress& progress) {
    now_ns_ += int64_t{flags} * 200;
    const ExtendedHeader header = {.type = MessageType::kAck,
                                   .first = true,
                                   .resent = (flags & 1) != 0,
                                   .echo_valid = (flags & 2) != 0,
                                   .packet_order = cumulative,
                                   .echo = static_cast<uint32_t>(now_ns_ - (flags >> 2) * 5'000),
                                   .kind = ControlKind::kProgress};
    const size_t acknowledged = message_.acknowledged();
    const size_t granted = message_.granted();
    const OutgoingMessage::Acked acked = message_.OnProgress(header, progress, now_ns_, kRttNs);
    Check(message_.acknowledged() == acknowledged + acked.packets);
    Check(acked.spurious <= acked.packets);
    Check(acked.moved_edge == (message_.granted() > granted));
    Check(acked.refused || message_.granted() >= granted);
    Check(acked.complete == (acked.valid && message_.complete()));
    if (cumulative > sent_ || cumulative > bytes_.size()) Check(!acked.valid);
    if (!acked.valid) Check(acked.packets == 0 && acked.lost == 0 && message_.granted() == granted);
    Consistent();
  }

  // An honest receiver that has all that was sent.
  void End() {
    for (int round = 0; !message_.complete(); ++round) {
      Check(round < 4);
      Send(bytes_.size());
      Timeout();
      Send(bytes_.size());
      Hear(static_cast<uint16_t>(sent_), 0, {.granted = static_cast<uint16_t>(bytes_.size())});
    }
  }

  size_t sent() const { return sent_; }
  size_t cumulative() const { return message_.cumulative(); }

 private:
  void Consistent() {
    Check(message_.in_flight() + message_.lost() + message_.acknowledged() <= sent_);
    Check(message_.cumulative() <= message_.acknowledged());
    Check(message_.WasSent(sent_) == false && (sent_ == 0 || message_.WasSent(sent_ - 1)));
    Check(message_.granted() <= bytes_.size());
    if (message_.lost() > 0) Check(message_.Next().has_value());
    if (message_.complete()) {
      Check(!message_.Next() && message_.in_flight() == 0 && message_.lost() == 0);
    }
  }

  std::vector<uint8_t> bytes_;
  OutgoingMessage message_;
  size_t sent_ = 0;
  int64_t now_ns_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const size_t packets = 1 + (size_t{input.Byte()} << 1);
  Target target(packets, input.Byte());
  while (!input.empty()) {
    const uint8_t step = input.Byte();
    switch (step & 3) {
      case 0:
        target.Send(1 + (step >> 2));
        break;
      case 1:
        target.Timeout();
        break;
      case 2: {
        const uint8_t flags = input.Byte();
        const absl::Span<const uint8_t> cumulative = input.Take(2);
        if (cumulative.size() < 2) break;
        Progress progress;
        const absl::Span<const uint8_t> body = input.Take(4 + (step >> 2));
        if (!ReadProgress(body, &progress)) break;
        target.Hear(LoadBig16(cumulative.data()), flags, progress);
        break;
      }
      case 3: {
        const uint8_t flags = input.Byte();
        const size_t ahead = target.sent() - target.cumulative();
        const size_t cumulative = target.cumulative() + input.Byte() % (ahead + 1);
        const size_t left = packets - cumulative;
        const size_t bits = left < 2 ? 0 : std::min<size_t>(step >> 2, left - 1);
        const absl::Span<const uint8_t> bitmap = input.Take((bits + 7) / 8);
        const uint16_t granted = input.Byte();
        if (bitmap.size() < (bits + 7) / 8) break;
        target.Hear(static_cast<uint16_t>(cumulative), flags,
                    {.granted = granted, .bits = static_cast<uint16_t>(bits), .bitmap = bitmap});
        break;
      }
    }
  }
  target.End();
  return 0;
}
