// SPDX-License-Identifier: Apache-2.0
//
// Regions, keys and peers; operations are in shm_memory_datapath.cc.
#include "weft/transports/shm/shm_remote_memory.h"

#include <poll.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/clock.h"
#include "weft/transports/shm/barrier.h"
#include "weft/transports/shm/shm_transport.h"

namespace weft::shm {
namespace {

// The end of a process closes its sockets.
bool HasGone(int socket) {
  pollfd fd = {socket, POLLRDHUP, 0};
  return ::poll(&fd, 1, 0) == 1 && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ShmRemoteMemory>> ShmRemoteMemory::Open(ShmTransport* transport,
                                                                       const Settings& settings,
                                                                       const PortOptions& options) {
  if (options.queue != 0 || options.queues != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("queue ", options.queue, " of ", options.queues,
                     ": an address of remote memory belongs to one port"));
  }
  std::unique_ptr<ShmRemoteMemory> port(new ShmRemoteMemory(settings));
  if (absl::Status status = port->Start(transport, options); !status.ok()) return status;
  return port;
}

ShmRemoteMemory::ShmRemoteMemory(const Settings& settings)
    : RemoteMemory(settings.capabilities, settings.buffers),
      directory_(settings.directory),
      max_peers_(settings.max_peers),
      regions_(pool_) {
  // So that keys of one owner mean nothing to another.
  [[maybe_unused]] const ssize_t got = getrandom(&last_serial_, sizeof(last_serial_), 0);
}

absl::Status ShmRemoteMemory::Start(ShmTransport* transport, const PortOptions& options) {
  absl::StatusOr<std::unique_ptr<Control>> control =
      Control::Create(this, Contract::kMemory, kMemoryRingBytes);
  if (!control.ok()) return control.status();
  control_ = *std::move(control);
  const bool named = options.local.kind() != Address::Kind::kNone;
  name_ = named ? options.local.name() : MakeClientName();
  if (!named) RemoveStaleClientSockets(directory_);
  absl::StatusOr<std::shared_ptr<Listener>> listener =
      transport->Listen(name_, Contract::kMemory, SOMAXCONN, /*queue=*/0, /*queues=*/1);
  if (!listener.ok()) return listener.status();
  return control_->Listen(*std::move(listener), /*queue=*/0);
}

ShmRemoteMemory::~ShmRemoteMemory() {
  for (const auto& link : links_) {
    if (!link->open) continue;
    link->grants.RemoveAll();
    SendNotice(link->session.socket.get(), {.kind = Notice::Kind::kGoodbye});
  }
}

absl::StatusOr<MemoryRegion> ShmRemoteMemory::Allocate(size_t bytes) {
  AssertOwner();
  if (bytes == 0) return absl::InvalidArgumentError("a region has at least one byte");
  if (regions_.full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its ", MemoryRegions::kMaxRegions,
                     " regions: deregister some, or make them larger and fewer"));
  }
  absl::StatusOr<OwnPages> pages = OwnPages::Create(bytes);
  if (!pages.ok()) return pages.status();
  const MemoryRegion region = regions_.Add({pages->base(), bytes});
  pages_.emplace(region.id, *std::move(pages));
  return region;
}

absl::StatusOr<MemoryRegion> ShmRemoteMemory::Register(absl::Span<uint8_t>) {
  return absl::UnimplementedError(
      "only memory made to be shared can be: use RemoteMemory::Allocate()");
}

void ShmRemoteMemory::Deregister(const MemoryRegion& region) {
  AssertOwner();
  if (!regions_.Remove(region.id)) return;
  std::vector<Link*> granted;
  for (const auto& link : links_) {
    if (link->open && link->grants.RemoveAllOf(region.id)) granted.push_back(link.get());
  }
  if (!granted.empty()) FullBarrier();
  for (Link* link : granted) WaitForOperations(*link);
  for (const auto& link : links_) {
    for (auto& handed : link->handed) {
      const auto it = handed.find(region.id);
      if (!link->open || it == handed.end()) continue;
      link->to_forget.push_back(it->second);
      handed.erase(it);
    }
    if (link->open) TellToForget(*link);
  }
  pages_.erase(region.id);
}

