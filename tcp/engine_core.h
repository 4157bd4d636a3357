// SPDX-License-Identifier: Apache-2.0
//
// EngineCore: the inside of an Engine. Its parts are files by concern:
//
//   engine_core.cc      connections: made, found, ended
//   listeners.cc        who listens, how much waits
//   connect.cc          active opens, ephemeral ports
//   receive.cc          bursts, to whom a segment belongs
//   listen_input.cc     SYNs and cookies (RFC 9293, 3.10.7.2)
//   syn_sent_input.cc   3.10.7.3
//   segment_input.cc    3.10.7.4: sequence numbers, RST, SYN
//   ack_input.cc        3.10.7.4: ACK
//   data_input.cc       3.10.7.4: data and FIN
//   time_wait_input.cc  TIME-WAIT, and FIN-WAIT-2 without a user
//   output.cc           what to send, and when
//   build_segment.cc    how it looks
//   timers.cc           what is due: retransmission, probes, delayed acknowledgements, keepalive
//   close.cc            ends
//   path_mtu.cc         ICMP
//   streams.cc          reading and writing
//   stream_info.cc      options and information
//   events.cc           what users are told
//   users.cc            who they are
#ifndef WEFT_TCP_ENGINE_CORE_H_
#define WEFT_TCP_ENGINE_CORE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/core/buffer.h"
#include "weft/core/prng.h"
#include "weft/netstack/icmp_errors.h"
#include "weft/netstack/segment_handler.h"
#include "weft/netstack/token_bucket.h"
#include "weft/netstack/wire/tcp.h"
#include "weft/tcp/block_pool.h"
#include "weft/tcp/connection_table.h"
#include "weft/tcp/engine.h"
#include "weft/tcp/engine_users.h"
#include "weft/tcp/options.h"
#include "weft/tcp/rare_counts.h"
#include "weft/tcp/secret.h"
#include "weft/tcp/segment.h"
#include "weft/tcp/segment_options.h"
#include "weft/tcp/tcb.h"
#include "weft/tcp/tcb_slab.h"
#include "weft/tcp/tcp_stats.h"
#include "weft/tcp/time_wait.h"

namespace weft::tcp {

class EngineCore {
 public:
  EngineCore(const Options& options, const World& world, const CongestionAlgorithm* algorithm);
  ~EngineCore();

  // --- receive.cc
  void Receive(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns);
  void Reject(absl::Span<netstack::ReceivedSegment> burst, int64_t now_ns);

  // --- path_mtu.cc
  bool OnIcmpError(const netstack::IcmpErrorReport& report, int64_t now_ns);
  void OnPathMtu(const netstack::IpAddress& remote, size_t mtu, int64_t now_ns);

  // --- output.cc
  absl::Span<netstack::OutgoingSegment> pending() {
    return absl::MakeSpan(outbox_).subspan(outbox_begin_);
  }
  void Sent(size_t n, int64_t now_ns);
  void Flush(int64_t now_ns);
  bool has_output() const {
    return first_output_ != Tcb::kNone || outbox_.size() != outbox_begin_ || !starving_.empty() ||
           !hungry_.empty() || !searches_.empty();
  }

  bool is_searching() const { return !searches_.empty(); }

  // --- listeners.cc, connect.cc
  absl::StatusOr<uint16_t> Listen(const netstack::IpAddress& local, uint16_t port, int backlog,
                                  uint16_t user);
  absl::Status StopListening(const netstack::IpAddress& local, uint16_t port);
  absl::StatusOr<StreamId> Connect(const Flow& flow, int64_t now_ns, uint16_t user);

  // --- streams.cc
  absl::Span<const uint8_t> ReadView(StreamId stream) const;
  void Consume(StreamId stream, size_t n, int64_t now_ns);
  absl::Span<uint8_t> Reserve(StreamId stream, size_t wanted);
  void Commit(StreamId stream, size_t n, int64_t now_ns);
  bool SendBuffer(StreamId stream, Buffer* buffer, int64_t now_ns);

  // --- close.cc
  void CloseWrite(StreamId stream, int64_t now_ns);
  void Close(StreamId stream, int64_t now_ns);
  void Abort(StreamId stream, int64_t now_ns);

