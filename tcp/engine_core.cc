// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/engine_core.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

namespace weft::tcp {
namespace {

constexpr size_t kIpv4HeaderBytes = 20;
constexpr size_t kIpv6HeaderBytes = 40;

// Of a peer that says nothing (RFC 9293, 3.7.1).
constexpr uint16_t kDefaultMssV4 = 536;
constexpr uint16_t kDefaultMssV6 = 1220;
// A smaller one is taken as this: it would make headers most of what is sent.
constexpr uint16_t kMssLeast = 48;

LossOptions LossOptionsOf(const Options& options) {
  LossOptions loss;
  loss.rtt.granularity_ns = options.rto_min_ns;
  loss.rtt.rto_initial_ns = options.rto_initial_ns;
  loss.rtt.rto_min_ns = options.rto_min_ns;
  loss.rtt.rto_max_ns = options.rto_max_ns;
  loss.rack = options.rack;
  loss.initial_window_packets = options.initial_window_packets;
  return loss;
}

// The least with which the field can hold the largest window (RFC 7323, 2.3).
uint8_t ScaleFor(uint32_t window_max) {
  constexpr uint32_t kFieldMax = 0xffff;
  uint8_t scale = 0;
  while (scale < kWindowScaleMax && window_max >> scale > kFieldMax) ++scale;
  return scale;
}

}  // namespace

EngineCore::EngineCore(const Options& options, const World& world,
                       const CongestionAlgorithm* algorithm)
    : options_(options),
      world_(world),
      algorithm_(algorithm),
      secret_(world.secret),
      table_secret_(world.secret * 0x9e3779b97f4a7c15 + world.worker),
      loss_options_(LossOptionsOf(options)),
      window_scale_(options.window_scaling ? ScaleFor(options.receive_buffer_bytes_max) : 0),
      random_(table_secret_),
      own_stats_(world.stats == nullptr ? std::make_unique<TcpStats>() : nullptr),
      stats_(world.stats == nullptr ? *own_stats_ : *world.stats),
      time_wait_(options.time_wait_max, options.time_wait_ns, table_secret_, world.timers,
                 &stats_.time_wait),
      port_counter_(static_cast<uint32_t>(random_.Next())),
      held_max_(static_cast<int64_t>(world.pool->count() * options.buffers_percent_max / 100)),
      spare_(world.pool->count() / 32),
      resets_(options.resets_per_s, std::max<uint64_t>(options.resets_per_s / 10, 1), 0) {
  outbox_.reserve(2 * (world.outbox_segments + kOutboxReserve));
}

EngineCore::~EngineCore() {
  for (uint32_t index = 0; index < slab_.places(); ++index) {
    if (Tcb* tcb = slab_.At(index)) {
      tcb->send.Clear();
      tcb->receive.Clear(nullptr);
    }
  }
  stats_.ClearGauges();
}

Tcb* EngineCore::Find(StreamId stream) const {
  Tcb* tcb = slab_.Find(stream);
  return tcb != nullptr && tcb->announced ? tcb : nullptr;
}

Tcb* EngineCore::NewTcb(const Flow& flow, uint32_t hash, int64_t now_ns) {
  if (slab_.size() >= options_.connections_max) {
    ++stats_.connections_refused;
    return nullptr;
  }
  Tcb& tcb = slab_.Make(this, &OnTimer);
  tcb.flow = flow;
  tcb.in_table = true;
  table_.Insert(hash, tcb.index);
  tcb.ttl = world_.ttl;
  const size_t path_mtu = world_.path_mtu ? world_.path_mtu(flow.remote) : world_.mtu;
  tcb.path_mtu = static_cast<uint16_t>(std::min<size_t>(path_mtu, 0xffff));
  tcb.peer_mss = flow.remote.is_v4() ? kDefaultMssV4 : kDefaultMssV6;
  tcb.receive_mss = tcb.peer_mss;
  tcb.send_limit_bytes = options_.send_buffer_bytes_max;
  tcb.user_timeout_ms = options_.user_timeout_ms;
  tcb.keepalive = options_.keepalive.all;
  tcb.keepalive_idle_s = static_cast<uint16_t>(options_.keepalive.idle_s);
  tcb.keepalive_interval_s = static_cast<uint16_t>(options_.keepalive.interval_s);
  tcb.keepalive_probes = options_.keepalive.probes;
  tcb.no_delay = !options_.nagle;
  tcb.ts_offset = secret_.TimestampOffset(flow.local, flow.remote);
  tcb.progress = tcb.last_received = Tick::AtMost(now_ns);
  tcb.quick_acks = kQuickAcks;
  SetMss(tcb);
  stats_.connections.Add(1);
  return &tcb;
}

// What a segment to `remote` holds when IP packets have `mtu` bytes, without TCP options (RFC
// 6691).
uint16_t EngineCore::MssOf(const netstack::IpAddress& remote, size_t mtu) const {
  const size_t headers =
      (remote.is_v4() ? kIpv4HeaderBytes : kIpv6HeaderBytes) + netstack::kTcpHeaderBytes;
  size_t mss = mtu > headers + kMssLeast ? mtu - headers : kMssLeast;
  mss = std::min(mss, world_.pool->payload_bytes());
  if (options_.mss_max != 0) mss = std::min<size_t>(mss, options_.mss_max);
  return static_cast<uint16_t>(std::min<size_t>(mss, 0xffff - headers));
}

void EngineCore::SetMss(Tcb& tcb) {
  const uint16_t mss = std::min(tcb.peer_mss, MssOf(tcb.flow.remote, tcb.path_mtu));
  tcb.mss = static_cast<uint16_t>(mss - (tcb.timestamps ? kTimestampBytes : 0));
}

void EngineCore::Agree(Tcb& tcb, const SegmentOptions& peer, int64_t now_ns) {
  const uint16_t default_mss = tcb.flow.remote.is_v4() ? kDefaultMssV4 : kDefaultMssV6;
  tcb.peer_mss = peer.mss != 0 ? std::max(peer.mss, kMssLeast) : default_mss;
  tcb.timestamps = options_.timestamps && peer.has_timestamps;
  tcb.sack = options_.sack && peer.sack_permitted;
  tcb.window_scaling = options_.window_scaling && peer.has_window_scale;
  tcb.send_scale = tcb.window_scaling ? peer.window_scale : 0;
  tcb.receive_scale = tcb.window_scaling ? window_scale_ : 0;
  if (tcb.timestamps) {
    tcb.ts_recent = peer.timestamp_value;
    tcb.ts_recent_s = static_cast<uint32_t>(now_ns / 1'000'000'000);
  }
  SetMss(tcb);
  tcb.receive_mss = std::min(tcb.mss, tcb.receive_mss);
}

// Both sides have acknowledged the other's SYN.
void EngineCore::Establish(Tcb& tcb, const Segment* answer) {
  const int64_t sent_ns = tcb.progress.ToNs(now_ns_);
  tcb.state = State::kEstablished;
  tcb.retransmit = Retransmit::kNone;
  tcb.retransmit_at = Tick();
  tcb.retries = 0;
  tcb.syn_due = false;
  tcb.progress = Tick::AtMost(now_ns_);
  tcb.send.Start(tcb.iss + 1);
  tcb.loss.Start(tcb.sack);
  // The user may have chosen one already.
  const CongestionAlgorithm& algorithm =
      tcb.congestion.algorithm == nullptr ? *algorithm_ : *tcb.congestion.algorithm;
  // A SYN that had to be sent again says that the path is full (RFC 5681, 3.1).
  tcb.congestion.Start(algorithm, tcb.mss,
                       tcb.retransmitted_syn ? 1 : options_.initial_window_packets);
  if (answer == nullptr) {
    // It was a cookie.
  } else if (!tcb.retransmitted_syn) {
    tcb.rtt.Add(loss_options_.rtt, now_ns_, now_ns_ - sent_ns);
  } else if (const int64_t echoed_ns = EchoedNs(tcb, *answer); echoed_ns != 0) {
    tcb.rtt.Add(loss_options_.rtt, now_ns_,
                now_ns_ - echoed_ns + LossDetection::Ack::kEchoTickNs - 1);
  } else {
    tcb.loss.BackOffAfterSyn(loss_options_.rtt);
  }
  StartKeepalive(tcb);
  stats_.established.Add(1);
  if (tcb.write_closed) BeginClosing(tcb);  // CloseWrite() has come before
}

void EngineCore::LeaveTable(Tcb& tcb) {
  if (!tcb.in_table) return;
  table_.Erase(HashOf(tcb.flow, table_secret_), tcb.index);
  tcb.in_table = false;
}

void EngineCore::End(Tcb& tcb, int error) {
  if (tcb.synchronized()) stats_.established.Add(-1);
  if (tcb.is(State::kSynReceived)) LeaveListener(tcb);
  LeaveTable(tcb);
  tcb.state = State::kClosed;
  tcb.retransmit = Retransmit::kNone;
  tcb.retransmit_at = tcb.ack_at = tcb.keepalive_at = Tick();
  world_.timers->Cancel(tcb.timer);
  Untouch(tcb);
  if (const RecoveryState* state = tcb.send.recovery()) {
    NoteIdle(tcb, state->limit, state->limit_since);
  }
  Hold(-static_cast<int64_t>(tcb.send.chunks()));
  tcb.send.Clear();
  if (error == 0) ++stats_.closed;
  tcb.error = static_cast<uint16_t>(error);
  if (!tcb.announced) {
    Free(tcb);
    return;
  }
  // What lies beyond gaps is read by nobody.
  Hold(-static_cast<int64_t>(tcb.receive.Prune(&out_of_order_)));
  if (error != 0 || tcb.user_closed || tcb.receive.bytes() == 0) Raise(tcb, Tcb::kClosed);
}

// Nobody refers to it any more.
void EngineCore::Free(Tcb& tcb) {
  Untouch(tcb);
  LeaveTable(tcb);
  Hold(-static_cast<int64_t>(tcb.receive.Clear(&out_of_order_)));
  stats_.connections.Add(-1);
  if (tcb.announced) --users_[tcb.user].streams;
  rare_.Give(tcb.rare);
  slab_.Destroy(tcb);
}

ReceiveQueue::Room EngineCore::RoomToReceive() {
  ReceiveQueue::Room room;
  room.ranges_max = options_.out_of_order_ranges_max;
  // Readers who do not read must leave some to answer others with, whoever else has taken from the
  // pool.
  const size_t available = world_.pool->available();
  room.in_order = held_ < held_max_ && available >= spare_ / 2;
  // Data that is not in order is the first to be given up: it is not acknowledged, and sent again.
  room.out_of_order = held_ < held_max_ / 8 * 7 && available >= spare_;
  room.pool = &out_of_order_;
  return room;
}

// A connection with nothing to send may always take a buffer, so that each gets on.
bool EngineCore::MaySendMore(const Tcb& tcb) const { return held_ < held_max_ || tcb.send.empty(); }

// Lists a connection as one that has gaps. Those that have none any more, or are gone, leave the
// list when it has doubled.
void EngineCore::NoteGap(Tcb& tcb) {
  if (gaps_.size() >= gaps_max_) {
    size_t kept = 0;
    for (const StreamId id : gaps_) {
      Tcb* listed = slab_.Find(id);
      if (listed == nullptr) continue;
      listed->in_gaps = listed->receive.has_gaps();
      if (listed->in_gaps) gaps_[kept++] = id;
    }
    gaps_.resize(kept);
    gaps_max_ = std::max<size_t>(64, 2 * kept);
  }
  tcb.in_gaps = true;
  gaps_.push_back(TcbSlab::IdOf(tcb));
}

// Buffers have run short: what lies beyond gaps goes.
void EngineCore::PruneGaps() {
  for (const StreamId id : gaps_) {
    Tcb* tcb = slab_.Find(id);
    if (tcb == nullptr) continue;
    tcb->in_gaps = false;
    const uint32_t given_back = tcb->receive.Prune(&out_of_order_);
    stats_.pruned += given_back;
    Hold(-static_cast<int64_t>(given_back));
  }
  gaps_.clear();
}

void EngineCore::NoteStarving(Tcb& tcb) {
  const bool hungry = tcb.send.empty();
  if (hungry ? tcb.hungry : tcb.starving) return;
  if (hungry) {
    tcb.hungry = true;
  } else {
    tcb.starving = true;
  }
  std::vector<StreamId>& list = hungry ? hungry_ : starving_;
  // Those that have gone meanwhile stand in it, too.
  if (list.size() >= 2 * size_t{slab_.places()}) {
    std::erase_if(list, [&](StreamId id) { return slab_.Find(id) == nullptr; });
  }
  list.push_back(TcbSlab::IdOf(tcb));
}

// Those that found no buffer to write to are told when there are some again: first those that have
// none, for whom nothing else makes any free.
void EngineCore::FeedStarving() {
  if (hungry_.empty() && starving_.empty()) return;
  const size_t available = world_.pool->available();
  const auto feed = [this](std::vector<StreamId>* list, auto forget) {
    std::vector<StreamId> fed;
    fed.swap(*list);
    for (const StreamId id : fed) {
      Tcb* tcb = slab_.Find(id);
      if (tcb == nullptr) continue;
      forget(*tcb);
      RaiseWritable(*tcb);
    }
  };
  if (available >= std::max<size_t>(spare_ / 2, 1)) {
    feed(&hungry_, [](Tcb& tcb) { tcb.hungry = false; });
  }
  if (held_ < held_max_ / 8 * 7 && available >= std::max<size_t>(2 * spare_, 1)) {
    feed(&starving_, [](Tcb& tcb) { tcb.starving = false; });
  }
}

}  // namespace weft::tcp