const ShmRemoteMemory::Remote* ShmRemoteMemory::Find(const Peer& peer) const {
  const uint64_t index = peer.words[0] - 1;
  if (index >= remotes_.size() || peer.words[2] != 0) return nullptr;
  const Remote& remote = remotes_[index];
  return remote.generation == peer.words[1] && remote.known() ? &remote : nullptr;
}

Peer ShmRemoteMemory::PeerOf(const Remote& remote) const {
  return {{static_cast<uint64_t>(&remote - remotes_.data()) + 1, remote.generation, 0}};
}

absl::StatusOr<Peer> ShmRemoteMemory::Resolve(const Address& address) {
  AssertOwner();
  if (address.kind() != Address::Kind::kShm) {
    return absl::InvalidArgumentError(absl::StrCat(
        address.ToString(), " is not an address of shared memory: those look like shm:NAME"));
  }
  // Whoever has gone is not taken for alive, and whoever has connected is not connected to.
  control_->Check();
  for (const Remote& remote : remotes_) {
    if (remote.known() && remote.name == address.name()) return PeerOf(remote);
  }
  if (open_links_ >= max_peers_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this port has its ", max_peers_, " peers: raise transport.shm.max_peers"));
  }
  if (absl::Status status = directory_.CheckToConnect(); !status.ok()) return status;
  absl::StatusOr<Session> session =
      Connect(directory_.SocketPath(address.name(), Contract::kMemory), Contract::kMemory, name_,
              kMemoryRingBytes);
  if (!session.ok()) return session.status();
  session->peer_name = address.name();
  const absl::StatusOr<Link*> link = AddLink(*std::move(session), Side::kConnector);
  if (!link.ok()) return link.status();
  return PeerOf(remotes_[(*link)->remote]);
}

absl::StatusOr<Address> ShmRemoteMemory::AddressOf(const Peer& peer) const {
  const Remote* remote = Find(peer);
  if (remote == nullptr) return absl::NotFoundError("no such peer of this port, or it has gone");
  return Address::Shm(remote->name);
}

absl::StatusOr<RemoteKey> ShmRemoteMemory::Grant(const Peer& peer, const MemoryRegion& region,
                                                 size_t offset, size_t bytes, MemoryAccess access) {
  AssertOwner();
  control_->Check();
  const Remote* remote = Find(peer);
  if (remote == nullptr) return absl::NotFoundError("no such peer of this port, or it has gone");
  const MemoryRegion* known = regions_.Find(region.id);
  if (known == nullptr || bytes == 0 || !RangeFits(offset, bytes, known->bytes.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes, " bytes from ", offset, " on are not within a region of this port's",
                     known == nullptr ? "" : absl::StrCat(", which has ", known->bytes.size())));
  }
  Link& link = *(remote->links[0] != nullptr ? remote->links[0] : remote->links[1]);
  if (link.grants.full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the peer has its ", kMaxGrants, " keys of this port: revoke some"));
  }
  const bool writable =
      Includes(access, MemoryAccess::kWrite) || Includes(access, MemoryAccess::kAtomic);
  const absl::StatusOr<uint32_t> mapping = HandOver(link, region.id, writable);
  if (!mapping.ok()) return mapping.status();
  if (++last_serial_ == 0) ++last_serial_;
  ShmKey key = {};
  key.serial = last_serial_;
  key.entry = link.grants.Add(last_serial_, region.id, *mapping, offset, bytes, access);
  key.owner_side = link.side;
  key.access = static_cast<uint8_t>(access);
  key.link = static_cast<uint32_t>(
      std::find_if(links_.begin(), links_.end(), [&](const auto& l) { return l.get() == &link; }) -
      links_.begin());
  key.region = region.id;
  key.offset = offset;
  key.bytes = bytes;
  RemoteKey opaque;
  std::memcpy(opaque.bytes.data(), &key, sizeof(key));
  return opaque;
}

