// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/sender_model.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::tcp {
namespace {

constexpr size_t kHeadroom = 64;
constexpr int64_t kDelayedAckNs = 40'000'000;
constexpr int64_t kTimestampNs = 1'000'000;  // a tick of the timestamps' clock
constexpr size_t kViolationsMax = 10;

uint8_t ByteAt(uint64_t offset) { return static_cast<uint8_t>(offset * 131 + (offset >> 8) * 7); }

// Adds [begin, end) to disjoint ranges. Whether all of it was there.
bool Add(std::map<uint64_t, uint64_t>& ranges, uint64_t begin, uint64_t end) {
  auto next = ranges.upper_bound(begin);
  if (next != ranges.begin()) {
    auto before = std::prev(next);
    if (before->second >= end) return true;
    if (before->second >= begin) {
      begin = before->first;
      next = ranges.erase(before);
    }
  }
  while (next != ranges.end() && next->first <= end) {
    end = std::max(end, next->second);
    next = ranges.erase(next);
  }
  ranges[begin] = end;
  return false;
}

}  // namespace

SenderModel::SenderModel(const SenderModelOptions& options)
    : options_(options),
      prng_(options.seed),
      buffers_({.count = 8192, .bytes = 4096, .headroom = 128}),
      first_(static_cast<uint32_t>(prng_.Next())),
      mss_(options.mss) {
  loss_options_.rack = options.rack;
  queue_.Start(first_);
  congestion_.Start(**FindCongestionAlgorithm(options.congestion_control), mss_, 10);
  loss_.Start(options.sack);
}

SenderModel::~SenderModel() { queue_.Clear(); }

void SenderModel::Violation(const std::string& what) {
  if (violations_.size() < kViolationsMax) {
    violations_.push_back(
        absl::StrCat("seed ", options_.seed, " at ", now_ns_ / 1000, " us: ", what));
  }
}

bool SenderModel::Run() {
  Output();
  while (violations_.empty() && Step(options_.limit_ns)) {
  }
  const bool done = una_ == options_.total_bytes && memory_bytes() == 0;
  if (!done) Violation(absl::StrCat("not done: ", una_, " of ", options_.total_bytes));
  return done;
}

void SenderModel::RunUntil(int64_t until_ns) {
  Output();
  while (violations_.empty() && Step(until_ns)) {
  }
  now_ns_ = std::max(now_ns_, until_ns);
}

// The next event or timer; false: there is none until then.
bool SenderModel::Step(int64_t until_ns) {
  const int64_t timer_ns = loss_.deadline_ns(queue_);
  const int64_t event_ns =
      events_.empty() ? std::numeric_limits<int64_t>::max() : events_.begin()->first;
  if (std::min(timer_ns, event_ns) > until_ns) return false;
  if (timer_ns < event_ns) {
    now_ns_ = std::max(now_ns_, timer_ns);
    OnTimer();
  } else {
    now_ns_ = std::max(now_ns_, event_ns);
    Event event = std::move(events_.begin()->second);
    events_.erase(events_.begin());
    switch (event.kind) {
      case Event::kPacket:
        OnPacket(std::move(event.packet));
        break;
      case Event::kAck:
        OnAck(event.ack);
        break;
      case Event::kDelayedAck:
        if (ack_pending_) SendAck(false, 0, 0);
        break;
    }
  }
  Check();
  return true;
}

// As an application that writes when there is room, now in place, now with a buffer of its own.
void SenderModel::Write() {
  // Some buffers stay free, for copies of what is sent again.
  while (written_ < options_.total_bytes && queue_.bytes() < options_.send_buffer_bytes &&
         queue_.chunks() < buffers_.count() / 2) {
    const uint64_t bytes =
        options_.whole_segments ? mss_ : 1 + prng_.Below(options_.write_bytes_max);
    const uint64_t wanted = std::min<uint64_t>(bytes, options_.total_bytes - written_);
    size_t n = 0;
    if (prng_.Chance(0.5)) {
      const absl::Span<uint8_t> room =
          queue_.Reserve(wanted, mss_ * options_.piece_segments, buffers_, memory_);
      n = room.size();
      for (size_t i = 0; i < n; ++i) room[i] = ByteAt(written_ + i);
      queue_.Commit(n);
    } else if (Buffer buffer = buffers_.Allocate()) {
      n = std::min<uint64_t>(wanted, buffer.tailroom());
      uint8_t* to = buffer.Append(n);
      for (size_t i = 0; i < n; ++i) to[i] = ByteAt(written_ + i);
      if (!queue_.Append(std::move(buffer), memory_)) n = 0;
    }
    if (n == 0) return;
    written_ += n;
  }
}

