// SPDX-License-Identifier: Apache-2.0
//
// For tests: a simulated network that does to each packet, in the order in which they are sent by
// either side, what a script says.
#ifndef WEFT_RPC_FAULT_SCRIPT_H_
#define WEFT_RPC_FAULT_SCRIPT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weft/transports/decorators/decorator.h"
#include "weft/transports/sim/network.h"

namespace weft::rpc {

enum class Fate : uint8_t {
  kDeliver,
  kLose,
  kDuplicate,  // the copy comes a little later
  kOvertaken,  // by what is sent within the next round trip
  kLate,       // comes long after any retransmission timeout
};
inline constexpr int kFates = 5;

// What happens to the first packets; all others are delivered.
struct FaultScript {
  std::vector<Fate> fates;
  size_t next = 0;
  bool active = false;  // packets before that do not count

  // The script of that number among the kFates ^ length that there are.
  static FaultScript Nth(uint64_t number, size_t length) {
    FaultScript script;
    for (size_t i = 0; i < length; ++i, number /= kFates) {
      script.fates.push_back(static_cast<Fate>(number % kFates));
    }
    return script;
  }
  Fate Take() { return active && next < fates.size() ? fates[next++] : Fate::kDeliver; }
  std::string ToString() const {
    std::string text;
    for (const Fate fate : fates) text += "DL2ox"[static_cast<size_t>(fate)];
    return text;
  }
};

// One side's port. Outlives what it has held back, which is lost otherwise.
class ScriptedPort final : public DatagramDecorator {
 public:
  static constexpr int64_t kSoonNs = 25'000;
  static constexpr int64_t kLateNs = 6'000'000;

  ScriptedPort(std::unique_ptr<DatagramPort> inner, sim::Network& network, FaultScript& script)
      : DatagramDecorator(std::move(inner)), network_(network), script_(script) {}

 private:
  size_t SendWhole(absl::Span<Datagram> burst) override {
    for (Datagram& datagram : burst) Send(datagram, script_.Take());
    return burst.size();
  }

  void Send(Datagram& datagram, Fate fate) {
    switch (fate) {
      case Fate::kLose:
        datagram.buffer.Reset();
        return;
      case Fate::kDuplicate:
        SendLater(datagram.peer, datagram.buffer, kSoonNs);
        [[fallthrough]];
      case Fate::kDeliver:
        inner().Send({&datagram, 1});
        return;
      case Fate::kOvertaken:
      case Fate::kLate:
        SendLater(datagram.peer, datagram.buffer, fate == Fate::kLate ? kLateNs : kSoonNs);
        datagram.buffer.Reset();
        return;
    }
  }

  // Keeps the bytes rather than the buffer, whose pool is looked at when the calls have ended.
  void SendLater(const Peer& peer, const Buffer& buffer, int64_t delay_ns) {
    std::string bytes(reinterpret_cast<const char*>(buffer.data()), buffer.size());
    network_.events().At(network_.NowNs() + delay_ns, [this, alive = std::weak_ptr<bool>(alive_),
                                                       peer, bytes = std::move(bytes)] {
      if (alive.expired()) return;
      Datagram late[1] = {{peer, pool().Allocate()}};
      if (!late[0].buffer) return;
      std::memcpy(late[0].buffer.Append(bytes.size()), bytes.data(), bytes.size());
      inner().Send(absl::MakeSpan(late));
    });
  }

  sim::Network& network_;
  FaultScript& script_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_FAULT_SCRIPT_H_