// The mapping by which the other side has the region, once for each way to map it.
absl::StatusOr<uint32_t> ShmRemoteMemory::HandOver(Link& link, uint32_t region, bool writable) {
  std::map<uint32_t, uint32_t>& handed = link.handed[writable];
  if (const auto it = handed.find(region); it != handed.end()) return it->second;
  if (!TellToForget(link)) {
    return absl::UnavailableError("the peer has not taken what it was granted before: try again");
  }
  if (link.free_mappings.empty()) {
    if (link.mappings_used == kMaxMappings) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the peer has ", kMaxMappings, " regions: make them larger and fewer"));
    }
    link.free_mappings.push_back(link.mappings_used++);
  }
  const absl::StatusOr<int> descriptor = pages_.at(region).Descriptor(writable);
  if (!descriptor.ok()) return descriptor.status();
  const uint32_t mapping = link.free_mappings.back();
  const Notice notice = {.kind = Notice::Kind::kRegion,
                         .flags = writable ? Notice::kWritable : uint8_t{0},
                         .error = static_cast<int32_t>(mapping)};
  if (!SendNotice(link.session.socket.get(), notice, *descriptor)) {
    return absl::UnavailableError("the peer has not taken what it was granted before: try again");
  }
  link.free_mappings.pop_back();
  handed.emplace(region, mapping);
  return mapping;
}

// False if there is no room for all of it now. Until then the other side keeps the pages.
bool ShmRemoteMemory::TellToForget(Link& link) {
  for (; !link.to_forget.empty(); link.to_forget.pop_back()) {
    const uint32_t mapping = link.to_forget.back();
    const Notice notice = {.kind = Notice::Kind::kForget, .error = static_cast<int32_t>(mapping)};
    if (!SendNotice(link.session.socket.get(), notice)) return false;
    link.free_mappings.push_back(NextInPlace(mapping));
  }
  return true;
}

void ShmRemoteMemory::Revoke(const RemoteKey& key) {
  AssertOwner();
  const ShmKey parsed = Parse(key);
  if (parsed.link >= links_.size() || !links_[parsed.link]->open) return;
  Link& link = *links_[parsed.link];
  if (!link.grants.Remove(parsed.entry, parsed.serial)) return;
  FullBarrier();
  WaitForOperations(link);
}