void SenderModel::Output() {
  Write();
  loss_.BeforeFirst(sender(), now_ns_);
  for (;;) {
    const LossDetection::Next next = loss_.NextToSend(sender());
    if (next == LossDetection::Next::kNothing) return;
    if (next == LossDetection::Next::kResend) {
      SendQueue::Piece piece = queue_.ResendLost(mss_, now_ns_, buffers_, kHeadroom);
      if (!piece.buffer) return;
      SendOne(std::move(piece));
    } else {
      const int64_t window = int64_t{options_.window_bytes} - queue_.in_flight_bytes();
      if (window < std::min(mss_, queue_.next_chunk_bytes())) {
        if (loss_.CannotSendNew(sender())) continue;
        return;
      }
      const auto room = static_cast<uint32_t>(std::min<int64_t>(
          std::max(loss_.budget_bytes(sender()), mss_), std::max<int64_t>(window, mss_)));
      const uint32_t whole = room / mss_ * mss_;
      SendQueue::Piece piece = queue_.SendNext(std::min(whole, mss_ * options_.piece_segments),
                                               now_ns_, buffers_, kHeadroom);
      if (!piece.buffer) return;
      SendOne(std::move(piece));
    }
    Write();
  }
}

void SenderModel::SendOne(SendQueue::Piece piece) {
  if (piece.resent) {
    ++resent_pieces_;
    const uint64_t begin = OffsetOf(piece.seq);
    auto told = told_.upper_bound(begin);
    // Of pieces of several segments, and where lies come true, crumbs are not told apart
    // (scoreboard.cc).
    if (options_.piece_segments == 1 && options_.lies == 0 && told != told_.begin() &&
        std::prev(told)->second >= begin + piece.bytes) {
      Violation("bytes sent again that were SACKed");
    }
    auto beyond = beyond_.upper_bound(begin);
    const bool there =
        begin + piece.bytes <= received_ ||
        (beyond != beyond_.begin() && std::prev(beyond)->second >= begin + piece.bytes);
    if (there) ++needless_pieces_;
  }
  loss_.OnSent(sender(), piece, now_ns_);
  Transmit(std::move(piece));
}

// Each segment of the piece has its own fate.
void SenderModel::Transmit(SendQueue::Piece piece) {
  const uint64_t begin = OffsetOf(piece.seq);
  for (uint32_t i = 0; i < piece.bytes; ++i) {
    if (piece.buffer.data()[i] != ByteAt(begin + i)) {
      Violation("bytes that were never written");
      break;
    }
  }
  piece.buffer.Prepend(54);  // headers, as lower layers do
  for (uint32_t at = 0; at < piece.bytes; at += mss_) {
    const uint32_t bytes = std::min(mss_, piece.bytes - at);
    if (prng_.Chance(options_.spike)) stopped_until_ns_ = now_ns_ + options_.spike_ns;
    int64_t leaves_ns = std::max(now_ns_, stopped_until_ns_);
    bool marked = false;
    if (options_.bottleneck_ns_per_byte > 0) {
      const int64_t starts_ns = std::max(leaves_ns, link_free_ns_);
      const int64_t queued = (starts_ns - leaves_ns) / options_.bottleneck_ns_per_byte;
      if (queued > options_.bottleneck_bytes) continue;
      marked = options_.mark_bytes > 0 && queued > options_.mark_bytes;
      link_free_ns_ = starts_ns + bytes * options_.bottleneck_ns_per_byte;
      leaves_ns = link_free_ns_;
    }
    if (prng_.Chance(options_.loss)) continue;
    const int copies = prng_.Chance(options_.duplication) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      int64_t arrives_ns = leaves_ns + options_.delay_ns;
      if (prng_.Chance(options_.reordering)) {
        arrives_ns += static_cast<int64_t>(prng_.Below(options_.reordering_ns));
      }
      Event event{.kind = Event::kPacket};
      event.packet = {piece.buffer.Share(), begin + at, bytes, now_ns_, marked};
      events_.emplace(arrives_ns, std::move(event));
    }
  }
}

