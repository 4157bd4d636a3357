// SPDX-License-Identifier: Apache-2.0
//
// OutgoingMessage and Reassembly against each other, over networks that lose, repeat and reorder:
// a small one of which every behaviour is tried, and a large one with seeds.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "weft/core/buffer.h"
#include "weft/rpc/outgoing_message.h"
#include "weft/rpc/payload.h"
#include "weft/rpc/reassembly.h"
#include "weft/rpc/wire.h"

namespace weft::rpc {
namespace {

constexpr int64_t kDelayNs = 10'000;
constexpr int64_t kRttNs = 2 * kDelayNs;
constexpr size_t kPacketBytes = 3;

// One packet of the message, or one PROGRESS.
struct Datagram {
  ExtendedHeader header;
  std::vector<uint8_t> body;
  bool is_progress() const { return header.kind == ControlKind::kProgress; }
};

// Both ends of one message. The receiver has no room for the first `refusals` packets that come,
// then grants `window` packets beyond those that have come.
class Ends {
 public:
  struct Setup {
    size_t packets;
    size_t initial_grant;
    size_t window;
    size_t refusals = 0;
    bool chain = false;           // the payload is in many pieces
    bool receiver_waits = false;  // the timer is the receiver's
  };

  explicit Ends(const Setup& setup) : setup_(setup), receiver_(setup.packets) {
    bytes_.resize(setup.packets * kPacketBytes - (setup.packets > 1 ? 1 : 0));
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<uint8_t>(i * 7 + i / 256);
    EXPECT_TRUE(sender_.Start(setup.chain ? Pieces() : Payload::External(bytes_), kPacketBytes,
                              setup.initial_grant));
    EXPECT_EQ(sender_.packets(), setup.packets);
  }
  ~Ends() {
    sender_.Reset();
    receiver_.Reset();
    EXPECT_EQ(send_pool_.available(), send_pool_.count());
    EXPECT_EQ(receive_pool_.available(), receive_pool_.count());
  }

  // The next packet that may be sent, if any.
  std::optional<Datagram> Send(int64_t now_ns) {
    const std::optional<size_t> index = sender_.Next();
    if (!index) return std::nullopt;
    EXPECT_LT(*index, sender_.granted());
    return SendPacket(*index, now_ns);
  }

  // After a time of silence: what it takes to go on, if that is not Send().
  std::optional<Datagram> Timeout(int64_t now_ns) {
    if (setup_.receiver_waits) {
      Datagram told = Tell();
      told.header.resent = true;
      return told;
    }
    if (sender_.OnTimeout() > 0 || sender_.Next()) return std::nullopt;
    return SendPacket(0, now_ns);
  }

  // A packet comes to the receiver.
  void Take(const Datagram& packet) {
    latest_timestamp_ = packet.header.timestamp;
    if (done_) return;  // a duplicate of what has been delivered
    if (refused_ < setup_.refusals) {
      ++refused_;
      return;
    }
    Buffer buffer = receive_pool_.Allocate();
    ASSERT_TRUE(buffer);
    std::memcpy(buffer.Append(packet.body.size()), packet.body.data(), packet.body.size());
    const ExtendedHeader& h = packet.header;
    const Reassembly::Result result =
        receiver_.Add(h.index(), h.total(), h.last, std::move(buffer));
    ASSERT_TRUE(result == Reassembly::Result::kIncomplete ||
                result == Reassembly::Result::kDuplicate ||
                result == Reassembly::Result::kComplete);
    ASSERT_EQ(receive_pool_.count() - receive_pool_.available(), receiver_.held());
    if (result != Reassembly::Result::kComplete) return;
    done_ = true;
    const BufferChain message = receiver_.Take();
    ASSERT_EQ(message.pieces(), setup_.packets);
    std::vector<uint8_t> received(message.size());
    message.CopyTo(absl::MakeSpan(received));
    ASSERT_EQ(received, bytes_);
  }

