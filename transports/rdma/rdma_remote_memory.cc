// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/rdma_remote_memory.h"

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/transports/rdma/rdma_memory_key.h"

namespace weft::rdma {
namespace {

using Role = RcConnections::Role;
using State = RcConnections::State;

// How often a port that is polled hears questions of others, hears answers while it has questions
// itself, and asks the device for news. Each is a system call, which a short read takes no longer
// than.
constexpr int64_t kQuestionsNs = 500'000;
constexpr int64_t kAnswersNs = 50'000;
constexpr int64_t kNewsNs = 10'000'000;

}  // namespace

struct RdmaRemoteMemory::Mapping {
  explicit Mapping(size_t bytes) : bytes(bytes) {
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED) memory = static_cast<uint8_t*>(at);
  }
  ~Mapping() {
    if (memory != nullptr) ::munmap(memory, bytes);
  }
  uint8_t* memory = nullptr;
  const size_t bytes;
};

absl::StatusOr<std::unique_ptr<RdmaRemoteMemory>> RdmaRemoteMemory::Open(
    std::shared_ptr<Nic> nic, std::unique_ptr<DatagramPort> out_of_band,
    const Capabilities& capabilities, const Options& options) {
  if (!nic->limits().memory_windows) {
    return absl::FailedPreconditionError(
        "the device has no memory windows of type 2, without which a key would work for any peer");
  }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> queue = nic->OpenCompletionQueue();
  if (!queue.ok()) return queue.status();
  auto memory = std::unique_ptr<RdmaRemoteMemory>(new RdmaRemoteMemory(
      std::move(nic), *std::move(queue), std::move(out_of_band), capabilities, options));
  if (absl::Status status = memory->Start(); !status.ok()) return status;
  return memory;
}

RdmaRemoteMemory::RdmaRemoteMemory(std::shared_ptr<Nic> nic, std::unique_ptr<CompletionQueue> queue,
                                   std::unique_ptr<DatagramPort> out_of_band,
                                   const Capabilities& capabilities, const Options& options)
    : RemoteMemory(capabilities, options.buffers),
      nic_(std::move(nic)),
      options_(options),
      chunk_bytes_(std::min<size_t>(nic_->limits().max_message_bytes, kMaxOperationBytes)),
      queue_(std::move(queue)),
      rendezvous_(std::move(out_of_band), {.incarnation = options.incarnation,
                                           .timeout_ns = options.connect_timeout_ns,
                                           .asking = nullptr}),
      results_(std::make_unique<uint64_t[]>(kMaxOperations)),
      connections_(queue_.get(), &rendezvous_,
                   {.service = Offer::Service::kMemory,
                    .max_connections = 2 * options.max_peers,
                    .idle_ns = options.idle_ns,
                    .keepalive_ns = options.keepalive_ns},
                   this),
      operations_(kMaxOperations),
      ended_(kMaxOperations),
      wake_([](void*, int64_t) {}, nullptr) {
  for (uint32_t i = kMaxOperations; i-- > 0;) free_operations_.push_back(i);
}

absl::Status RdmaRemoteMemory::Start() {
  const absl::Span<uint8_t> results = {reinterpret_cast<uint8_t*>(results_.get()),
                                       kMaxOperations * sizeof(uint64_t)};
  auto registered = nic_->Register(results, /*windows=*/false);
  if (!registered.ok()) return registered.status();
  results_registration_ = *std::move(registered);
  news_ = nic_->Subscribe();
  if (!capabilities_.can_wait) return absl::OkStatus();
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!epoll_ || !timer_) return absl::ErrnoToStatus(errno, "epoll_create1 or timerfd_create");
  const std::array<int, 2> meeting = rendezvous_.wait_fds();
  for (const int fd : {queue_->wait_fd(), meeting[0], meeting[1], news_->wait_fd(), timer_.get()}) {
    epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (fd >= 0 && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return absl::ErrnoToStatus(errno, "epoll_ctl");
    }
  }
  return absl::OkStatus();
}

RdmaRemoteMemory::~RdmaRemoteMemory() {
  for (const Address& address : connections_.Peers()) rendezvous_.SayBye(address);
  for (GrantState& grant : grants_) grant.window.reset();
}