// Until what may have begun before the last barrier has ended, in one way or another. A peer that
// has stopped in the middle is given up: see README.md on what it can still do.
void ShmRemoteMemory::WaitForOperations(Link& link) {
  constexpr int kSpins = 2000;
  const std::atomic<uint64_t>& produced = link.session.memory.theirs().produced;
  const uint64_t seen = produced.load(std::memory_order_acquire);
  if (seen % 2 == 0) return;
  const int64_t begin_ns = RealClock().NowNs();
  for (int i = 0; produced.load(std::memory_order_acquire) == seen; ++i) {
    if (i < kSpins) continue;
    if (HasGone(link.session.socket.get())) {
      return End(link, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
    }
    if (RealClock().NowNs() - begin_ns > kPatienceNs) {
      return End(link, PortEvent::Kind::kPeerUnreachable, ETIMEDOUT);
    }
    sched_yield();
  }
}

absl::StatusOr<ShmRemoteMemory::Link*> ShmRemoteMemory::AddLink(Session&& session, Side side) {
  const auto free =
      std::find_if(links_.begin(), links_.end(), [](const auto& link) { return !link->open; });
  const auto index = static_cast<uint32_t>(free - links_.begin());
  if (absl::Status s = control_->Watch(session.socket.get(), index); !s.ok()) return s;
  if (free == links_.end()) links_.push_back(std::make_unique<Link>());

  auto remote = std::find_if(remotes_.begin(), remotes_.end(), [&](const Remote& r) {
    return r.known() && r.name == session.peer_name;
  });
  if (remote == remotes_.end()) {
    remote =
        std::find_if(remotes_.begin(), remotes_.end(), [](const Remote& r) { return !r.known(); });
    if (remote == remotes_.end()) remote = remotes_.emplace(remotes_.end());
    remote->name = session.peer_name;
    ++remote->generation;
  }
  Link& link = *links_[index];
  link = Link();
  link.grants = GrantTable(session.memory.my_ring());
  link.session = std::move(session);
  link.side = side;
  link.remote = static_cast<uint32_t>(remote - remotes_.begin());
  link.open = true;
  remote->links[static_cast<int>(side)] = &link;
  ++open_links_;
  return &link;
}

void ShmRemoteMemory::End(Link& link, PortEvent::Kind kind, int error) {
  Remote& remote = remotes_[link.remote];
  events_.Add({kind, PeerOf(remote), error});
  remote.links[static_cast<int>(link.side)] = nullptr;
  link.grants.RemoveAll();
  control_->Unwatch(link.session.socket.get());
  link = Link();
  --open_links_;
}

int ShmRemoteMemory::OnSession(Session& session, const std::shared_ptr<Listener>&, int) {
  // Others' claims about their names prove nothing, and keys are granted to names.
  if (!session.trust_name) return EACCES;
  if (session.memory.ring_bytes() != kMemoryRingBytes) return EPROTO;
  for (const auto& link : links_) {
    // Names are used by one at a time, so the one before has gone and has not been missed yet.
    if (link->open && link->side == Side::kAcceptor &&
        link->session.peer_name == session.peer_name) {
      End(*link, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
    }
  }
  if (open_links_ >= max_peers_) return ENOBUFS;
  return AddLink(std::move(session), Side::kAcceptor).ok() ? 0 : ENOMEM;
}

void ShmRemoteMemory::OnReadable(uint32_t index) {
  constexpr int kMaxNotices = 64;  // at a time; the rest keeps the socket readable
  Link& link = *links_[index];
  for (int i = 0; i < kMaxNotices && link.open; ++i) {
    Notice notice;
    UniqueFd descriptor;
    switch (ReceiveNotice(link.session.socket.get(), &notice, &descriptor)) {
      case Received::kNothing:
        return;
      case Received::kEnd:
        return End(link, PortEvent::Kind::kPeerUnreachable, ECONNRESET);
      case Received::kGarbage:
        break;
      case Received::kNotice:
        if (OnNotice(link, notice, std::move(descriptor))) continue;
        break;
    }
    ++stats_.receive_malformed;
    return End(link, PortEvent::Kind::kPeerUnreachable, EPROTO);
  }
}

// False for what no honest peer sends.
bool ShmRemoteMemory::OnNotice(Link& link, const Notice& notice, UniqueFd descriptor) {
  const auto mapping = static_cast<uint32_t>(notice.error);
  switch (notice.kind) {
    case Notice::Kind::kWelcome:
      link.session.needs_fence = !(notice.flags & OwnFlags() & Hello::kIssuesBarrier);
      return true;
    case Notice::Kind::kRefused:
      End(link, PortEvent::Kind::kPeerUnreachable, notice.error);
      return true;
    case Notice::Kind::kGoodbye:
      End(link, PortEvent::Kind::kPeerClosed, 0);
      return true;
    case Notice::Kind::kRegion: {
      if (notice.error < 0 || !descriptor) return false;
      absl::StatusOr<MappedPages> pages =
          MappedPages::Open(descriptor, (notice.flags & Notice::kWritable) != 0);
      if (absl::IsInvalidArgument(pages.status())) return false;
      if (PlaceOf(mapping) >= link.mappings.size()) link.mappings.resize(PlaceOf(mapping) + 1);
      // What there is no room for cannot be used: operations on it are denied.
      link.mappings[PlaceOf(mapping)] = {mapping, pages.ok() ? *std::move(pages) : MappedPages()};
      return true;
    }
    case Notice::Kind::kForget:
      if (PagesOf(link, mapping) != nullptr) link.mappings[PlaceOf(mapping)] = {};
      return true;
    case Notice::Kind::kWake:
      break;
  }
  return false;
}

// Null if they have not come, or there was no room for them.
const MappedPages* ShmRemoteMemory::PagesOf(const Link& link, uint32_t mapping) {
  if (PlaceOf(mapping) >= link.mappings.size()) return nullptr;
  const Mapping& there = link.mappings[PlaceOf(mapping)];
  return there.number == mapping && there.pages ? &there.pages : nullptr;
}

// Looks for pages that are on their way, behind all that a socket holds if it must be. False: the
// session has ended.
bool ShmRemoteMemory::ReceivePages(Link& link, uint32_t mapping) {
  constexpr int kLooks = 8;
  const auto index = static_cast<uint32_t>(
      std::find_if(links_.begin(), links_.end(), [&](const auto& l) { return l.get() == &link; }) -
      links_.begin());
  for (int i = 0; i < kLooks && link.open && PagesOf(link, mapping) == nullptr; ++i) {
    OnReadable(index);
  }
  return link.open;
}

}  // namespace weft::shm