  // --- stream_info.cc
  absl::Status SetOptions(StreamId stream, const StreamOptions& options, int64_t now_ns);
  absl::StatusOr<StreamInfo> Info(StreamId stream, int64_t now_ns) const;
  absl::StatusOr<Flow> FlowOf(StreamId stream) const;
  bool Look(Engine::Scan* scan, size_t places, int64_t now_ns,
            absl::FunctionRef<bool(const Flow&, StreamInfo::State)> wanted,
            absl::FunctionRef<void(StreamId, const Flow&, const StreamInfo&)> show) const;
  void ForEachListener(absl::FunctionRef<void(const ListenerInfo&)> show) const;

  // --- events.cc
  size_t TakeEvents(absl::Span<StreamEvent> events, uint16_t user);
  bool has_events(uint16_t user) const { return users_[user].first_event != Tcb::kNone; }

  // --- users.cc
  absl::StatusOr<uint16_t> AddUser();
  void RemoveUser(uint16_t user, int64_t now_ns);
  void EndAll(int error, int64_t now_ns);

  const TcpStats& stats() const { return stats_; }
  const Options& options() const { return options_; }

 private:
  using State = Tcb::State;
  using Retransmit = Tcb::Retransmit;

  // Intervals at which answers to segments that may be forged are sent on one connection.
  static constexpr int64_t kChallengeIntervalNs = 500'000'000;  // as Linux's
  static constexpr uint8_t kQuickAcks = 16;
  // Segments of one connection at a turn, when others wait, too.
  static constexpr int kSegmentsATurn = 64;

  enum class Sending { kDone, kMore, kBlocked };

  // --- engine_core.cc
  Tcb* Find(StreamId stream) const;
  // A connection in the table, without a state; null at connections_max.
  Tcb* NewTcb(const Flow& flow, uint32_t hash, int64_t now_ns);
  // Sets what both sides have agreed on (RFC 9293, 3.7.1; RFC 7323; RFC 2018), all of it: of two
  // SYNs that seem to be the peer's, the second one counts.
  void Agree(Tcb& tcb, const SegmentOptions& peer, int64_t now_ns);
  void SetMss(Tcb& tcb);
  // `answer` has acknowledged our SYN, and tells the round trip; null: nothing of that is known.
  void Establish(Tcb& tcb, const Segment* answer);
  // The connection is over: it leaves the table and gives back what it holds. The user is told, if
  // he knows of it, when everything was read or there was an error.
  void End(Tcb& tcb, int error);
  void Free(Tcb& tcb);
  void LeaveTable(Tcb& tcb);
  uint16_t MssOf(const netstack::IpAddress& remote, size_t mtu) const;
  uint32_t TsNow(int64_t now_ns, uint32_t offset) const {
    return static_cast<uint32_t>(now_ns / 1'000'000) + offset;
  }

  // --- buffers: engine_core.cc
  ReceiveQueue::Room RoomToReceive();
  bool MaySendMore(const Tcb& tcb) const;
  void Hold(int64_t buffers) {
    held_ += buffers;
    stats_.buffers_held.Set(held_);
  }
  void NoteGap(Tcb& tcb);
  void PruneGaps();
  // Lists one that found no buffer to write to.
  void NoteStarving(Tcb& tcb);
  void FeedStarving();

  // --- listeners.cc
  Listener* FindListener(const netstack::IpAddress& local, uint16_t port, uint32_t* index);
  void LeaveListener(Tcb& tcb);