  // What the receiver says now, as bytes on the wire.
  Datagram Tell() {
    uint8_t bitmap[Reassembly::kBitmapBytes];
    size_t granted = refused_ < setup_.refusals ? 0 : receiver_.held() + setup_.window;
    Progress progress = receiver_.FillProgress(granted, bitmap);
    size_t cumulative = receiver_.cumulative();
    if (done_) {
      cumulative = setup_.packets;
      progress = {.granted = static_cast<uint16_t>(cumulative)};
    }
    Datagram told = {.header = {.type = MessageType::kAck,
                                .first = true,
                                .echo_valid = true,
                                .packet_order = static_cast<uint16_t>(cumulative),
                                .echo = latest_timestamp_,
                                .kind = ControlKind::kProgress},
                     .body = std::vector<uint8_t>(kProgressBytesMax)};
    told.body.resize(WriteProgress(progress, told.body.data()));
    return told;
  }

  // A PROGRESS comes to the sender.
  void Hear(const Datagram& told, int64_t now_ns) {
    Progress progress;
    ASSERT_TRUE(ReadProgress(told.body, &progress));
    const OutgoingMessage::Acked acked = sender_.OnProgress(told.header, progress, now_ns, kRttNs);
    ASSERT_TRUE(acked.valid);
    ASSERT_EQ(acked.complete, sender_.complete());
    ASSERT_LE(sender_.in_flight() + sender_.lost() + sender_.acknowledged(), setup_.packets);
    ASSERT_TRUE(done_ || !acked.complete);
    spurious_ += acked.spurious;
  }

  const OutgoingMessage& sender() const { return sender_; }
  size_t sent() const { return sent_; }
  size_t spurious() const { return spurious_; }

 private:
  // One packet each, and an empty one in between.
  Payload Pieces() {
    BufferChain chain;
    for (size_t begin = 0; begin < bytes_.size(); begin += kPacketBytes) {
      const size_t n = std::min(kPacketBytes, bytes_.size() - begin);
      Buffer buffer = send_pool_.Allocate();
      std::memcpy(buffer.Append(n), &bytes_[begin], n);
      chain.Append(std::move(buffer));
      if (begin == 0) chain.Append(send_pool_.Allocate());
    }
    return chain;
  }

  Datagram SendPacket(size_t index, int64_t now_ns) {
    const size_t n = setup_.packets;
    const absl::Span<const uint8_t> bytes = sender_.packet(index);
    Datagram packet = {.header = {.first = index == 0,
                                  .last = index + 1 == n,
                                  .resent = sender_.WasSent(index),
                                  .packet_order = static_cast<uint16_t>(index == 0 ? n : index),
                                  .timestamp = static_cast<uint32_t>(now_ns)},
                       .body = {bytes.begin(), bytes.end()}};
    sender_.OnSent(index, now_ns);
    ++sent_;
    return packet;
  }

  const Setup setup_;
  BufferPool send_pool_{{.count = setup_.packets + 2, .bytes = 64, .headroom = 0}};
  BufferPool receive_pool_{{.count = setup_.packets + 2, .bytes = 64, .headroom = 0}};
  std::vector<uint8_t> bytes_;
  OutgoingMessage sender_;
  Reassembly receiver_;
  size_t refused_ = 0;
  bool done_ = false;
  uint32_t latest_timestamp_ = 0;
  size_t sent_ = 0;
  size_t spurious_ = 0;
};

// --- Everything that can happen to a few packets

// Takes every combination of choices in turn: a run that makes the same choices as the last one up
// to the last that had another possibility, and there the next one.
class Choices {
 public:
  size_t Choose(size_t possibilities) {
    if (at_ == made_.size()) made_.push_back({0, possibilities});
    return made_[at_++].choice;
  }
  bool Another() {
    while (!made_.empty() && made_.back().choice + 1 == made_.back().possibilities) {
      made_.pop_back();
    }
    at_ = 0;
    if (made_.empty()) return false;
    ++made_.back().choice;
    return true;
  }