void SenderModel::OnPacket(Packet packet) {
  const uint64_t end = packet.at + packet.bytes;
  received_bytes_ += packet.bytes;
  ece_ = packet.marked;
  if (packet.at <= ack_sent_) echo_ns_ = std::max(echo_ns_, packet.sent_ns);  // RFC 7323, 4.3
  if (end <= received_ || Add(beyond_, packet.at, end)) {
    SendAck(true, packet.at, end);
    return;
  }
  if (packet.at > received_) {
    recent_.insert(recent_.begin(), packet.at);
    SendAck(false, 0, 0);
    return;
  }
  const bool filled = beyond_.begin()->second > end || beyond_.size() > 1;
  received_ = std::max(received_, beyond_.begin()->second);
  beyond_.erase(beyond_.begin());
  if (filled || ack_pending_ || !options_.delayed_acks || packet.marked) {
    SendAck(false, 0, 0);
    return;
  }
  ack_pending_ = true;
  events_.emplace(now_ns_ + kDelayedAckNs, Event{.kind = Event::kDelayedAck});
}

void SenderModel::SendAck(bool duplicate, uint64_t begin, uint64_t end) {
  ack_pending_ = false;
  ack_sent_ = received_;
  if (prng_.Chance(options_.reneging)) {
    beyond_.clear();
    recent_.clear();
    told_.clear();
  }
  Event event{.kind = Event::kAck};
  event.ack.ack = received_;
  event.ack.ece = ece_;
  event.ack.echoed_ns = options_.timestamps ? (echo_ns_ / kTimestampNs + 1) * kTimestampNs - 1 : 0;
  if (options_.sack) {
    std::vector<SeqRange>& sacks = event.ack.sacks;
    if (duplicate) sacks.push_back({SeqAt(begin), SeqAt(end)});
    for (uint64_t at : recent_) {
      if (sacks.size() == 3) break;
      auto range = beyond_.upper_bound(at);
      if (range == beyond_.begin()) continue;
      --range;
      const SeqRange block{SeqAt(range->first), SeqAt(range->second)};
      if (range->second <= at) continue;
      if (std::find(sacks.begin(), sacks.end(), block) == sacks.end()) sacks.push_back(block);
    }
    if (recent_.size() > 64) recent_.resize(64);
    if (prng_.Chance(options_.lies)) {
      const Seq at(static_cast<uint32_t>(prng_.Next()));
      const SeqRange lies[] = {
          {at, at + static_cast<uint32_t>(prng_.Next())},
          {SeqAt(written_), SeqAt(written_ + 1000)},
          {SeqAt(received_), SeqAt(received_) - 5},
          {SeqAt(received_) - 3000, SeqAt(received_) - 2000},
      };
      sacks.insert(sacks.begin(), lies[prng_.Below(4)]);
    }
  }
  if (prng_.Chance(options_.ack_loss)) return;
  int64_t arrives_ns = now_ns_ + options_.delay_ns;
  if (prng_.Chance(options_.reordering)) {
    arrives_ns += static_cast<int64_t>(prng_.Below(options_.reordering_ns));
  }
  events_.emplace(arrives_ns, std::move(event));
}