  // --- input
  bool Take(const netstack::ReceivedSegment& received, Segment* segment);
  bool Dispatch(Segment& segment);
  void ListenInput(uint32_t index, Segment& segment);
  void SynInput(uint32_t index, Segment& segment);
  bool IsCookie(uint32_t index, const Segment& segment) const;
  bool CookieInput(uint32_t index, Segment& segment);
  void SynSentInput(Tcb& tcb, Segment& segment);
  void SegmentInput(Tcb& tcb, Segment& segment);
  void ForgetCrossingSyn(Tcb& tcb);
  bool CheckSequence(Tcb& tcb, const Segment& segment);
  void RestIfAlone(Tcb& tcb);
  bool CheckPaws(Tcb& tcb, const Segment& segment);
  bool ResetInput(Tcb& tcb, const Segment& segment);
  bool SynReceivedInput(Tcb& tcb, Segment& segment);
  bool CheckAck(Tcb& tcb, const Segment& segment);
  bool AckInput(Tcb& tcb, const Segment& segment);
  void CountOutcome(Tcb& tcb, const LossDetection::Outcome& outcome, bool ece);
  void UpdateWindow(Tcb& tcb, const Segment& segment);
  void NoteClosedWindow(Tcb& tcb);
  void ConfirmReachable(Tcb& tcb);
  // As LossDetection::Ack has it.
  int64_t EchoedNs(const Tcb& tcb, const Segment& segment) const;
  bool AckOfFin(Tcb& tcb);
  bool DataInput(Tcb& tcb, Segment& segment);
  void ScheduleAck(Tcb& tcb, const ReceiveQueue::Added& added);
  void LearnSegmentSize(Tcb& tcb, const Segment& segment);
  void MeasureRoundTrip(Tcb& tcb, const Segment& segment);
  void EcnInput(Tcb& tcb, const Segment& segment);
  bool FinInput(Tcb& tcb);
  bool TimeWaitInput(uint32_t index, Segment& segment);
  void Challenge(Tcb& tcb);
  void AnswerProbe(Tcb& tcb);
  bool ChallengedLately(const Tcb& tcb) const;
  void SendChallenge(Tcb& tcb);

  // --- output.cc
  Sender SenderOf(Tcb& tcb) { return {tcb.send, tcb.rtt, tcb.congestion, loss_options_, tcb.mss}; }
  void Touch(Tcb& tcb);  // it may have something to send
  void Untouch(Tcb& tcb);
  Sending Output(Tcb& tcb);
  Sending OutputData(Tcb& tcb);
  void SendPiece(Tcb& tcb, SendQueue::Piece piece);
  // Of unsent data, what may be sent now as one segment: 0 if it has to wait.
  uint32_t NextNewBytes(Tcb& tcb);
  // How large a segment may be that is cut on its way, a multiple of the MSS; the MSS if none is.
  uint32_t LargestSegment(const Tcb& tcb) const {
    const auto most = static_cast<uint32_t>(world_.cut_bytes_max);
    // Without SACK a loss is known by segments that are counted.
    return tcb.sack && most >= 2u * tcb.mss ? most - most % tcb.mss : tcb.mss;
  }
  // In what pieces what is written goes out.
  uint32_t ChunkBytes(const Tcb& tcb) const;
  // How much of what is lost may go again as one segment.
  uint32_t ResendBytes(Tcb& tcb);
  bool FinIsDue(const Tcb& tcb) const;
  bool SendTailProbe(Tcb& tcb);
  // Accounts for the time that data waits: looks at why it does now, or says that there is none.
  void NoteLimit(Tcb& tcb);
  void NoteIdle(Tcb& tcb, SendLimit was, uint32_t since);
  void AddTime(Tcb& tcb, SendLimit limit, uint32_t since);
  RareCounts& Rare(Tcb& tcb) { return rare_.Get(&tcb.rare); }
  // Units of 1.05 ms: in 32 bits, 52 days.
  static constexpr int kLimitShift = 20;
  static uint32_t LimitTime(int64_t now_ns) { return static_cast<uint32_t>(now_ns >> kLimitShift); }
  bool OutboxHasRoom() const { return outbox_.size() - outbox_begin_ < world_.outbox_segments; }
  // For what is not of a connection: there is a little more room.
  bool OutboxTakesOne() const {
    return outbox_.size() - outbox_begin_ < world_.outbox_segments + kOutboxReserve;
  }
  static constexpr size_t kOutboxReserve = 64;

  // --- build_segment.cc
  // Segments of a connection; false when there was no buffer or no room.
  bool SendSyn(Tcb& tcb);
  bool SendAck(Tcb& tcb);
  bool SendFin(Tcb& tcb);
  // Repeats a byte that was acknowledged, so that the peer answers (RFC 9293, 3.8.4).
  bool SendProbe(Tcb& tcb);
  void SendResetOf(Tcb& tcb);
  void SendData(Tcb& tcb, Buffer payload, Seq seq, uint32_t bytes, bool again);
  bool SendControl(Tcb& tcb, Seq seq, uint8_t flags);
  // Of no connection.
  void SendResetFor(const Segment& segment);
  bool SendPlain(const Flow& flow, netstack::TcpFields fields, const SegmentOptions& options);
  bool SendCookie(const Segment& segment);
  void FillOptions(Tcb& tcb, SegmentOptions* options);
  void Acknowledged(Tcb& tcb);  // a segment that acknowledges everything has gone
  void Put(const Flow& flow, Buffer segment, uint8_t ecn, uint8_t ttl, uint8_t dscp);
  bool ChallengeAllowed();