absl::StatusOr<MemoryRegion> RdmaRemoteMemory::Allocate(size_t bytes) {
  AssertOwner();
  if (bytes == 0) return absl::InvalidArgumentError("a region has at least one byte");
  auto mapping = std::make_unique<Mapping>(bytes);
  if (mapping->memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot map ", bytes, " bytes: ", std::strerror(errno)));
  }
  const absl::Span<uint8_t> memory = {mapping->memory, bytes};
  return AddRegion(memory, std::move(mapping));
}

absl::StatusOr<MemoryRegion> RdmaRemoteMemory::Register(absl::Span<uint8_t> memory) {
  AssertOwner();
  if (memory.empty()) return absl::InvalidArgumentError("a region has at least one byte");
  return AddRegion(memory, nullptr);
}

absl::StatusOr<MemoryRegion> RdmaRemoteMemory::AddRegion(absl::Span<uint8_t> memory,
                                                         std::unique_ptr<Mapping> mapping) {
  if (regions_.size() >= kMaxRegions) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", kMaxRegions, " regions of the port are in use; deregister some"));
  }
  absl::StatusOr<std::unique_ptr<Registration>> registration =
      nic_->Register(memory, /*windows=*/true);
  if (!registration.ok()) return registration.status();
  regions_.push_back({.region = {++last_region_, memory},
                      .mapping = std::move(mapping),
                      .registration = *std::move(registration)});
  return regions_.back().region;
}

const RdmaRemoteMemory::Region* RdmaRemoteMemory::FindRegion(const MemoryRegion& region) const {
  for (const Region& known : regions_) {
    if (known.region.id == region.id) return &known;
  }
  return nullptr;
}

void RdmaRemoteMemory::Deregister(const MemoryRegion& region) {
  AssertOwner();
  const Region* known = FindRegion(region);
  if (known == nullptr) return;
  for (GrantState& grant : grants_) {
    if (grant.window != nullptr && grant.region == region.id) EndGrant(grant);
  }
  const auto at = regions_.begin() + (known - regions_.data());
  at->registration.reset();  // before the memory goes
  regions_.erase(at);
  region_used_ = 0;
}

absl::StatusOr<Peer> RdmaRemoteMemory::Resolve(const Address& address) {
  AssertOwner();
  if (const auto found = by_address_.find(address); found != by_address_.end()) {
    PeerState& known = peers_[found->second];
    known.used = ++uses_;
    return PeerOf(known);
  }
  if (address.kind() != local_address().kind() || address.is_any() ||
      (address.is_ip() && address.port() == 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", address.ToString(), "\" is no address of a peer of ", local_address().ToString()));
  }
  uint32_t index = static_cast<uint32_t>(peers_.size());
  if (by_address_.size() >= options_.max_peers) {
    if (!ForgetIdlePeer()) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "all ", options_.max_peers, " peers of the port are in use; see rdma.max_peers"));
    }
    while (peers_[--index].used != 0) {
    }
  } else {
    peers_.emplace_back();
  }
  PeerState& peer = peers_[index];
  peer.index = index;
  peer.address = address;
  peer.used = ++uses_;
  by_address_[address] = index;
  return PeerOf(peer);
}

// Of those that nothing is under way to, the one that was not used for longest; before others one
// that has no keys.
bool RdmaRemoteMemory::ForgetIdlePeer() {
  const auto order = [](const PeerState& peer) { return std::pair(peer.keys > 0, peer.used); };
  PeerState* idlest = nullptr;
  for (PeerState& peer : peers_) {
    if (peer.used == 0 || peer.first != kNone || peer.dirty) continue;
    if (idlest == nullptr || order(peer) < order(*idlest)) idlest = &peer;
  }
  if (idlest == nullptr) return false;
  by_address_.erase(idlest->address);
  const uint32_t generation = idlest->generation + 1;
  *idlest = PeerState();
  idlest->generation = generation;
  return true;
}

Peer RdmaRemoteMemory::PeerOf(const PeerState& state) const {
  return {{state.index + uint64_t{1}, state.generation, 0}};
}

