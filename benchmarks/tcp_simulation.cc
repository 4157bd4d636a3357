// SPDX-License-Identifier: Apache-2.0
#include "weft/benchmarks/tcp_simulation.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/prng.h"
#include "weft/core/timer_wheel.h"
#include "weft/tcp/engine.h"

namespace weft::benchmarks {
namespace {

using netstack::IpAddress;

constexpr int64_t kStartNs = 1'000'000'000'000;
constexpr double kNsPerS = 1e9;
constexpr double kBitsPerByte = 8;
constexpr size_t kMtu = 1500;
constexpr size_t kFrameBytes = 38;  // Ethernet's header, trailer, preamble and gap; and IPv4's:
constexpr size_t kIpBytes = 20;
constexpr uint16_t kPort = 80;
constexpr uint8_t kEcnCe = 3;

struct Packet {
  int64_t at_ns = 0;  // when it arrives
  netstack::ReceivedSegment segment;
};

// One end.
struct Side {
  Side(const tcp::Options& options, uint64_t secret) {
    tcp::World world;
    world.timers = &wheel;
    world.pool = &pool;
    world.secret = secret;
    world.mtu = kMtu;
    auto created = tcp::Engine::Create(options, world);
    if (!created.ok()) std::abort();
    engine = *std::move(created);
  }
  TimerWheel wheel{kStartNs};
  BufferPool pool{BufferPoolOptions{.count = 65536}};
  std::deque<Packet> arriving;
  std::unique_ptr<tcp::Engine> engine;
};

class Simulation {
 public:
  explicit Simulation(const TcpSimulationOptions& options)
      : options_(options), random_(options.seed) {
    tcp::Options tcp;
    tcp.congestion_control = options.congestion_control;
    tcp.ecn = options.mark_above_bytes > 0 ? tcp::EcnMode::kOn : tcp::EcnMode::kOff;
    sender_ = std::make_unique<Side>(tcp, options.seed + 1);
    receiver_ = std::make_unique<Side>(tcp, options.seed + 2);
  }

  TcpSimulationResult Run() {
    if (!receiver_->engine->Listen(Ip(1), kPort, 1024).ok()) std::abort();
    const int64_t last_ns =
        kStartNs + static_cast<int64_t>(options_.flows - 1) * options_.start_apart_ns;
    const int64_t from_ns = last_ns + options_.warm_up_ns;
    const int64_t until_ns = from_ns + options_.measured_ns;
    received_.resize(options_.flows);
    for (; now_ns_ < until_ns; now_ns_ = NextNs()) {
      if (streams_.size() < options_.flows &&
          now_ns_ >= kStartNs + static_cast<int64_t>(streams_.size()) * options_.start_apart_ns) {
        Begin();
      }
      if (before_.empty() && now_ns_ >= from_ns) before_ = received_;
      Turn();
    }
    return Sum();
  }

 private:
  static IpAddress Ip(uint32_t side) { return IpAddress::V4(0x0a000001 + side); }

  void Begin() {
    const auto port = static_cast<uint16_t>(1024 + streams_.size());
    const auto stream = sender_->engine->Connect({Ip(0), Ip(1), port, kPort}, now_ns_);
    if (!stream.ok()) std::abort();
    streams_.push_back(*stream);
  }

  int64_t NextNs() const {
    int64_t next_ns = now_ns_ + 10'000'000;
    for (const Side* side : {sender_.get(), receiver_.get()}) {
      next_ns = std::min(next_ns, side->wheel.NextDeadlineNs());
      if (!side->arriving.empty()) next_ns = std::min(next_ns, side->arriving.front().at_ns);
    }
    return std::max(next_ns, now_ns_ + 1);
  }

  void Turn() {
    for (Side* side : {sender_.get(), receiver_.get()}) {
      for (; !side->arriving.empty() && side->arriving.front().at_ns <= now_ns_;
           side->arriving.pop_front()) {
        side->engine->Receive({&side->arriving.front().segment, 1}, now_ns_);
      }
      side->wheel.Advance(now_ns_);
    }
    Use();
    sender_->engine->Flush(now_ns_);
    receiver_->engine->Flush(now_ns_);
    Carry(*sender_, *receiver_, /*data=*/true);
    Carry(*receiver_, *sender_, /*data=*/false);
  }

  void Use() {
    StreamEvent events[64];
    while (sender_->engine->TakeEvents(events) > 0) {
    }
    for (const StreamId stream : streams_) {
      constexpr size_t kChunk = 1448;
      for (int i = 0; i < 64; ++i) {
        const auto room = sender_->engine->Reserve(stream, kChunk);
        if (room.empty()) break;
        sender_->engine->Commit(stream, room.size(), now_ns_);
      }
    }
    while (const size_t n = receiver_->engine->TakeEvents(events)) {
      for (const StreamEvent& event : absl::MakeSpan(events).first(n)) Read(event);
    }
  }
  void Read(const StreamEvent& event) {
    if (event.kind == StreamEvent::Kind::kClosed) std::abort();
    for (auto view = receiver_->engine->ReadView(event.stream); !view.empty();
         view = receiver_->engine->ReadView(event.stream)) {
      received_[receiver_->engine->FlowOf(event.stream)->remote_port - 1024] += view.size();
      receiver_->engine->Consume(event.stream, view.size(), now_ns_);
    }
  }

