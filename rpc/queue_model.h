// SPDX-License-Identifier: Apache-2.0
//
// QueueModel: senders under congestion control that share one queue and one link, packet by packet
// on a virtual clock, for tests of how algorithms behave together. Each sender always has more to
// send. Acknowledgements come one by one, after a fixed time and a random one; packets that find
// the queue full are found lost a round trip later.
#ifndef WEFT_RPC_QUEUE_MODEL_H_
#define WEFT_RPC_QUEUE_MODEL_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "weft/core/prng.h"
#include "weft/rpc/congestion_control.h"
#include "weft/rpc/pacer.h"

namespace weft::rpc {

class QueueModel {
 public:
  struct Path {
    int64_t packet_ns = 1000;        // the link sends one in so long
    int64_t round_trip_ns = 20'000;  // without queueing
    int64_t jitter_ns = 2000;        // random delay of acknowledgements, uniform up to this
    int64_t queue_packets = 1'000'000;
  };

  // What happened since the latest Reset().
  struct Result {
    double goodput = 0;   // part of the link's rate that was acknowledged
    double jain = 0;      // Jain's index of fairness between the active senders
    double queue_ns = 0;  // mean time in the queue
    uint64_t lost = 0;
  };

  QueueModel(const Path& path, uint64_t seed) : path_(path), prng_(seed) {}

  // Adds a sender that starts at a random time within `within_ns` from now. Returns its number.
  size_t Add(std::unique_ptr<CongestionControl> control, int64_t within_ns) {
    flows_.push_back({.control = std::move(control)});
    const auto start_ns = now_ns_ + static_cast<int64_t>(prng_.Below(within_ns + 1));
    events_.push({start_ns, Kind::kSend, flows_.size() - 1, 0});
    return flows_.size() - 1;
  }

  // Lets the sender send nothing more.
  void Stop(size_t flow) { flows_[flow].active = false; }

  CongestionControl& control(size_t flow) { return *flows_[flow].control; }
  int64_t now_ns() const { return now_ns_; }

  // Called after each event of a sender.
  std::function<void(size_t flow)> observer;

  void Reset() {
    since_ns_ = now_ns_;
    lost_ = 0;
    queue_ns_ = 0;
    arrivals_ = 0;
    for (Flow& flow : flows_) flow.acked = 0;
  }

  void Run(int64_t for_ns) {
    const int64_t end_ns = now_ns_ + for_ns;
    while (!events_.empty() && events_.top().at_ns <= end_ns) {
      const Event event = events_.top();
      events_.pop();
      now_ns_ = event.at_ns;
      Handle(event);
    }
    now_ns_ = end_ns;
  }

  Result Measure() const {
    double sum = 0;
    double squares = 0;
    double active = 0;
    for (const Flow& flow : flows_) {
      if (!flow.active) continue;
      const auto acked = static_cast<double>(flow.acked);
      sum += acked;
      squares += acked * acked;
      ++active;
    }
    return {.goodput = sum * static_cast<double>(path_.packet_ns) /
                       static_cast<double>(now_ns_ - since_ns_),
            .jain = squares > 0 ? sum * sum / (active * squares) : 0,
            .queue_ns = queue_ns_ / std::max<double>(1, static_cast<double>(arrivals_)),
            .lost = lost_};
  }

 private:
  static constexpr uint32_t kBurst = 2;

  enum class Kind { kSend, kAck, kLoss };
  struct Event {
    int64_t at_ns;
    Kind kind;
    size_t flow;
    int64_t sent_ns;

    bool operator>(const Event& other) const { return at_ns > other.at_ns; }
  };
  struct Flow {
    std::unique_ptr<CongestionControl> control;
    Pacer pacer = {};
    uint32_t in_flight = 0;
    uint64_t acked = 0;
    int64_t wake_ns = 0;  // of a kSend that is on its way
    bool active = true;
  };

  void Handle(const Event& event) {
    Flow& flow = flows_[event.flow];
    if (event.kind == Kind::kAck) {
      --flow.in_flight;
      ++flow.acked;
      flow.control->OnAck({.now_ns = now_ns_,
                           .rtt_ns = now_ns_ - event.sent_ns,
                           .packets = 1,
                           .in_flight = flow.in_flight});
    } else if (event.kind == Kind::kLoss) {
      flow.control->OnLoss({.now_ns = now_ns_, .packets = 1, .in_flight = flow.in_flight});
      --flow.in_flight;
    }
    if (flow.active) Send(event.flow);
    if (observer) observer(event.flow);
  }

  void Send(size_t number) {
    Flow& flow = flows_[number];
    const uint32_t window = flow.control->window_packets();
    const int64_t gap_ns = flow.control->pacing_ns();
    while (flow.in_flight < window) {
      if (flow.pacer.Allowed(now_ns_, gap_ns, kBurst) == 0) {
        const int64_t next_ns = flow.pacer.NextNs(gap_ns);
        if (flow.wake_ns <= now_ns_ || flow.wake_ns > next_ns) {
          flow.wake_ns = next_ns;
          events_.push({next_ns, Kind::kSend, number, 0});
        }
        return;
      }
      flow.pacer.OnSent(now_ns_, gap_ns, kBurst, 1);
      ++flow.in_flight;
      Enqueue(number);
    }
  }

  void Enqueue(size_t number) {
    const int64_t wait_ns = std::max<int64_t>(0, free_ns_ - now_ns_);
    queue_ns_ += static_cast<double>(wait_ns);
    ++arrivals_;
    const bool full = wait_ns / path_.packet_ns >= path_.queue_packets;
    const int64_t sent_ns = now_ns_ + wait_ns + path_.packet_ns;
    if (!full) free_ns_ = sent_ns;
    lost_ += full ? 1 : 0;
    const auto jitter_ns = static_cast<int64_t>(prng_.Below(path_.jitter_ns + 1));
    events_.push({sent_ns + path_.round_trip_ns + jitter_ns, full ? Kind::kLoss : Kind::kAck,
                  number, now_ns_});
  }

  const Path path_;
  Prng prng_;
  std::vector<Flow> flows_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  int64_t now_ns_ = 0;
  int64_t free_ns_ = 0;  // when the link has sent what is in the queue
  int64_t since_ns_ = 0;
  uint64_t lost_ = 0;
  uint64_t arrivals_ = 0;
  double queue_ns_ = 0;
};

}  // namespace weft::rpc

#endif  // WEFT_RPC_QUEUE_MODEL_H_
