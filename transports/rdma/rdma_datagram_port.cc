// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing of the port, what happens to its device, and how its thread sleeps.
#include "weft/transports/rdma/rdma_datagram_port.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace weft::rdma {
namespace {

constexpr size_t kMinBuffers = 256;
// How often a loop that never sleeps asks its device for events, and hears questions of others
// while it has none itself.
constexpr int64_t kEventsNs = 4'000'000;
constexpr int64_t kRendezvousNs = 500'000;

uint32_t ReceiveSlots(const config::Rdma& settings, size_t buffers) {
  return static_cast<uint32_t>(std::max<size_t>(
      SlotShares::kMinSlots, std::min<size_t>(settings.receive_slots(), buffers / 2)));
}

size_t SendSlots(const config::Rdma& settings, size_t buffers) {
  return std::min<size_t>(settings.send_slots(), buffers / 4);
}

Rendezvous::Options RendezvousOptions(const config::Rdma& settings, RdmaPortParts& parts) {
  Rendezvous::Options options;
  options.incarnation = parts.incarnation;
  options.timeout_ns = int64_t{settings.connect_timeout_ms()} * 1'000'000;
  options.worker = parts.worker;
  options.asking = std::move(parts.asking);
  return options;
}

bool Watch(int epoll_fd, int fd) {
  epoll_event event = {.events = EPOLLIN, .data = {}};
  return fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

BufferPoolOptions RdmaDatagramPort::PoolOptions(const BufferPoolOptions& buffers,
                                                size_t path_mtu_bytes) {
  BufferPoolOptions options = buffers;
  options.headroom = kHeadroomBytes;
  options.count = std::max(buffers.count, kMinBuffers);
  // Of everything that comes: devices take no buffer that is shorter.
  options.bytes = std::max(buffers.bytes, options.headroom + path_mtu_bytes);
  return options;
}

absl::StatusOr<std::unique_ptr<RdmaDatagramPort>> RdmaDatagramPort::Open(
    const config::Rdma& settings, const BufferPoolOptions& buffers,
    const Capabilities& capabilities, RdmaPortParts parts) {
  std::unique_ptr<RdmaDatagramPort> port(
      new RdmaDatagramPort(settings, buffers, capabilities, std::move(parts)));
  absl::Status status = port->Start();
  if (status.ok() && port->time_ == nullptr) status = port->StartWaiting();
  if (!status.ok()) return status;
  return port;
}

RdmaDatagramPort::RdmaDatagramPort(const config::Rdma& settings, const BufferPoolOptions& buffers,
                                   const Capabilities& capabilities, RdmaPortParts parts)
    : DatagramPort(capabilities, PoolOptions(buffers, parts.nic->limits().path_mtu_bytes)),
      settings_(settings),
      clock_(*parts.clock),
      time_(parts.time),
      nic_(std::move(parts.nic)),
      rendezvous_(std::move(parts.rendezvous), RendezvousOptions(settings, parts)),
      in_flight_(SendSlots(settings, pool_.count())),
      peers_(std::min<uint32_t>(PeerTable::kMaxPeers, 2 * settings.max_peers())),
      shares_(ReceiveSlots(settings, pool_.count()), settings.max_peers()),
      calls_between_looks_(parts.time != nullptr ? 0 : kCallsBetweenLooks),
      max_waiting_(pool_.count() / 8) {
  owed_credits_.reserve(peers_.size());
  to_flush_.reserve(peers_.size());
}

absl::Status RdmaDatagramPort::Start() {
  subscription_ = nic_->Subscribe();
  auto registration = nic_->Register(pool_.region(), /*windows=*/false);
  if (!registration.ok()) return registration.status();
  registration_ = *std::move(registration);
  local_key_ = registration_->local_key();
  inline_bytes_ = nic_->limits().inline_bytes;
  auto completions = nic_->OpenCompletionQueue();
  if (!completions.ok()) return completions.status();
  completions_ = *std::move(completions);
  missing_ = ReceiveSlots(settings_, pool_.count());
  auto ud = completions_->OpenUdQueue(
      {.send_slots = static_cast<uint32_t>(in_flight_.size()), .receive_slots = missing_});
  if (!ud.ok()) return ud.status();
  ud_ = *std::move(ud);
  queue_ = ud_->address();
  now_ns_ = clock_.NowNs();
  spare_.reserve(missing_);
  Refill();
  if (receives_short() != 0) {
    return absl::InternalError(
        absl::StrCat("the device takes ", receives_short(), " receives too few"));
  }
  rendezvous_.Serve(Offer::Service::kDatagrams, this);
  return capabilities_.bulk_min_bytes > 0 ? StartBulk() : absl::OkStatus();
}

absl::Status RdmaDatagramPort::StartBulk() {
  if (!nic_->limits().memory_windows) {
    capabilities_.bulk_min_bytes = 0;
    return absl::OkStatus();
  }
  auto bulk = BulkPath::Open(nic_.get(), completions_.get(), &rendezvous_, this,
                             {.count = settings_.bulk_count(),
                              .max_bytes = settings_.bulk_bytes(),
                              .max_connections = 2 * size_t{settings_.max_peers()}});
  if (!bulk.ok()) return bulk.status();
  bulk_ = *std::move(bulk);
  return absl::OkStatus();
}

absl::Status RdmaDatagramPort::StartWaiting() {
  wait_fd_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  timer_fd_ = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const std::array<int, 2> rendezvous = rendezvous_.wait_fds();
  if (wait_fd_ && timer_fd_ && Watch(wait_fd_.get(), timer_fd_.get()) &&
      Watch(wait_fd_.get(), completions_->wait_fd()) && Watch(wait_fd_.get(), rendezvous[0]) &&
      Watch(wait_fd_.get(), rendezvous[1]) && Watch(wait_fd_.get(), subscription_->wait_fd())) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, "cannot make the descriptors that a port sleeps on");
}

RdmaDatagramPort::~RdmaDatagramPort() {
  for (PeerEntry& entry : peers_.used()) {
    // Whoever is asked may have answered already.
    if (entry.state >= PeerEntry::State::kAsking) rendezvous_.SayBye(entry.address);
  }
  rendezvous_.Serve(Offer::Service::kDatagrams, nullptr);
  ud_.reset();  // before what it works on
}

void RdmaDatagramPort::BindToThisThread() {
  DatagramPort::BindToThisThread();
  rendezvous_.BindToThisThread();
  if (bulk_ != nullptr) bulk_->BindToThisThread();
}

void RdmaDatagramPort::Look() {
  calls_to_look_ = calls_between_looks_;
  now_ns_ = clock_.NowNs();
  // Each is a system call.
  const bool asking = rendezvous_.NextNs() != INT64_MAX;
  if (was_armed_ || asking || now_ns_ >= rendezvous_ns_) {
    rendezvous_ns_ = now_ns_ + (time_ != nullptr ? 0 : kRendezvousNs);
    rendezvous_.Poll(now_ns_);
  }
  if (was_armed_ || now_ns_ >= events_ns_) TakeNicEvents();
  if (bulk_ != nullptr) bulk_->Poll(now_ns_);
  was_armed_ = false;
  if (!status_.ok()) return;
  if (posted_ != sent_) Reclaim();
  if (now_ns_ >= tick_ns_) Tick();
  if (now_ns_ >= shares_.NextNs()) shares_.Settle(now_ns_);
  if (std::exchange(slots_wanted_, false)) CallTheRoll(RollCall::kForSlots);
  if (!to_flush_.empty()) Flush();
  if (time_ != nullptr) ScheduleWake();
}

void RdmaDatagramPort::TakeNicEvents() {
  events_ns_ = now_ns_ + (time_ != nullptr ? 0 : kEventsNs);
  NicEvent events[8];
  for (size_t n; (n = subscription_->Take(absl::MakeSpan(events))) > 0;) {
    for (const NicEvent& event : absl::MakeSpan(events, n)) {
      switch (event.kind) {
        case NicEvent::Kind::kPortDown:
          events_.Add({PortEvent::Kind::kLinkDown, {}, ENETDOWN});
          break;
        case NicEvent::Kind::kPortUp:
          events_.Add({PortEvent::Kind::kLinkUp, {}});
          break;
        case NicEvent::Kind::kQueueFailed:
          CheckQueue();
          if (bulk_ != nullptr) bulk_->OnQueueFailed(event.qpn);
          break;
        case NicEvent::Kind::kDeviceRemoved:
          if (status_.ok()) {
            status_ = absl::UnavailableError("the RDMA device has failed, or been removed");
          }
          if (bulk_ != nullptr) bulk_->OnQueueFailed(0);
          break;
      }
    }
    if (n < std::size(events)) break;
  }
}

void RdmaDatagramPort::CheckQueue() {
  if (status_.ok()) status_ = ud_->status();
}

int64_t RdmaDatagramPort::NextNs() const {
  const int64_t bulk_ns = bulk_ == nullptr ? INT64_MAX : bulk_->NextNs();
  return std::min({rendezvous_.NextNs(), tick_ns_, shares_.NextNs(), bulk_ns});
}

// Virtual time stops there, and the port is polled then.
void RdmaDatagramPort::ScheduleWake() {
  const int64_t next_ns = NextNs();
  if (next_ns == INT64_MAX) {
    time_->timers().Cancel(wake_);
  } else if (!wake_.armed() || wake_.deadline_ns() != next_ns) {
    time_->timers().Schedule(wake_, next_ns);
  }
}

bool RdmaDatagramPort::Arm() {
  // The next call has to look for what woke it.
  was_armed_ = true;
  calls_to_look_ = 0;
  if (events_.KeepsAwake() || !kept_.empty() || !owed_credits_.empty()) return false;
  if (bulk_ != nullptr && bulk_->has_fetched()) return false;
  if (!completions_->Arm()) return false;
  if (!rendezvous_.Arm()) {
    completions_->Disarm();
    return false;
  }
  const int64_t next_ns = NextNs();
  if (next_ns != timer_set_ns_) {
    const int64_t at_ns = next_ns == INT64_MAX ? 0 : std::max<int64_t>(next_ns, 1);
    const itimerspec at = {
        .it_interval = {},
        .it_value = {.tv_sec = at_ns / 1'000'000'000, .tv_nsec = at_ns % 1'000'000'000}};
    timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &at, nullptr);
    timer_set_ns_ = next_ns;
  }
  return true;
}

void RdmaDatagramPort::Disarm() {
  rendezvous_.Disarm();
  completions_->Disarm();
}

}  // namespace weft::rdma