RdmaRemoteMemory::PeerState* RdmaRemoteMemory::FindPeer(const Peer& peer) {
  const uint64_t index = peer.words[0] - 1;
  if (index >= peers_.size() || peer.words[2] != 0) return nullptr;
  PeerState& state = peers_[index];
  return state.used != 0 && state.generation == peer.words[1] ? &state : nullptr;
}

absl::StatusOr<Address> RdmaRemoteMemory::AddressOf(const Peer& peer) const {
  const PeerState* state = const_cast<RdmaRemoteMemory*>(this)->FindPeer(peer);
  if (state == nullptr) return absl::NotFoundError("no such peer");
  return state->address;
}

absl::Status RdmaRemoteMemory::CheckRange(const Region& region, size_t offset, size_t bytes) {
  const size_t size = region.region.bytes.size();
  if (bytes > 0 && bytes <= UINT32_MAX && offset <= size && bytes <= size - offset) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(bytes, " bytes at ", offset,
                                                 " are not within a region of ", size,
                                                 " (a key is for 1 byte to 4 GiB - 1)"));
}

// Sees to it that free_grants_ has one.
absl::Status RdmaRemoteMemory::ReserveGrant() {
  if (!free_grants_.empty()) return absl::OkStatus();
  if (grants_.size() >= kMaxKeys) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", kMaxKeys, " keys of the port are in use; revoke some"));
  }
  free_grants_.push_back(static_cast<uint32_t>(grants_.size()));
  grants_.emplace_back();
  return absl::OkStatus();
}

absl::StatusOr<RemoteKey> RdmaRemoteMemory::Grant(const Peer& peer, const MemoryRegion& region,
                                                  size_t offset, size_t bytes,
                                                  MemoryAccess access) {
  AssertOwner();
  PeerState* state = FindPeer(peer);
  if (state == nullptr) return absl::NotFoundError("no such peer");
  const Region* known = FindRegion(region);
  if (known == nullptr) return absl::InvalidArgumentError("no such region");
  if (absl::Status status = CheckRange(*known, offset, bytes); !status.ok()) return status;
  const absl::StatusOr<ConnectionId> id =
      connections_.Get({state->address}, Role::kOwner, options_.clock->NowNs());
  if (!id.ok()) return id.status();
  if (connections_.state(*id) != State::kUp) {
    return absl::UnavailableError(
        absl::StrCat("there is no connection to ", state->address.ToString(), " yet"));
  }
  if (absl::Status status = ReserveGrant(); !status.ok()) return status;
  // Soft-RoCE checks the registration's bounds and not the window's, so there a key has its own.
  std::unique_ptr<Registration> registration;
  if (nic_->limits().is_software) {
    auto own = nic_->Register(known->region.bytes.subspan(offset, bytes), /*windows=*/true);
    if (!own.ok()) return own.status();
    registration = *std::move(own);
  }
  absl::StatusOr<std::unique_ptr<Window>> window = nic_->OpenWindow();
  if (!window.ok()) return window.status();
  const Registration& bound = registration != nullptr ? *registration : *known->registration;
  RcRequest bind;
  bind.kind = RcRequest::Kind::kBind;
  bind.local = {reinterpret_cast<uint64_t>(known->region.bytes.data()) + offset,
                static_cast<uint32_t>(bytes), bound.local_key()};
  bind.window = window->get();
  bind.remote_read = Includes(access, MemoryAccess::kRead);
  bind.remote_write = Includes(access, MemoryAccess::kWrite);
  bind.remote_atomic = Includes(access, MemoryAccess::kAtomic);
  if (!connections_.Execute(*id, bind, options_.clock->NowNs())) {
    return absl::UnavailableError(
        absl::StrCat("no key for ", state->address.ToString(), " can be made now; again later"));
  }
  connections_.Hold(*id);
  state->used = ++uses_;
  ++state->keys;
  const uint32_t index = free_grants_.back();
  free_grants_.pop_back();
  GrantState& grant = grants_[index];
  grant.peer = peer;
  grant.connection = *id;
  grant.registration = std::move(registration);
  grant.window = *std::move(window);
  grant.region = region.id;
  grant.key = MemoryKey{.address = bind.local.address,
                        .incarnation = rendezvous_.incarnation(),
                        .bytes = bytes,
                        .remote_key = grant.window->remote_key(),
                        .qpn = connections_.owner_qpn(*id),
                        .slot = index,
                        .generation = static_cast<uint16_t>(grant.generation),
                        .access = static_cast<uint8_t>(access)}
                  .ToKey();
  return grant.key;
}