 private:
  struct Made {
    size_t choice;
    size_t possibilities;
  };
  std::vector<Made> made_;
  size_t at_ = 0;
};

// How much may go wrong in a run.
struct Trouble {
  size_t losses;
  size_t overtakings;
  size_t repetitions;
};

void Run(const Ends::Setup& setup, Trouble left, Choices& choices) {
  Ends ends(setup);
  std::deque<Datagram> network;
  int64_t now_ns = 0;
  for (size_t step = 0; !ends.sender().complete(); ++step) {
    ASSERT_LT(step, 200u);
    while (std::optional<Datagram> packet = ends.Send(now_ns)) network.push_back(*packet);
    now_ns += kDelayNs / 8;
    if (network.empty()) {
      now_ns += 10 * kRttNs;
      if (std::optional<Datagram> probe = ends.Timeout(now_ns)) network.push_back(*probe);
      continue;
    }
    // The one that comes next, and what becomes of it.
    const size_t which =
        left.overtakings == 0 ? 0 : choices.Choose(std::min<size_t>(network.size(), 3));
    if (which > 0) --left.overtakings;
    const Datagram next = network[which];
    enum { kArrives, kLost, kRepeated };
    size_t fate = kArrives;
    if (left.losses > 0 && left.repetitions > 0) {
      fate = choices.Choose(3);
    } else if (left.losses > 0) {
      fate = choices.Choose(2);
    } else if (left.repetitions > 0) {
      fate = choices.Choose(2) == 0 ? kArrives : kRepeated;
    }
    if (fate == kRepeated) {
      --left.repetitions;
      network.push_back(next);
    } else {
      network.erase(network.begin() + static_cast<ptrdiff_t>(which));
    }
    if (fate == kLost) {
      --left.losses;
    } else if (next.is_progress()) {
      ASSERT_NO_FATAL_FAILURE(ends.Hear(next, now_ns));
    } else {
      ASSERT_NO_FATAL_FAILURE(ends.Take(next));
      network.push_back(ends.Tell());
    }
  }
}

size_t TryAll(const Ends::Setup& setup, const Trouble& trouble) {
  Choices choices;
  size_t runs = 0;
  do {
    Run(setup, trouble, choices);
    ++runs;
  } while (!testing::Test::HasFatalFailure() && choices.Another());
  return runs;
}

class EverythingTest : public testing::TestWithParam<size_t> {
 protected:
  void TryAllSetups(const Trouble& trouble) {
    const size_t n = GetParam();
    size_t runs = 0;
    for (const size_t initial : {size_t{0}, size_t{2}, n}) {
      for (const size_t window : {size_t{1}, n}) {
        for (const size_t refusals : {0, 2}) {
          runs += TryAll({n, initial, window, refusals, /*chain=*/n % 2 == 0}, trouble);
        }
        runs += TryAll({n, initial, window, /*refusals=*/0, /*chain=*/false,
                        /*receiver_waits=*/true},
                       trouble);
        if (HasFatalFailure()) return;
      }
    }
    std::printf("%zu packets: %zu runs\n", n, runs);
  }
};

TEST_P(EverythingTest, Lost) { TryAllSetups({.losses = 5, .overtakings = 0, .repetitions = 0}); }
TEST_P(EverythingTest, Reordered) {
  TryAllSetups({.losses = 0, .overtakings = 4, .repetitions = 0});
}
TEST_P(EverythingTest, LostReorderedAndRepeated) {
  TryAllSetups({.losses = 1, .overtakings = 1, .repetitions = 1});
}

INSTANTIATE_TEST_SUITE_P(Packets, EverythingTest, testing::Range<size_t>(1, 6));

// --- Large messages, with seeds

struct Network {
  double packet_loss = 0;
  double progress_loss = 0;
  double repetition = 0;
  int64_t jitter_ns = 0;
};

struct Outcome {
  size_t sent = 0;
  size_t lost = 0;  // packets, not PROGRESSes
  size_t spurious = 0;
  size_t timeouts = 0;
};

// Sender and receiver each work in bursts, as they do in a loop.
Outcome Transfer(const Ends::Setup& setup, const Network& network, size_t in_flight_max,
                 uint64_t seed) {
  constexpr int64_t kTimeoutNs = 10 * kRttNs;
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> chance(0, 1);
  Outcome outcome;
  Ends ends(setup);
  std::multimap<int64_t, Datagram> flying;
  int64_t now_ns = 0;
  int64_t heard_ns = 0;
  const auto throw_in = [&](const Datagram& datagram) {
    for (int copies = chance(random) < network.repetition ? 2 : 1; copies > 0; --copies) {
      const bool lost =
          chance(random) < (datagram.is_progress() ? network.progress_loss : network.packet_loss);
      if (lost && !datagram.is_progress()) ++outcome.lost;
      const int64_t jitter_ns =
          network.jitter_ns == 0 ? 0 : static_cast<int64_t>(random() % network.jitter_ns);
      if (!lost) flying.emplace(now_ns + kDelayNs + jitter_ns, datagram);
    }
  };
  for (size_t step = 0; !ends.sender().complete(); ++step) {
    EXPECT_LT(step, 2'000'000u);
    if (testing::Test::HasFailure()) break;
    for (int burst = 0; burst < 32 && ends.sender().in_flight() < in_flight_max; ++burst) {
      std::optional<Datagram> packet = ends.Send(now_ns);
      if (!packet) break;
      throw_in(*packet);
    }
    const int64_t timeout_ns = heard_ns + kTimeoutNs;
    now_ns = std::max(now_ns + 500,
                      flying.empty() ? timeout_ns : std::min(timeout_ns, flying.begin()->first));
    bool taken = false;
    while (!flying.empty() && flying.begin()->first <= now_ns) {
      const Datagram next = std::move(flying.extract(flying.begin()).mapped());
      if (next.is_progress()) {
        ends.Hear(next, now_ns);
        heard_ns = now_ns;
      } else {
        ends.Take(next);
        taken = true;
      }
    }
    if (taken) throw_in(ends.Tell());
    if (now_ns - heard_ns >= kTimeoutNs) {
      ++outcome.timeouts;
      heard_ns = now_ns;
      if (std::optional<Datagram> probe = ends.Timeout(now_ns)) throw_in(*probe);
    }
  }
  outcome.sent = ends.sent();
  outcome.spurious = ends.spurious();
  return outcome;
}

TEST(TransferTest, AQuietNetworkCarriesEachPacketOnce) {
  for (const size_t packets : {1, 2, 31, 32, 33, 129, 2000}) {
    for (const size_t window : {1, 8, 128, 2000}) {
      const Outcome outcome = Transfer({packets, window, window}, {}, 128, 1);
      EXPECT_EQ(outcome.sent, packets);
      EXPECT_EQ(outcome.timeouts, 0u);
    }
  }
}

TEST(TransferTest, OnlyWhatIsLostIsSentAgain) {
  for (uint64_t seed = 1; seed <= 600; ++seed) {
    const Network network = {.packet_loss = 0.01 * static_cast<double>(seed % 6)};
    const Outcome outcome = Transfer({1000, 128, 128}, network, 128, seed);
    EXPECT_EQ(outcome.sent, 1000 + outcome.lost) << "seed " << seed;
    EXPECT_EQ(outcome.spurious, 0u) << "seed " << seed;
  }
}

TEST(TransferTest, ReorderingIsTakenForLossOnlyAtFirst) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    const Outcome outcome = Transfer({1000, 128, 128}, {.jitter_ns = kRttNs / 2}, 128, seed);
    EXPECT_LE(outcome.sent, 1100u) << "seed " << seed;
  }
}

TEST(TransferTest, AnyNetworkCarriesIt) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> chance(0, 1);
    const size_t packets = 1 + random() % (seed % 10 == 0 ? 2000 : 200);
    Ends::Setup setup = {.packets = packets,
                         .initial_grant = random() % 64,
                         .window = 1 + random() % 200,
                         .refusals = random() % 3 == 0 ? random() % 50 : 0,
                         .chain = random() % 2 == 0};
    setup.receiver_waits = setup.refusals == 0 && random() % 3 == 0;
    const double worst = std::array{0.0, 0.02, 0.2, 0.5}[random() % 4];
    const Network network = {
        .packet_loss = worst * chance(random),
        .progress_loss = worst * chance(random),
        .repetition = random() % 2 == 0 ? 0 : 0.2 * chance(random),
        .jitter_ns = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() % 50'000)};
    const Outcome outcome = Transfer(setup, network, 1 + random() % 128, seed);
    ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
    EXPECT_LE(outcome.sent, 4 * packets + 200) << "seed " << seed;
  }
}

}  // namespace
}  // namespace weft::rpc
