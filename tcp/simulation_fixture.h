// SPDX-License-Identifier: Apache-2.0
//
// Of simulation_test.cc: two engines, what their users do, and the network between them.
#ifndef WEFT_TCP_SIMULATION_FIXTURE_H_
#define WEFT_TCP_SIMULATION_FIXTURE_H_

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "weft/core/bytes.h"
#include "weft/core/prng.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/tcp/engine_fixture.h"

namespace weft::tcp {

struct Conditions {
  double loss = 0;
  double duplication = 0;
  double reordering = 0;
  double corruption = 0;  // arrives with a wrong checksum
  double forgery = 0;     // somebody else speaks up, who does not know the numbers
  int partitions = 0;     // times that nothing arrives for a while
  int64_t delay_ns = 5 * kMs;
  size_t mtu = 1500;
  size_t mtu_later = 0;  // of the path, from some time on; 0: as it was
  size_t buffers = 4096;
  size_t outbox = 64;
  size_t bytes_max = 200'000;
  bool abrupt = false;       // some connections are aborted
  bool one_by_one = false;   // connections begin at times of their own
  double read_chance = 0.7;  // of a turn; few make windows close
};

// One side: an engine, its memory, and what its user does.
struct Side {
  // Of one stream.
  struct Talk {
    std::string out;  // what is to be sent
    size_t written = 0;
    std::string in;
    bool write_closed = false;
    bool remote_closed = false;
    bool closed = false;
    bool user_closed = false;
    int error = 0;
  };

  Side(const Conditions& conditions, const Options& options, uint64_t secret, int64_t now_ns)
      : wheel(now_ns), pool({.count = conditions.buffers}) {
    World world;
    world.timers = &wheel;
    world.pool = &pool;
    world.secret = secret;
    world.mtu = conditions.mtu;
    world.outbox_segments = conditions.outbox;
    path_mtu = conditions.mtu;
    world.path_mtu = [this](const netstack::IpAddress&) { return path_mtu; };
    engine = *Engine::Create(options, world);
  }

  TimerWheel wheel;
  size_t path_mtu;  // as the stack has heard of it
  BufferPool pool;
  std::unique_ptr<Engine> engine;
  std::map<uint64_t, Talk> talks;
};

class Simulation {
 public:
  Simulation(uint64_t seed, const Conditions& conditions, const Options& a, const Options& b)
      : random_(seed), conditions_(conditions) {
    sides_[0] = std::make_unique<Side>(conditions, a, seed + 1, now_ns_);
    sides_[1] = std::make_unique<Side>(conditions, b, seed + 2, now_ns_);
    for (int i = 0; i < conditions.partitions; ++i) {
      const int64_t begin_ns = now_ns_ + RandomNs(3 * kS);
      partitions_.emplace_back(begin_ns, begin_ns + RandomNs(8 * kS));
    }
    if (conditions.mtu_later != 0) narrow_from_ns_ = now_ns_ + RandomNs(kS);
  }

  void Run(int connections) {
    ASSERT_TRUE(sides_[1]->engine->Listen(Ip(1), 80, 64).ok());
    int begun = 0;
    const int64_t end_ns = now_ns_ + 4 * 3600 * kS;
    while (begun < connections || !Done(connections)) {
      ASSERT_LT(now_ns_, end_ns) << "stuck: " << Describe();
      while (begun < connections && (!conditions_.one_by_one || random_.Chance(0.1))) {
        const auto stream = sides_[0]->engine->Connect({Ip(0), Ip(1), 0, 80}, now_ns_);
        ASSERT_TRUE(stream.ok()) << stream.status();
        sides_[0]->talks[stream->value].out = RandomText();
        ++begun;
      }
      Step();
      if (::testing::Test::HasFatalFailure()) return;
    }
    Compare();
    // Connections that rest are forgotten, and the network runs dry.
    for (const int64_t until_ns = now_ns_ + 1300 * kS; now_ns_ < until_ns;) Step();
    for (const auto& side : sides_) {
      EXPECT_EQ(side->engine->stats().connections.value(), 0);
      EXPECT_EQ(side->engine->stats().established.value(), 0);
      EXPECT_EQ(side->engine->stats().half_open.value(), 0);
      EXPECT_EQ(side->engine->stats().buffers_held.value(), 0);
      EXPECT_EQ(side->pool.available(), side->pool.count());
      EXPECT_EQ(side->wheel.size(), 0u);
    }
  }