void RdmaRemoteMemory::Revoke(const RemoteKey& key) {
  AssertOwner();
  const MemoryKey fields = MemoryKey::Of(key);
  if (fields.slot >= grants_.size()) return;
  GrantState& grant = grants_[fields.slot];
  if (grant.window != nullptr && grant.key == key) EndGrant(grant);
}

void RdmaRemoteMemory::EndGrant(GrantState& grant) {
  grant.window.reset();
  grant.registration.reset();
  ++grant.generation;
  if (PeerState* peer = FindPeer(grant.peer)) --peer->keys;
  connections_.Release(grant.connection);
  free_grants_.push_back(static_cast<uint32_t>(&grant - grants_.data()));
}

void RdmaRemoteMemory::TakeNicEvents() {
  std::array<NicEvent, 16> events;
  const size_t n = news_->Take(absl::MakeSpan(events));
  for (const NicEvent& event : absl::MakeSpan(events).subspan(0, n)) {
    switch (event.kind) {
      case NicEvent::Kind::kPortDown:
        events_.Add({PortEvent::Kind::kLinkDown, {}, ENETDOWN});
        break;
      case NicEvent::Kind::kPortUp:
        events_.Add({PortEvent::Kind::kLinkUp, {}});
        break;
      case NicEvent::Kind::kDeviceRemoved:
        status_ = absl::UnavailableError("the RDMA device has failed, or been removed");
        connections_.OnQueueFailed(0);
        break;
      case NicEvent::Kind::kQueueFailed:
        connections_.OnQueueFailed(event.qpn);
        break;
    }
  }
}

int64_t RdmaRemoteMemory::NextNs() const {
  return std::min(rendezvous_.NextNs(), connections_.NextNs());
}

bool RdmaRemoteMemory::Arm() {
  AssertOwner();
  if (ended_count_ > 0 || !dirty_.empty() || events_.KeepsAwake()) return false;
  if (!queue_->Arm()) return false;
  if (!rendezvous_.Arm()) {
    queue_->Disarm();
    return false;
  }
  if (timer_ && NextNs() != timer_ns_) {
    timer_ns_ = NextNs();
    itimerspec when = {};
    if (timer_ns_ != INT64_MAX) {
      const int64_t at_ns = std::max<int64_t>(timer_ns_, 1);
      when.it_value = {.tv_sec = at_ns / 1'000'000'000, .tv_nsec = at_ns % 1'000'000'000};
    }
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  }
  return true;
}

void RdmaRemoteMemory::Disarm() {
  queue_->Disarm();
  rendezvous_.Disarm();
  // Whatever it was that woke the thread is looked at.
  met_ns_ = news_ns_ = INT64_MIN / 2;
}

size_t RdmaRemoteMemory::Poll(absl::Span<MemoryCompletion> completions) {
  AssertOwner();
  now_ns_ = options_.clock->NowNs();
  const bool is_virtual = options_.virtual_time != nullptr;
  const int64_t meet_ns = rendezvous_.NextNs() == INT64_MAX ? kQuestionsNs : kAnswersNs;
  if (is_virtual || now_ns_ - met_ns_ >= meet_ns) {
    met_ns_ = now_ns_;
    rendezvous_.Poll(now_ns_);
  }
  if (is_virtual || now_ns_ - news_ns_ >= kNewsNs) {
    news_ns_ = now_ns_;
    TakeNicEvents();
  }
  connections_.Poll(now_ns_);
  PumpDirty();
  if (is_virtual && NextNs() != INT64_MAX) {
    TimerWheel& timers = options_.virtual_time->timers();
    if (!wake_.armed() || wake_.deadline_ns() > NextNs()) timers.Schedule(wake_, NextNs());
  }
  return TakeEnded(completions);
}

}  // namespace weft::rdma
