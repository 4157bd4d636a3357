// SPDX-License-Identifier: Apache-2.0
//
// How emulated ports begin and end, and how time passes for them.
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/siphash.h"
#include "weft/transports/remote_memory/emulated_memory.h"

namespace weft {

using emulated::Kind;

namespace {

constexpr int64_t kLongNs = int64_t{1} << 60;
constexpr uint32_t kWindowMax = 256;

int64_t NsOf(absl::Duration duration) {
  return std::min(absl::ToInt64Nanoseconds(duration), kLongNs);
}

// Random; in a simulation one that follows from where and when.
SipHashKey MakeKey(const DatagramPort& port, const VirtualTime* time) {
  SipHashKey key = {};
  if (time == nullptr) {
    while (getrandom(&key, sizeof(key), 0) != static_cast<ssize_t>(sizeof(key))) {
    }
    return key;
  }
  key.low = static_cast<uint64_t>(time->NowNs());
  for (const char c : port.local_address().ToString()) {
    const uint64_t words[] = {static_cast<uint8_t>(c)};
    key.high = SipHash24(key, words);
  }
  return key;
}

Capabilities Offered(const Capabilities& datagrams) {
  Capabilities offered;
  offered.remote_memory = true;
  offered.reliable = true;
  offered.ordered = true;
  offered.max_burst = datagrams.max_burst;
  offered.can_wait = datagrams.can_wait;
  offered.virtual_time = datagrams.virtual_time;
  offered.max_operation_bytes = EmulatedMemory::kOperationBytesMax;
  offered.registers_any_memory = true;
  offered.atomic_with_processor = true;
  return offered;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmulatedMemory>> EmulatedMemory::Create(
    std::unique_ptr<DatagramPort> port, const Clock& clock, VirtualTime* time,
    const EmulatedMemoryOptions& options) {
  const size_t packet_max =
      std::min(port->capabilities().max_payload_bytes, port->pool().payload_bytes());
  if (packet_max < emulated::kPacketMin) {
    return absl::InvalidArgumentError(
        absl::StrCat("remote memory over datagrams needs ones of ", emulated::kPacketMin,
                     " bytes, and the port has ", packet_max, " at most; raise buffers.bytes"));
  }
  if (!std::has_single_bit(options.window) || options.window > kWindowMax ||
      options.peers_max == 0 || options.operations_max == 0 ||
      options.connect_timeout <= absl::ZeroDuration() ||
      options.peer_timeout <= absl::ZeroDuration() || options.keepalive <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "EmulatedMemoryOptions: a limit or time is 0, or the window no power of two up to 256");
  }
  Capabilities capabilities = Offered(port->capabilities());
  std::unique_ptr<EmulatedMemory> memory(
      new EmulatedMemory(std::move(port), clock, time, options, capabilities));
  if (!memory->OpenWaitFd()) return absl::ErrnoToStatus(errno, "epoll and timerfd");
  return memory;
}

EmulatedMemory::EmulatedMemory(std::unique_ptr<DatagramPort> port, const Clock& clock,
                               VirtualTime* time, const EmulatedMemoryOptions& options,
                               const Capabilities& capabilities)
    : RemoteMemory(capabilities, &port->pool()),
      port_(std::move(port)),
      clock_(clock),
      time_(time),
      options_(options),
      secrets_(MakeKey(*port_, time)),
      table_(options.regions_max, options.keys_max, &secrets_),
      operations_(options.operations_max),
      outbox_(port_.get(), &stats_),
      shared_{.outbox = &outbox_,
              .memory = &table_,
              .operations = &operations_,
              .port_stats = &stats_,
              .stats = &session_stats_,
              .rtt = {.rto_initial_ns = 5'000'000, .rto_min_ns = 500'000},
              .give_up_ns = NsOf(options.peer_timeout),
              .keepalive_ns = NsOf(options.keepalive),
              .held_max = std::max<size_t>(port_->pool().count() / 4, 4)},
      timers_(clock.NowNs()),
      peers_(options.peers_max, &EmulatedMemory::MakeRecord, this),
      virtual_timer_([](void*, int64_t) {}, nullptr) {}

EmulatedMemory::~EmulatedMemory() {
  for (const auto& record : peers_.all()) {
    if (record->state != PeerRecord::State::kUp) continue;
    SendTo(record->wire,
           {.kind = Kind::kBye, .token = record->their_nonce, .index = record->their_index});
  }
  outbox_.Flush();
}

std::unique_ptr<emulated::PeerRecord> EmulatedMemory::MakeRecord(void* self) {
  auto* const memory = static_cast<EmulatedMemory*>(self);
  return std::make_unique<PeerRecord>(&memory->shared_, &EmulatedMemory::OnTimer, memory);
}

void EmulatedMemory::BindToThisThread() {
  Port::BindToThisThread();
  port_->BindToThisThread();
}

void EmulatedMemory::Schedule(PeerRecord* record) {
  int64_t deadline_ns = INT64_MAX;
  switch (record->state) {
    case PeerRecord::State::kIdle:
      return;
    case PeerRecord::State::kGreeting:
    case PeerRecord::State::kConfirming:
      deadline_ns = record->greeted_ns + record->greet_again_ns;
      break;
    case PeerRecord::State::kUp:
      deadline_ns = record->session.DeadlineNs();
  }
  // One that fires too early looks for itself when it is to fire next.
  if (record->timer.armed() && record->timer.deadline_ns() <= deadline_ns) return;
  if (deadline_ns != INT64_MAX) timers_.Schedule(record->timer, deadline_ns);
}

void EmulatedMemory::OnTimer(void* record, int64_t now_ns) {
  auto* const peer = static_cast<PeerRecord*>(record);
  static_cast<EmulatedMemory*>(peer->context)->OnTime(peer, now_ns);
}

void EmulatedMemory::OnTime(PeerRecord* record, int64_t now_ns) {
  switch (record->state) {
    case PeerRecord::State::kIdle:
      return;
    case PeerRecord::State::kGreeting:
    case PeerRecord::State::kConfirming:
      if (now_ns - record->begun_ns >= absl::ToInt64Nanoseconds(options_.connect_timeout)) {
        EndPeer(record, PortEvent::Kind::kPeerUnreachable, ETIMEDOUT);
      } else if (now_ns >= record->greeted_ns + record->greet_again_ns) {
        SendHello(record, now_ns);
      }
      break;
    case PeerRecord::State::kUp:
      if (!record->session.OnTime(now_ns)) {
        EndPeer(record, PortEvent::Kind::kPeerUnreachable, ETIMEDOUT);
      }
  }
  Schedule(record);
}

bool EmulatedMemory::Arm() {
  if (!dirty_.empty() || !outbox_.empty() || operations_.has_ended() || more_received_ ||
      events_.KeepsAwake() || !port_->Arm()) {
    return false;
  }
  if (timer_fd_) ArmTimer();
  return true;
}

void EmulatedMemory::ArmTimer() {
  const int64_t next_ns = timers_.NextDeadlineNs();
  if (next_ns == armed_ns_) return;
  armed_ns_ = next_ns;
  itimerspec when = {};
  if (next_ns != TimerWheel::kNever) {
    const int64_t at_ns = std::max<int64_t>(next_ns, 1);
    when.it_value = {.tv_sec = at_ns / 1'000'000'000, .tv_nsec = at_ns % 1'000'000'000};
  }
  timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

bool EmulatedMemory::OpenWaitFd() {
  if (port_->wait_fd() < 0) return true;
  wait_fd_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  timer_fd_ = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!wait_fd_ || !timer_fd_) return false;
  epoll_event event = {.events = EPOLLIN, .data = {}};
  return epoll_ctl(wait_fd_.get(), EPOLL_CTL_ADD, port_->wait_fd(), &event) == 0 &&
         epoll_ctl(wait_fd_.get(), EPOLL_CTL_ADD, timer_fd_.get(), &event) == 0;
}

MetricGroup EmulatedMemory::RegisterMetrics(MetricRegistry& registry,
                                            MetricGroup::Labels labels) const {
  const emulated::SessionStats& s = session_stats_;
  MetricGroup group(registry, "weft_memory_", std::move(labels));
  group.Add("executed_total", "Requests of peers that were executed.", &s.executed);
  group.Add("denied_total", "Requests of peers that their keys did not allow.", &s.denied);
  group.Add("repeated_total", "Requests of peers that had been executed before.", &s.repeated);
  group.Add("held_back_total", "Requests of peers that came early.", &s.held_back);
  group.Add("not_taken_total", "Requests of peers dropped for want of buffers.", &s.not_taken);
  group.Add("sent_again_total", "Requests to peers sent again.", &s.sent_again);
  group.Add("old_answers_total", "Answers to requests that had been answered.", &s.old_answers);
  return group;
}

// Simulated time stops when the earliest timer is due.
void EmulatedMemory::ScheduleVirtual() {
  const int64_t next_ns = timers_.NextDeadlineNs();
  if (next_ns == TimerWheel::kNever) {
    time_->timers().Cancel(virtual_timer_);
  } else if (!virtual_timer_.armed() || virtual_timer_.deadline_ns() != next_ns) {
    time_->timers().Schedule(virtual_timer_, next_ns);
  }
}

}  // namespace weft
