// SPDX-License-Identifier: Apache-2.0
//
// Connections that are closed here and rest until no segment of theirs can be under way any more
// (TIME-WAIT, RFC 9293, 3.6.1), 64 bytes each. Those that were given up by their owner and wait for
// the peer's FIN (FIN-WAIT-2) are here too.
//
//   const uint32_t index = table.Find(flow);
//   if (index != TimeWaitTable::kNone && table[index].rcv_nxt == ...) table.Renew(index, now_ns);
#ifndef WEFT_TCP_TIME_WAIT_H_
#define WEFT_TCP_TIME_WAIT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/tcp/connection_table.h"
#include "weft/tcp/seq.h"
#include "weft/tcp/tick.h"

namespace weft::tcp {

struct TimeWaitEntry {
  // A Flow, without its padding.
  netstack::IpAddress local;
  netstack::IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  Seq rcv_nxt;
  Seq snd_nxt;
  uint32_t ts_recent = 0;  // the peer's last timestamp
  Tick expires;            // never 0 while it is in use
  uint32_t earlier = 0;    // neighbours in the order in which they expire
  uint32_t later = 0;
  uint16_t window = 0;      // as it stands in the header
  bool timestamps = false;  // they are used
  bool fin_wait_2 = false;  // the peer's FIN has not come yet

  bool used() const { return static_cast<bool>(expires); }
  Flow flow() const { return {local, remote, local_port, remote_port}; }
  void set_flow(const Flow& flow) {
    local = flow.local;
    remote = flow.remote;
    local_port = flow.local_port;
    remote_port = flow.remote_port;
  }
};
static_assert(sizeof(TimeWaitEntry) == 64, "there may be hundreds of thousands of them");

// One thread, that of the timer wheel. All entries rest for the same time.
class TimeWaitTable {
 public:
  static constexpr uint32_t kNone = ConnectionTable::kNone;

  // `entries_max` at least 1; `rest_ns` less than 9 hours. `count`, unless it is null, always has
  // size(). It and `timers` outlive this.
  TimeWaitTable(size_t entries_max, int64_t rest_ns, uint64_t secret, TimerWheel* timers,
                Gauge* count = nullptr);
  TimeWaitTable(const TimeWaitTable&) = delete;
  TimeWaitTable& operator=(const TimeWaitTable&) = delete;

  size_t size() const { return table_.size(); }
  bool full() const { return size() == entries_max_; }
  int64_t rest_ns() const { return rest_ns_; }

  uint32_t Find(const Flow& flow) const { return Find(flow, HashOf(flow, secret_)); }
  // `hash`: HashOf(flow, secret), for who has it.
  uint32_t Find(const Flow& flow, uint32_t hash) const {
    return table_.Find(hash, [&](uint32_t index) { return At(index).flow() == flow; });
  }

  TimeWaitEntry& operator[](uint32_t index) { return At(index); }
  const TimeWaitEntry& operator[](uint32_t index) const { return At(index); }
  // Indices are below it, whether they are in use or not.
  uint32_t places() const { return static_cast<uint32_t>(blocks_.size() * kBlock); }

  // Adds a copy of `entry`, whose flow is not there. When the table is full, the one that would
  // expire first goes.
  void Add(const TimeWaitEntry& entry, int64_t now_ns);
  // Begins its rest anew.
  void Renew(uint32_t index, int64_t now_ns);
  void Remove(uint32_t index);

 private:
  static constexpr size_t kBlock = 256;  // entries allocated together; blocks stay

  TimeWaitEntry& At(uint32_t index) const { return blocks_[index / kBlock][index % kBlock]; }
  uint32_t TakeFree();
  void LinkLast(uint32_t index);
  void Unlink(uint32_t index);
  void Count() {
    if (count_ != nullptr) count_->Set(static_cast<int64_t>(size()));
  }
  void Arm(int64_t now_ns);
  static void OnTimer(void* self, int64_t now_ns);

  const size_t entries_max_;
  const int64_t rest_ns_;
  const uint64_t secret_;
  TimerWheel* const timers_;
  Gauge* const count_;
  ConnectionTable table_;
  std::vector<std::unique_ptr<TimeWaitEntry[]>> blocks_;
  uint32_t free_ = kNone;   // linked by `later`
  uint32_t first_ = kNone;  // expires first
  uint32_t last_ = kNone;
  Timer timer_{&OnTimer, this};
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_TIME_WAIT_H_