  // The link has its rate and queue in the direction of the data.
  void Carry(Side& from, Side& to, bool data) {
    for (auto pending = from.engine->pending(); !pending.empty();
         pending = from.engine->pending()) {
      for (netstack::OutgoingSegment& out : pending) {
        const size_t bytes = out.buffer.size() + kIpBytes + kFrameBytes;
        packets_ += data ? 1 : 0;
        int64_t leaves_ns = now_ns_;
        bool lost = random_.Chance(data ? options_.loss : options_.ack_loss);
        if (data && options_.rate_bps > 0) lost = !Queue(bytes, &out.ecn, &leaves_ns) || lost;
        if (!lost) {
          Packet& packet = to.arriving.emplace_back();
          packet.at_ns = leaves_ns + options_.rtt_ns / 2 + (data ? 0 : Jitter(to));
          packet.segment.buffer = to.pool.Allocate();
          if (!packet.segment.buffer) std::abort();
          std::memcpy(packet.segment.buffer.Append(out.buffer.size()), out.buffer.data(),
                      out.buffer.size());
          packet.segment.source = out.source;
          packet.segment.destination = out.destination;
          packet.segment.ecn = out.ecn;
        }
        dropped_ += data && lost ? 1 : 0;
        out.buffer.Reset();
      }
      from.engine->Sent(pending.size(), now_ns_);
    }
  }

  // Acknowledgements are late by up to the time that a packet takes, in order: without anything
  // random, who loses at a full queue is a matter of phases (Floyd and Jacobson, "On Traffic Phase
  // Effects in Packet-Switched Gateways", 1992).
  int64_t Jitter(const Side& to) {
    if (options_.rate_bps == 0) return 0;
    const double packet_ns = (kMtu + kFrameBytes) * kBitsPerByte / options_.rate_bps * kNsPerS;
    const auto late_ns = static_cast<int64_t>(random_.Unit() * packet_ns);
    if (to.arriving.size() < 2) return late_ns;
    const int64_t before_ns = to.arriving[to.arriving.size() - 2].at_ns;
    return std::max(late_ns, before_ns - now_ns_ - options_.rtt_ns / 2);
  }

  bool Queue(size_t bytes, uint8_t* ecn, int64_t* leaves_ns) {
    const double wait_ns = static_cast<double>(std::max<int64_t>(free_ns_ - now_ns_, 0));
    const double queued = wait_ns / kNsPerS * options_.rate_bps / kBitsPerByte;
    if (queued > options_.queue_bytes) return false;
    if (options_.mark_above_bytes > 0 && queued > options_.mark_above_bytes && *ecn != 0) {
      *ecn = kEcnCe;
    }
    free_ns_ = std::max(free_ns_, now_ns_) +
               static_cast<int64_t>(static_cast<double>(bytes) * kBitsPerByte / options_.rate_bps *
                                    kNsPerS);
    *leaves_ns = free_ns_;
    return true;
  }

  TcpSimulationResult Sum() {
    TcpSimulationResult result;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < options_.flows; ++i) {
      const double bps = static_cast<double>(received_[i] - before_[i]) * kBitsPerByte /
                         (static_cast<double>(options_.measured_ns) / kNsPerS);
      result.goodput_bps.push_back(bps);
      sum += bps;
      squares += bps * bps;
    }
    result.jain = squares == 0 ? 0 : sum * sum / (static_cast<double>(options_.flows) * squares);
    result.mss = sender_->engine->Info(streams_[0], now_ns_)->send_mss_bytes;
    if (options_.rate_bps > 0) {
      const double part = static_cast<double>(result.mss) / (kMtu + kFrameBytes);
      result.utilization = sum / (options_.rate_bps * part);
    }
    const tcp::TcpStats& stats = sender_->engine->stats();
    result.packets = packets_;
    result.dropped = dropped_;
    result.retransmissions = stats.retransmissions.value();
    result.timeouts = stats.retransmission_timeouts.value();
    return result;
  }

  const TcpSimulationOptions options_;
  Prng random_;
  int64_t now_ns_ = kStartNs;
  int64_t free_ns_ = 0;  // when the link has sent what is in its queue
  std::unique_ptr<Side> sender_;
  std::unique_ptr<Side> receiver_;
  std::vector<StreamId> streams_;
  std::vector<uint64_t> received_;
  std::vector<uint64_t> before_;  // when measuring began
  uint64_t packets_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace

TcpSimulationResult SimulateTcp(const TcpSimulationOptions& options) {
  return Simulation(options).Run();
}

double CubicWindow(double loss, int64_t rtt_ns) {
  constexpr double kC = 0.4, kBeta = 0.7;
  const double rtt_s = static_cast<double>(rtt_ns) / kNsPerS;
  const double cubic =
      std::pow(kC * (3 + kBeta) / (4 * (1 - kBeta)), 0.25) * std::pow(rtt_s / loss, 0.75);
  return std::max(cubic, std::sqrt(3 / (2 * loss)));
}

}  // namespace weft::benchmarks