 private:
  struct OnTheWay {
    int to;
    netstack::IpAddress source, destination;
    uint8_t ecn;
    std::string bytes;
  };

  static netstack::IpAddress Ip(int side) {
    return netstack::IpAddress::V4(0x0a000001 + static_cast<uint32_t>(side));
  }

  int64_t RandomNs(int64_t below_ns) {
    return static_cast<int64_t>(random_.Below(static_cast<uint64_t>(below_ns)));
  }

  std::string RandomText() {
    std::string text(random_.Below(conditions_.bytes_max), '\0');
    for (char& byte : text) byte = static_cast<char>(random_.Next());
    return text;
  }

  // To the next thing that happens.
  void Step() {
    for (int side = 0; side < 2; ++side) Use(side);
    for (int side = 0; side < 2; ++side) Collect(side);
    Report();
    int64_t next_ns = now_ns_ + 500 * kMs;
    if (!network_.empty()) next_ns = std::min(next_ns, network_.begin()->first);
    for (const auto& side : sides_) next_ns = std::min(next_ns, side->wheel.NextDeadlineNs());
    now_ns_ = std::max(now_ns_, next_ns);
    while (!network_.empty() && network_.begin()->first <= now_ns_) {
      Deliver(network_.begin()->second);
      network_.erase(network_.begin());
    }
    for (const auto& side : sides_) {
      side->wheel.Advance(now_ns_);
      side->engine->Flush(now_ns_);
    }
  }

  void Collect(int from) {
    Engine& engine = *sides_[from]->engine;
    engine.Flush(now_ns_);
    while (!engine.pending().empty()) {
      // A device that takes some at a time.
      auto pending = engine.pending();
      pending = pending.first(std::min<size_t>(pending.size(), 1 + random_.Below(32)));
      for (netstack::OutgoingSegment& segment : pending) {
        ASSERT_LE(segment.buffer.size() + 20, conditions_.mtu);
        OnTheWay way{1 - from, segment.source, segment.destination, segment.ecn,
                     std::string(reinterpret_cast<const char*>(segment.buffer.data()),
                                 segment.buffer.size())};
        segment.buffer.Reset();
        if (IsTooLong(from, way) || IsPartitioned() || random_.Chance(conditions_.loss)) continue;
        // What is spoilt is seen by its checksum, below the engine.
        if (random_.Chance(conditions_.corruption)) continue;
        if (random_.Chance(conditions_.forgery)) network_.emplace(now_ns_, Forged(way));
        for (int copies = random_.Chance(conditions_.duplication) ? 2 : 1; copies > 0; --copies) {
          int64_t at_ns = now_ns_ + conditions_.delay_ns;
          if (random_.Chance(conditions_.reordering)) {
            at_ns += RandomNs(4 * conditions_.delay_ns);
          }
          network_.emplace(at_ns, way);
        }
      }
      engine.Sent(pending.size(), now_ns_);
    }
  }

  bool IsPartitioned() const {
    return std::any_of(partitions_.begin(), partitions_.end(), [&](const auto& partition) {
      return now_ns_ >= partition.first && now_ns_ < partition.second;
    });
  }