void SenderModel::OnAck(const AckPacket& ack) {
  const Seq at = SeqAt(ack.ack);
  const Seq una = Max(at, queue_.una());  // it may have been overtaken
  if (at > queue_.next()) {
    Violation("acknowledged what was not sent");
    return;
  }
  for (const SeqRange& block : ack.sacks) {
    if (block.begin > una && block.end > block.begin && block.end <= queue_.next()) {
      Add(told_, OffsetOf(block.begin), OffsetOf(block.end));
    }
  }
  const LossDetection::Outcome outcome =
      loss_.OnAck(sender(), {.now_ns = now_ns_,
                             .ack = at,
                             .sacks = ack.sacks,
                             .ece = options_.mark_bytes > 0 && ack.ece,
                             .may_be_duplicate = at == queue_.una(),
                             .echoed_ns = ack.echoed_ns});
  if (queue_.una() != una) Violation("una is not what was acknowledged");
  una_ = std::max(una_, ack.ack);
  recoveries_ += outcome.recovery_began;
  undone_ += outcome.undone;
  ecn_reductions_ += outcome.ecn_reduced;
  bad_sacks_ += outcome.bad_sacks;
  if (prng_.Chance(options_.shrinking)) mss_ = std::max<uint32_t>(mss_ * 9 / 10, 500);
  Output();
}

void SenderModel::OnTimer() {
  const LossDetection::Action action = loss_.OnTimer(sender(), now_ns_);
  switch (action) {
    case LossDetection::Action::kNone:
      break;
    case LossDetection::Action::kReneged:
      ++renegings_;
      told_.clear();
      [[fallthrough]];
    case LossDetection::Action::kTimeout:
      ++timeouts_;
      break;
    case LossDetection::Action::kOutput:
      ++recoveries_;
      break;
    case LossDetection::Action::kProbe: {
      ++probes_;
      SendQueue::Piece piece = queue_.SendNext(mss_, now_ns_, buffers_, kHeadroom);
      if (!piece.buffer) piece = queue_.ResendLast(mss_, now_ns_, buffers_, kHeadroom);
      if (piece.buffer) SendOne(std::move(piece));
      break;
    }
  }
  timers_at_once_ = loss_.deadline_ns(queue_) <= now_ns_ ? timers_at_once_ + 1 : 0;
  if (timers_at_once_ > 2) Violation("a timer that has run stays due");
  Output();
}

// What is counted step by step is what a count over all finds.
void SenderModel::Check() {
  uint32_t sacked = 0, lost = 0, resent = 0, flight = 0;
  int64_t earliest_ns = std::numeric_limits<int64_t>::max();
  Seq seq = queue_.una();
  for (uint32_t i = 0; i < queue_.chunks(); ++i) {
    const SendQueue::Chunk& chunk = queue_.chunk(i);
    if (chunk.seq != seq) Violation("a gap between chunks");
    seq = chunk.end();
    if (i >= queue_.sent_chunks()) continue;
    flight += chunk.bytes;
    if (chunk.sacked()) sacked += chunk.bytes;
    if (chunk.lost()) lost += chunk.bytes;
    if ((chunk.flags & SendQueue::kResent) != 0) resent += chunk.bytes;
    if (chunk.on_the_way()) earliest_ns = std::min(earliest_ns, chunk.sent_ns);
  }
  if (seq != queue_.end()) Violation("chunks that end elsewhere");
  if (flight != queue_.in_flight_bytes()) Violation("bytes in flight are miscounted");
  if (sacked != queue_.sacked_bytes()) Violation("SACKed bytes are miscounted");
  if (lost != queue_.lost_bytes()) Violation("lost bytes are miscounted");
  if (resent != queue_.resent_bytes()) Violation("bytes sent again are miscounted");
  if (queue_.pipe_bytes() != flight - sacked - lost + resent) Violation("pipe is miscounted");
  const SendQueue::Chunk* first =
      queue_.MarkLostInSentOrder([](const SendQueue::Chunk&) { return false; });
  const int64_t first_ns = first == nullptr ? std::numeric_limits<int64_t>::max() : first->sent_ns;
  if (first_ns != earliest_ns) Violation("the list in order of sending has another beginning");
  if (flight > 0 && loss_.deadline_ns(queue_) == LossDetection::kNever) {
    Violation("bytes in flight without a timer");
  }
  if (congestion_.cwnd_bytes == 0) Violation("no window");
}

}  // namespace weft::tcp
