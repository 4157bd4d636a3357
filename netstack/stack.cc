// SPDX-License-Identifier: Apache-2.0
//
// Set-up, polling and waiting. What comes in is in *_input.cc, what goes out in *_output.cc.
#include "weft/netstack/stack.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/netstack/udp_port.h"
#include "weft/netstack/wire/udp.h"

namespace weft::netstack {
namespace {

constexpr uint32_t kPollsPerException = 16;

uint64_t SeedOf(const MacAddress& mac, const Stack::World& world, int64_t now_ns) {
  uint64_t seed =
      world.secret ^ static_cast<uint64_t>(now_ns) ^ static_cast<uint64_t>(world.queue) << 56;
  for (const uint8_t byte : mac) seed = seed * 257 + byte;
  return seed;
}

// Packets that wait are buffers of the device, which must not run out of them.
NeighborOptions Within(NeighborOptions options, size_t buffers) {
  options.waiting_packets_total_max =
      std::max<size_t>(std::min(options.waiting_packets_total_max, buffers / 4), 1);
  options.waiting_packets_max =
      std::min(options.waiting_packets_max, options.waiting_packets_total_max);
  return options;
}

// As it is to be; whether it can be is checked later.
size_t MtuOf(const StackOptions& options, const FramePort& device) {
  const size_t header = EthernetHeaderBytes(options.vlan);
  if (options.mtu != 0) return options.mtu;
  // The kernel's loopback device carries more than a packet can have.
  return std::min(device.capabilities().max_frame_bytes - header, kIpPacketBytesMax);
}

bool AddToEpoll(int epoll, int fd) {
  if (fd < 0) return true;
  epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Stack>> Stack::Open(const StackOptions& options, World world,
                                                   std::unique_ptr<FramePort> device,
                                                   std::unique_ptr<FramePort> exception) {
  const auto owner = world.owner;
  std::shared_ptr<Stack> stack(
      new Stack(options, std::move(world), std::move(device), std::move(exception)),
      [owner](Stack* gone) {
        delete gone;
        owner->store(nullptr, std::memory_order_release);
      });
  if (absl::Status status = stack->SetUp(); !status.ok()) return status;
  return stack;
}

Stack::Stack(const StackOptions& options, World world, std::unique_ptr<FramePort> device,
             std::unique_ptr<FramePort> exception)
    : options_(options),
      world_(std::move(world)),
      device_(std::move(device)),
      checksum_offload_(device_->capabilities().checksum_offload),
      segmentation_offload_(device_->capabilities().segmentation_offload),
      own_timers_(world_.clock->NowNs()),
      timers_(world_.timers != nullptr ? *world_.timers : own_timers_),
      now_ns_(world_.clock->NowNs()),
      prng_(SeedOf(device_->mac(), world_, now_ns_)),
      neighbors_(Within(options.neighbor_cache, device_->pool().count()), &timers_, this),
      path_mtu_({.link_mtu = MtuOf(options, *device_),
                 .forget_ns = options.path_mtu_ns,
                 .paths_max = options.paths_max}),
      destinations_(&interface_, &routes_, &neighbors_, &path_mtu_),
      reassembler_(options.reassembly),
      reassembly_timer_(&Stack::OnReassemblyTimer, this),
      membership_({}, Prng(prng_.Next()), &timers_, this),
      udp_owners_(&world_.siblings->udp()),
      tcp_owners_(&world_.siblings->tcp()),
      large_(kLargePool),
      error_limit_(options.icmp_errors_per_s, options.icmp_errors_burst, now_ns_),
      echo_limit_(options.echo_replies_per_s, std::max(options.echo_replies_per_s / 10, 100u),
                  now_ns_),
      exception_(std::move(exception)),
      fragment_secret_(prng_.Next()),
      queued_max_(std::max<size_t>(device_->pool().count() / 2, 1)) {
  for (uint32_t& id : fragment_ids_) id = static_cast<uint32_t>(prng_.Next());
  interface_.name = device_->device_name();
  interface_.mac = device_->mac();
  interface_.vlan = options.vlan;
  interface_.ttl = options.ttl;
}

Stack::~Stack() { world_.siblings->Leave(world_.queue); }

absl::Status Stack::SetUp() {
  const size_t header = EthernetHeaderBytes(options_.vlan);
  const size_t device_mtu = device_->capabilities().max_frame_bytes - header;
  interface_.mtu = MtuOf(options_, *device_);
  if (interface_.mtu > device_mtu) {
    return absl::InvalidArgumentError(absl::StrCat("netstack.mtu: ", options_.mtu, " is more than ",
                                                   interface_.name, " carries; give at most ",
                                                   device_mtu));
  }
  if (interface_.mtu < kIpv4MtuMin) {
    return absl::InvalidArgumentError(absl::StrCat("netstack.mtu: ", interface_.mtu, " of ",
                                                   interface_.name, " is less than IP needs, ",
                                                   kIpv4MtuMin));
  }
  world_.siblings->Enter(world_.queue, device_->pool().count());
  for (const auto step : {&Stack::SetUpAddresses, &Stack::SetUpRoutes, &Stack::SetUpWaiting}) {
    if (absl::Status status = (this->*step)(); !status.ok()) return status;
  }
  for (const IpAddress& group : options_.groups) {
    if (absl::Status status = Join(group); !status.ok()) return status;
  }
  if (absl::Status status = UpdateFilter(); !status.ok()) return status;
  is_set_up_ = true;
  Announce();
  return absl::OkStatus();
}

absl::Status Stack::SetUpAddresses() {
  const bool v6_fits = interface_.mtu >= kIpv6MtuMin;
  for (const IpPrefix& own : options_.addresses) {
    if (own.address.is_v6() && !v6_fits) {
      return absl::InvalidArgumentError(absl::StrCat("netstack.addresses: ", own.ToString(), " on ",
                                                     interface_.name, ", whose MTU is ",
                                                     interface_.mtu, "; IPv6 needs ", kIpv6MtuMin));
    }
    interface_.addresses.push_back(own);
  }
  if (options_.link_local && v6_fits) {
    interface_.addresses.push_back({LinkLocalAddress(interface_.mac), 64});
  }
  if (interface_.HasFamily(/*v4=*/true)) {
    static constexpr uint8_t kAllSystems[] = {224, 0, 0, 1};
    if (absl::Status status = Join(IpAddress::V4(kAllSystems)); !status.ok()) return status;
  }
  for (const IpPrefix& own : interface_.addresses) {
    if (own.address.is_v4()) continue;
    static constexpr uint8_t kAllNodes[16] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    for (const IpAddress& group : {IpAddress::V6(kAllNodes), SolicitedNodeGroup(own.address)}) {
      if (absl::Status status = Join(group); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Stack::SetUpRoutes() {
  for (const IpPrefix& own : interface_.addresses) {
    if (absl::Status status = routes_.Add({own.Network(), own.length}); !status.ok()) return status;
  }
  for (size_t i = 0; i < options_.routes.size(); ++i) {
    const auto& route = options_.routes[i];
    if (absl::Status status = routes_.Add(route.destination, route.gateway); !status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("netstack.routes[", i, "]: ", status.message(), "; ",
                                       interface_.ToString()));
    }
  }
  for (size_t i = 0; i < options_.neighbors.size(); ++i) {
    const auto& [ip, mac] = options_.neighbors[i];
    if (!routes_.IsConnected(ip)) {
      return absl::InvalidArgumentError(absl::StrCat("netstack.neighbors[", i, "]: ", ip.ToString(),
                                                     " is in no network of the interface ",
                                                     interface_.ToString()));
    }
    if (absl::Status status = neighbors_.AddStatic(ip, mac); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The device's descriptor alone does not tell of timers, of siblings and of the kernel's frames.
absl::Status Stack::SetUpWaiting() {
  if (!device_->capabilities().can_wait) return absl::OkStatus();
  wait_fd_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  timer_fd_ = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const int kernel = exception_ != nullptr ? exception_->wait_fd() : -1;
  if (wait_fd_ && timer_fd_ && AddToEpoll(wait_fd_.get(), timer_fd_.get()) &&
      AddToEpoll(wait_fd_.get(), device_->wait_fd()) && AddToEpoll(wait_fd_.get(), kernel) &&
      AddToEpoll(wait_fd_.get(), world_.siblings->wait_fd(world_.queue))) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, "cannot make the descriptors that a network stack sleeps on");
}

absl::Status Stack::UpdateFilter() {
  std::vector<Address> addresses;
  for (const IpPrefix& own : interface_.addresses) addresses.push_back(own.address.ToAddress(0));
  std::vector<MacAddress> groups;
  for (const auto& entry : membership_.Snapshot()) {
    const MacAddress mac = MulticastMac(entry.group);
    if (std::find(groups.begin(), groups.end(), mac) == groups.end()) groups.push_back(mac);
  }
  return device_->SetFilter(addresses, groups);
}

// Neighbours that knew who had the addresses before learn of it (RFC 5227, 2.3; RFC 4861, 7.2.6).
void Stack::Announce() {
  for (const IpPrefix& own : interface_.addresses) {
    if (own.address.is_v4()) {
      Solicit(own.address, nullptr);
    } else {
      AnswerSolicitation({.target = own.address}, IpAddress());
    }
  }
}

size_t Stack::PayloadMax(bool v4) const {
  const size_t headers = (v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes) + kUdpHeaderBytes;
  return std::max(options_.datagram_bytes_max, interface_.mtu - headers);
}

absl::Status Stack::Join(const IpAddress& group) {
  if (absl::Status status = membership_.Join(group, now_ns_); !status.ok()) return status;
  return is_set_up_ ? UpdateFilter() : absl::OkStatus();
}

void Stack::Leave(const IpAddress& group) {
  // What still arrives for a group that was left is dropped.
  if (membership_.Leave(group, now_ns_).ok()) (void)UpdateFilter();
}

size_t Stack::Poll(UdpPort* port, absl::Span<Datagram> out) {
  direct_port_ = port;
  direct_ = out;
  direct_count_ = 0;
  // Frames have one buffer each, so that more of them than `out` has room for would only wait.
  const size_t wanted =
      port == nullptr ? kBurst : std::min(kBurst, std::max<size_t>(out.size(), 1));
  const size_t n = device_->Receive(absl::MakeSpan(burst_, wanted));
  // Reading the clock costs as much as a packet does. Replies do not wait for it: the next poll
  // that finds nothing reads it. Virtual time moves in leaps.
  const bool due = n == 0 ? ++idle_polls_ >= kIdlePollsPerTick : ++busy_polls_ >= kBusyPollsPerTick;
  if (due || world_.timers != nullptr) Tick();
  if (n > 0) idle_polls_ = kIdlePollsPerTick;
  for (size_t i = 0; i < n; ++i) {
    if (i + 1 < n) __builtin_prefetch(burst_[i + 1].data());
    InputFrame(std::move(burst_[i]));
  }
  if (!loopback_.empty()) [[unlikely]]
    ReceiveLoopback();
  if (world_.siblings->count() > 1) ReceiveFromSiblings();
  // A system call each time, which the stack's own traffic should not pay for.
  if (exception_ != nullptr && ++polls_since_exception_ >= kPollsPerException) {
    polls_since_exception_ = 0;
    ReceiveFromException();
  }
  if (received_segments_.n > 0) DeliverSegments();
  if (!segment_errors_.empty()) [[unlikely]]
    DeliverErrors();
  if (!cut_segments_.empty()) [[unlikely]]
    cut_segments_.Send(*device_);
  direct_port_ = nullptr;
  return direct_count_;
}

void Stack::Tick() {
  idle_polls_ = 0;
  busy_polls_ = 0;
  now_ns_ = world_.clock->NowNs();
  if (world_.timers == nullptr) own_timers_.Advance(now_ns_);
  if (device_->has_events()) [[unlikely]]
    ForwardLinkEvents();
  if (!device_->status().ok()) [[unlikely]] {
    for (UdpPort* port : udp_.ports()) port->Die(device_->status());
  }
}

void Stack::ScheduleReassemblyTimer() {
  const int64_t next_ns = reassembler_.NextDeadlineNs();
  if (!reassembly_timer_.armed() && next_ns != INT64_MAX) {
    timers_.Schedule(reassembly_timer_, next_ns);
  }
}

void Stack::OnReassemblyTimer(void* self, int64_t now_ns) {
  auto* stack = static_cast<Stack*>(self);
  stack->now_ns_ = now_ns;
  stack->reassembler_.Expire(now_ns, [stack](absl::Span<const uint8_t> start) {
    stack->SendError(start, stack->CastOf(DestinationOf(start)), kIcmpReassemblyTimeout,
                     kIcmpv6ReassemblyTimeout);
  });
  stack->ScheduleReassemblyTimer();
}

void Stack::ReceiveLoopback() {
  // Those that are sent meanwhile have to wait, or two ports of one stack could go on for ever.
  for (size_t n = std::min(loopback_.size(), kBurst); n > 0; --n) {
    Buffer packet = loopback_.pop_front();
    const bool v4 = packet.data()[0] >> 4 == 4;
    v4 ? InputIpv4(std::move(packet), {}) : InputIpv6(std::move(packet), {});
  }
}

void Stack::ReceiveFromSiblings() {
  for (size_t n = 0; n < kBurst; ++n) {
    Buffer packet = world_.siblings->Pop(world_.queue);
    if (!packet) return;
    // The first byte tells an ARP message, whose hardware type is 1, from both versions of IP.
    const uint8_t version = packet.data()[0] >> 4;
    if (version == 4) {
      InputIpv4(std::move(packet), {.sibling = true});
    } else if (version == 6) {
      InputIpv6(std::move(packet), {.sibling = true});
    } else {
      InputArp(packet.bytes(), /*from_sibling=*/true);
    }
  }
}

// What the kernel sends goes out as it is.
void Stack::ReceiveFromException() {
  Buffer frames[kBurst];
  const size_t n = exception_->Receive(absl::MakeSpan(frames));
  if (n == 0) return;
  const size_t sent = device_->Send(absl::MakeSpan(frames, n));
  stats_.exception_sent += sent;
  stats_.exception_dropped += n - sent;
}

void Stack::ForwardLinkEvents() {
  PortEvent events[8];
  const size_t n = device_->TakeEvents(absl::MakeSpan(events));
  for (const PortEvent& event : absl::MakeSpan(events, n)) {
    if (event.kind == PortEvent::Kind::kLinkUp) {
      neighbors_.OnLinkUp(now_ns_);
      membership_.OnLinkUp(now_ns_);
      Announce();
    }
    for (UdpPort* port : udp_.ports()) port->AddEvent(event);
  }
}

absl::StatusOr<UniqueFd> Stack::DuplicateWaitFd() const {
  if (!wait_fd_) return UniqueFd();
  UniqueFd copy(fcntl(wait_fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy)
    return absl::ErrnoToStatus(errno, "cannot duplicate the descriptor of a network stack");
  return copy;
}

// Each port of the stack is armed by its loop. All of them sleep together, so once is enough.
bool Stack::Arm() {
  if (!loopback_.empty() || !segment_errors_.empty() || !cut_segments_.empty() ||
      !device_->status().ok()) {
    return false;
  }
  if (armed_ > 0) {
    SetWakeUp();  // what this port did last may have set a timer
    ++armed_;
    return true;
  }
  if (!device_->Arm()) return false;
  if (!world_.siblings->Arm(world_.queue)) {
    device_->Disarm();
    return false;
  }
  if (exception_ != nullptr && !exception_->Arm()) {
    world_.siblings->Disarm(world_.queue);
    device_->Disarm();
    return false;
  }
  SetWakeUp();
  armed_ = 1;
  return true;
}

void Stack::SetWakeUp() {
  const int64_t next_ns = world_.timers == nullptr ? own_timers_.NextDeadlineNs() : INT64_MAX;
  if (next_ns == timer_fd_ns_) return;
  const int64_t at_ns = next_ns == INT64_MAX ? 0 : std::max<int64_t>(next_ns, 1);
  const itimerspec at = {
      .it_interval = {},
      .it_value = {.tv_sec = at_ns / 1'000'000'000, .tv_nsec = at_ns % 1'000'000'000}};
  timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &at, nullptr);
  timer_fd_ns_ = next_ns;
}

void Stack::Disarm() {
  if (armed_ == 0 || --armed_ > 0) return;
  device_->Disarm();
  world_.siblings->Disarm(world_.queue);
  if (exception_ != nullptr) exception_->Disarm();
  uint64_t expirations;
  if (read(timer_fd_.get(), &expirations, sizeof(expirations)) > 0) timer_fd_ns_ = INT64_MAX;
  // Time has passed, and it may be the kernel that woke us.
  idle_polls_ = kIdlePollsPerTick;
  busy_polls_ = kBusyPollsPerTick;
  polls_since_exception_ = kPollsPerException;
}

void Stack::BindToThisThread() {
  world_.owner->store(internal::ThreadToken(), std::memory_order_relaxed);
  device_->BindToThisThread();
  reassembler_.BindToThisThread();
  large_.BindToThisThread();
  if (exception_ != nullptr) exception_->BindToThisThread();
}

}  // namespace weft::netstack