  // A router drops it, and mostly says so (RFC 1191).
  bool IsTooLong(int from, const OnTheWay& way) {
    if (now_ns_ < narrow_from_ns_ || way.bytes.size() + 20 <= conditions_.mtu_later) return false;
    if (random_.Chance(0.3)) return true;
    netstack::TcpView view;
    EXPECT_TRUE(netstack::TcpView::Parse(
        {reinterpret_cast<const uint8_t*>(way.bytes.data()), way.bytes.size()}, &view));
    // Said within what the engine is doing it would be early: at its next turn.
    netstack::IcmpErrorReport report;
    report.kind = netstack::IcmpErrorReport::Kind::kPacketTooBig;
    report.source = way.source;
    report.destination = way.destination;
    report.source_port = view.source_port();
    report.destination_port = view.destination_port();
    report.tcp_sequence = view.sequence();
    reports_.emplace_back(from, report);
    return true;
  }
  void Report() {
    for (const auto& [index, report] : std::exchange(reports_, {})) {
      Side& side = *sides_[index];
      if (!side.engine->OnIcmpError(report, now_ns_)) continue;
      side.path_mtu = conditions_.mtu_later;
      side.engine->OnPathMtu(report.destination, conditions_.mtu_later, now_ns_);
    }
  }

  // As `way`, by one who knows its flow and guesses numbers: what RFC 5961 is for.
  OnTheWay Forged(OnTheWay way) {
    auto* header = reinterpret_cast<uint8_t*>(way.bytes.data());
    // A bare SYN needs no numbers where a connection begins, or rests (RFC 6191).
    static constexpr uint8_t kFlags[] = {netstack::kTcpReset,
                                         netstack::kTcpReset | netstack::kTcpAck,
                                         netstack::kTcpSyn | netstack::kTcpAck};
    constexpr size_t kSequenceAt = 4, kAcknowledgmentAt = 8, kFlagsAt = 13;
    // In the window, beyond everything that was said, or anywhere; never where it would count.
    for (const size_t at : {kSequenceAt, kAcknowledgmentAt}) {
      const uint64_t off =
          conditions_.bytes_max + random_.Below(random_.Chance(0.5) ? 100 : 4'000'000'000);
      StoreBig32(header + at, LoadBig32(header + at) + static_cast<uint32_t>(off));
    }
    header[kFlagsAt] = kFlags[random_.Below(std::size(kFlags))];
    return way;
  }

  void Deliver(const OnTheWay& way) {
    Side& side = *sides_[way.to];
    netstack::ReceivedSegment segment;
    segment.buffer = side.pool.Allocate();
    if (!segment.buffer) return;  // the device has none: lost
    std::memcpy(segment.buffer.Append(way.bytes.size()), way.bytes.data(), way.bytes.size());
    segment.source = way.source;
    segment.destination = way.destination;
    segment.ecn = way.ecn;
    side.engine->Receive({&segment, 1}, now_ns_);
    if (segment.buffer) side.engine->Reject({&segment, 1}, now_ns_);
  }

  // What users do: read, write, end, as it comes.
  void Use(int index) {
    Side& side = *sides_[index];
    StreamEvent events[8];
    while (const size_t n = side.engine->TakeEvents(events)) {
      for (const StreamEvent& event : absl::MakeSpan(events).first(n)) OnEvent(side, event);
    }
    for (auto& [value, talk] : side.talks) {
      if (talk.closed || talk.user_closed) continue;
      const StreamId stream{value};
      if (random_.Chance(conditions_.read_chance)) Read(side, stream, talk);
      if (random_.Chance(0.7)) Write(side, stream, talk);
      if (conditions_.abrupt && random_.Chance(0.002)) {
        side.engine->Abort(stream, now_ns_);
        talk.user_closed = true;
        aborted_ = true;
      }
    }
  }

  void OnEvent(Side& side, const StreamEvent& event) {
    Side::Talk& talk = side.talks[event.stream.value];
    ASSERT_FALSE(talk.closed) << "an event after kClosed";
    switch (event.kind) {
      case StreamEvent::Kind::kAccepted:
        talk.out = RandomText();
        break;
      case StreamEvent::Kind::kRemoteClosed:
        talk.remote_closed = true;
        break;
      case StreamEvent::Kind::kClosed:
        Read(side, event.stream, talk);
        talk.closed = true;
        talk.error = event.error;
        break;
      default:
        break;
    }
  }

  void Read(Side& side, StreamId stream, Side::Talk& talk) {
    for (;;) {
      auto view = side.engine->ReadView(stream);
      if (view.empty()) return;
      const size_t n = 1 + random_.Below(view.size());
      talk.in.append(reinterpret_cast<const char*>(view.data()), n);
      side.engine->Consume(stream, n, now_ns_);
      if (random_.Chance(0.05)) return;
    }
  }

  void Write(Side& side, StreamId stream, Side::Talk& talk) {
    while (talk.written < talk.out.size()) {
      const size_t wanted =
          std::min<size_t>(talk.out.size() - talk.written, 1 + random_.Below(5000));
      const auto room = side.engine->Reserve(stream, wanted);
      if (room.empty()) return;
      std::memcpy(room.data(), talk.out.data() + talk.written, room.size());
      side.engine->Commit(stream, room.size(), now_ns_);
      talk.written += room.size();
      if (random_.Chance(0.1)) return;
    }
    if (!talk.write_closed && side.engine->Info(stream, now_ns_).ok() &&
        side.engine->Info(stream, now_ns_)->state >= StreamInfo::State::kEstablished) {
      side.engine->CloseWrite(stream, now_ns_);
      talk.write_closed = true;
    }
  }

  bool Done(int connections) const {
    for (const auto& side : sides_) {
      if (side->talks.size() < static_cast<size_t>(connections) && !aborted_) return false;
      for (const auto& [value, talk] : side->talks) {
        if (!talk.closed) return false;
      }
    }
    return true;
  }

  void Compare() {
    if (aborted_) return;
    // Streams find each other by what they say.
    std::vector<std::string> said[2], heard[2];
    for (int i = 0; i < 2; ++i) {
      for (const auto& [value, talk] : sides_[i]->talks) {
        EXPECT_EQ(talk.error, 0);
        said[i].push_back(talk.out);
        heard[1 - i].push_back(talk.in);
      }
    }
    for (int i = 0; i < 2; ++i) {
      std::sort(said[i].begin(), said[i].end());
      std::sort(heard[i].begin(), heard[i].end());
      EXPECT_TRUE(said[i] == heard[i]) << "what side " << i << " said did not arrive";
    }
  }

  std::string Describe() {
    std::string text;
    for (int i = 0; i < 2; ++i) {
      for (const auto& [value, talk] : sides_[i]->talks) {
        absl::StrAppend(&text, "\nside ", i, " id ", value, " written ", talk.written, " of ",
                        talk.out.size(), " read ", talk.in.size(), " write_closed ",
                        talk.write_closed, " closed ", talk.closed, " error ", talk.error);
      }
      sides_[i]->engine->ForEach(now_ns_, [&](StreamId id, const Flow& flow,
                                              const StreamInfo& info) {
        absl::StrAppend(&text, "\nside ", i, " port ", flow.local_port, " ",
                        StreamStateName(info.state), " unsent ", info.unsent_bytes, " unacked ",
                        info.unacked_segments, " window ", info.send_window_bytes, " cwnd ",
                        info.cwnd_bytes, " held ", sides_[i]->engine->stats().buffers_held.value(),
                        " free ", sides_[i]->pool.available(), " id ", id.value);
      });
    }
    return text;
  }

  Prng random_;
  const Conditions conditions_;
  int64_t now_ns_ = 1000 * kS;
  std::unique_ptr<Side> sides_[2];
  std::multimap<int64_t, OnTheWay> network_;
  std::vector<std::pair<int64_t, int64_t>> partitions_;
  int64_t narrow_from_ns_ = INT64_MAX;
  std::vector<std::pair<int, netstack::IcmpErrorReport>> reports_;
  bool aborted_ = false;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_SIMULATION_FIXTURE_H_