  // --- timers.cc
  static void OnTimer(void* tcb, int64_t now_ns);
  void OnDue(Tcb& tcb);
  void OnLossTimer(Tcb& tcb);
  void OnRetransmit(Tcb& tcb);
  void OnHandshakeTimeout(Tcb& tcb);
  bool OnKeepalive(Tcb& tcb);
  void Arm(Tcb& tcb);
  void ArmBy(Tcb& tcb, int64_t deadline_ns);  // the only one that may have come nearer
  void SetRetransmit(Tcb& tcb, Retransmit what);
  // What of kFin, kWindowProbe and nothing it is now.
  void UpdateRetransmit(Tcb& tcb);
  int64_t Rto(const Tcb& tcb) const { return tcb.rtt.rto_ns(loss_options_.rtt, tcb.retries); }
  int64_t GiveUpNs(const Tcb& tcb) const;
  void GiveUp(Tcb& tcb);
  void EndInSilence(Tcb& tcb);
  void StartKeepalive(Tcb& tcb);

  // --- close.cc
  void EnterTimeWait(Tcb& tcb, bool fin_wait_2);
  void BeginClosing(Tcb& tcb);

  // --- events.cc
  void Raise(Tcb& tcb, Tcb::Event event);
  void RaiseWritable(Tcb& tcb);
  void FreeTaken(uint16_t user);

  // --- stream_info.cc
  StreamInfo InfoOf(const Tcb& tcb, int64_t now_ns) const;
  void FillCounts(const Tcb& tcb, int64_t now_ns, StreamInfo* info) const;

  // --- users.cc; also what looks through all connections, some at a turn
  static constexpr size_t kSearchesMax = 16;
  static constexpr uint32_t kPlacesSearched = 256;  // at a turn: some ten us
  void Announce(Tcb& tcb);
  void Begin(const Search& search);
  void SearchSome();
  void Found(const Search& search, Tcb& tcb);

  // --- path_mtu.cc
  void NarrowPath(Tcb& tcb, size_t mtu);
  void RaiseMtu(Tcb& tcb);
  void SuspectBlackHole(Tcb& tcb);

  const Options options_;
  const World world_;
  const CongestionAlgorithm* const algorithm_;
  const Secret secret_;
  const uint64_t table_secret_;
  const LossOptions loss_options_;
  const uint8_t window_scale_;
  Prng random_;
  int64_t now_ns_ = 0;  // of the call that is under way

  const std::unique_ptr<TcpStats> own_stats_;  // null: the world's
  TcpStats& stats_;
  BlockPool blocks_;
  OutOfOrderPool out_of_order_;
  RareCountsPool rare_;
  TcbSlab slab_;
  ConnectionTable table_;
  TimeWaitTable time_wait_;
  std::vector<Listener> listeners_;
  absl::flat_hash_map<uint16_t, std::vector<uint32_t>> listeners_of_port_;
  uint32_t port_counter_ = 0;

  std::vector<netstack::OutgoingSegment> outbox_;
  size_t outbox_begin_ = 0;
  uint32_t first_output_ = Tcb::kNone;
  uint32_t last_output_ = Tcb::kNone;
  std::vector<User> users_ = std::vector<User>(1);
  StreamId reported_;               // what the last ICMP error was about
  std::vector<Search> searches_;    // the first one is under way
  std::vector<StreamId> gaps_;      // connections that may have gaps
  size_t gaps_max_ = 64;            // when the list is looked through
  std::vector<StreamId> starving_;  // that wait for buffers, and have some
  std::vector<StreamId> hungry_;    // that had none when they asked
  int64_t held_ = 0;                // buffers with data
  int64_t held_max_;
  // Of the pool's buffers so many are left to connections that have nothing to send yet: one in
  // full swing takes each that comes back before others are asked.
  const size_t spare_;

  netstack::TokenBucket resets_;
  int64_t challenge_second_ = -1;
  uint32_t challenges_left_ = 0;
};

}  // namespace weft::tcp

#endif  // WEFT_TCP_ENGINE_CORE_H_
