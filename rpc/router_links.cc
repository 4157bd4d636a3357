// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/router_links.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/bytes.h"
#include "weft/core/log.h"
#include "weft/rpc/packets.h"
#include "weft/rpc/security/security.h"

namespace weft::rpc {
namespace {

// When the last datagram is repeated if there is nothing new to be said.
constexpr int64_t kRepeatNs[] = {200'000, 2'000'000};

bool HasKeys(const Security* security) {
  return security != nullptr && security->mode() != Security::Mode::kPlaintext;
}

bool IsSameHost(const Peer& a, const uint64_t (&words)[2]) {
  return a.words[0] == words[0] && a.words[1] == words[1];
}

}  // namespace

RouterLinks::RouterLinks(Loop& loop, DatagramPort& port, PacketQueue& sending, ServerStats& stats)
    : loop_(loop),
      requests_port_(port),
      requests_sending_(sending),
      stats_(stats),
      port_(&port),
      sending_(&sending),
      leave_limit_(&RouterLinks::OnLeaveLimit, this) {}

RouterLinks::~RouterLinks() {
  if (own_port_ != nullptr) loop_.Remove(this);
}

absl::Status RouterLinks::Init(const ServerOptions& options) {
  options_ = options.router;
  if (absl::Status status = options_.Validate(); !status.ok()) return status;
  if (HasKeys(options.security.get())) {
    return absl::InvalidArgumentError(
        "rpc.router: routers cannot read requests that are sealed, and `security` has keys; with "
        "`rpc.balancer`, clients spread calls over servers themselves");
  }
  ip_ = requests_port_.local_address().is_ip();
  if (options_.address.kind() == Address::Kind::kNone) {
    options_.address = requests_port_.local_address();
    if (options_.join && options_.address.is_any()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "rpc.router.join: the server listens at ", options_.address.ToString(),
          ", to which routers cannot send; set rpc.router.address to the address of this machine "
          "that they reach, or listen there"));
    }
  }
  if (HasKeys(options_.security.get())) {
    if (absl::Status status = InitOwnPort(options_); !status.ok()) return status;
  }
  batch_bytes_max_ = std::min({FeedbackStream::kBytesMax, port_->capabilities().max_payload_bytes,
                               port_->pool().payload_bytes()});
  if (batch_bytes_max_ < kExtendedHeaderBytes + kMembershipBytesMax) {
    return absl::InvalidArgumentError("rpc.router: the port's messages are too short");
  }
  group_ = ServerGroup::Of(options_.address, options.key_seed);
  incarnation_ = group_->Join();
  // What comes to a port of its own comes to no other worker.
  answers_ = own_port_ == nullptr ? group_ : std::make_shared<ServerGroup>(incarnation_);
  for (const Address& control : options_.control) {
    links_.push_back(std::make_unique<RouterLink>(*this, static_cast<uint8_t>(links_.size()),
                                                  control, incarnation_, &RouterLinks::OnRepeat,
                                                  &RouterLinks::OnControlTimer));
    RouterLink& link = *links_.back();
    link.nonce = group_->NonceFor(control);
    link.keepalive_ns = absl::ToInt64Nanoseconds(options_.keepalive);
    // Original routers have IPv4 addresses, and no keys.
    link.knows_weft = own_port_ != nullptr || control.kind() != Address::Kind::kIpv4;
    if (options_.join) link.state = RouterState::kJoining;
    if (absl::Status status = Resolve(link); !status.ok()) return status;
    loop_.timers().Schedule(link.timer, loop_.now_ns());
  }
  return InitTrust();
}

absl::Status RouterLinks::InitOwnPort(const RouterOptions& options) {
  if (options.open_port == nullptr) {
    return absl::InvalidArgumentError(
        "rpc.router.security: this program gives the server no way to open a port for it "
        "(RouterOptions::open_port, Worker::PortOpener())");
  }
  absl::StatusOr<std::unique_ptr<DatagramPort>> port = options.open_port();
  if (!port.ok()) return port.status();
  port = options.security->Protect(loop_, *std::move(port), Role::kClient);
  if (!port.ok()) return port.status();
  own_port_ = *std::move(port);
  own_sending_.emplace(own_port_->pool().count(), &stats_.send_overflows);
  port_ = own_port_.get();
  sending_ = &*own_sending_;
  loop_.Add(this);
  return absl::OkStatus();
}

// --- Requests

absl::Status RouterLinks::InitTrust() {
  known_.resize(kCached);
  if (!ip_) {
    resolved_.resize(kCached);
    return absl::OkStatus();
  }
  for (const auto& link : links_) {
    const absl::StatusOr<Peer> peer = requests_port_.Resolve(link->control);
    if (!peer.ok()) continue;  // nothing comes from there
    trusted_ips_.push_back({{peer->words[0], peer->words[1]}, peer->words[2], link->index});
  }
  // Other ports of the same hosts, where they tell which router it is.
  const std::vector<TrustedIp> exact = trusted_ips_;
  for (const TrustedIp& ip : exact) {
    const auto same = std::count_if(exact.begin(), exact.end(), [&ip](const TrustedIp& other) {
      return std::equal(ip.words, ip.words + 2, other.words);
    });
    trusted_ips_.push_back({{ip.words[0], ip.words[1]}, 0, same == 1 ? ip.router : kAnyRouter});
  }
  for (const Address& host : options_.forwards_from) {
    if (!host.is_ip()) {
      return absl::InvalidArgumentError(
          absl::StrCat("rpc.router.forwards_from: ", host.ToString(),
                       " is no IP address, and the server listens at one"));
    }
    constexpr uint16_t kSomePort = 1;
    const Address address = host.kind() == Address::Kind::kIpv4
                                ? Address::Ipv4(host.ipv4(), kSomePort)
                                : Address::Ipv6(host.ipv6(), kSomePort, host.scope());
    const absl::StatusOr<Peer> peer = requests_port_.Resolve(address);
    if (!peer.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("rpc.router.forwards_from: ", peer.status().message()));
    }
    trusted_ips_.push_back({{peer->words[0], peer->words[1]}, 0, kAnyRouter});
  }
  return absl::OkStatus();
}

bool RouterLinks::IsTrusted(const Peer& peer, uint8_t* router) {
  if (!ip_) {
    const Known& known = Look(peer);
    *router = known.router;
    return known.trusted;
  }
  for (const TrustedIp& ip : trusted_ips_) {
    if (IsSameHost(peer, ip.words) && (ip.port_word == 0 || ip.port_word == peer.words[2])) {
      *router = ip.router;
      return true;
    }
  }
  return false;
}

const RouterLinks::Known& RouterLinks::Look(const Peer& peer) {
  Known& known = known_[ClientIdOf(peer) % kCached];
  if (known.peer == peer) [[likely]]
    return known;
  known = {};
  const absl::StatusOr<Address> address = requests_port_.AddressOf(peer);
  if (!address.ok()) return known;
  known.peer = peer;
  known.client_id = ClientIdOf(*address);
  for (const auto& link : links_) {
    if (link->control != *address) continue;
    known.trusted = true;
    known.router = link->index;
  }
  known.trusted |= std::find(options_.forwards_from.begin(), options_.forwards_from.end(),
                             *address) != options_.forwards_from.end();
  return known;
}

bool RouterLinks::TakeRoute(Datagram& datagram, uint8_t* router) {
  *router = kAnyRouter;
  if (!IsTrusted(datagram.peer, router)) {
    ++stats_.routed_untrusted;
    ComplainOfStranger(datagram.peer);
    return false;
  }
  Address client;
  const size_t bytes = ReadRoute(datagram.buffer.bytes(), &client);
  if (bytes == 0 || client.is_ip() != ip_) {
    ++stats_.malformed;
    return false;
  }
  if (*router != kAnyRouter) links_[*router]->knows_weft = true;
  const Peer peer = PeerOf(client);
  if (!peer) {
    ++stats_.routed_unreachable;
    return false;
  }
  ++stats_.routed;
  datagram.buffer.TrimFront(bytes);
  datagram.peer = peer;
  return true;
}

Peer RouterLinks::PeerOf(const Address& client) {
  if (ip_) return requests_port_.Resolve(client).value_or(Peer());
  Resolved& resolved = resolved_[ClientIdOf(client) % kCached];
  if (resolved.peer && resolved.address == client) return resolved.peer;
  absl::StatusOr<Peer> peer = requests_port_.Resolve(client);
  if (!peer.ok()) return Peer();
  resolved = {client, *peer};
  return *peer;
}

void RouterLinks::ComplainOfStranger(const Peer& peer) {
  if (std::exchange(complained_of_stranger_, true)) return;
  const absl::StatusOr<Address> address = requests_port_.AddressOf(peer);
  WEFT_LOG(kWarning,
           "a request that claims to come through a router is dropped: if it did, its sender "
           "belongs into rpc.router.forwards_from",
           {"sender", address.ok() ? address->ToString() : "gone"});
}

// --- FEEDBACK

uint64_t RouterLinks::ClientId(const Peer& client) {
  return ip_ ? ClientIdOf(client) : Look(client).client_id;
}

void RouterLinks::Done(const Peer& client, uint32_t number, uint16_t rid, uint8_t router,
                       uint32_t service_ns) {
  const FeedbackEntry entry = {RequestKey(ClientId(client), number, rid), service_ns};
  if (router < links_.size()) return Tell(*links_[router], entry, client, number, rid);
  for (const auto& link : links_) Tell(*link, entry, client, number, rid);
}

void RouterLinks::AddEntry(RouterLink& link, const FeedbackEntry& entry) {
  if (!link.peer) [[unlikely]] {
    ++stats_.feedback_lost;
    return;
  }
  if (link.feedback.unsent() == 0) ++untold_;
  ++stats_.feedback_entries;
  if (!link.feedback.Add(entry)) ++stats_.feedback_lost;
  if (link.feedback.unsent() >= FeedbackStream::kNewMax) SendBatch(link);
}

void RouterLinks::SendFeedback() {
  for (const auto& link : links_) {
    if (link->feedback.unsent() > 0) SendBatch(*link);
  }
}

void RouterLinks::SendBatch(RouterLink& link) {
  const int64_t now_ns = loop_.now_ns();
  const bool news = link.feedback.unsent() > 0;
  if (news) {
    link.new_ns = now_ns;
    if (std::exchange(link.repeats, 0) > 0 || !link.repeat.armed()) {
      loop_.timers().Schedule(link.repeat, now_ns + kRepeatNs[0]);
    }
  }
  if (!link.peer) return;
  Buffer packet;
  if (sending_->room() > 0) packet = port_->pool().Allocate();
  if (!packet) {
    ++stats_.send_overflows;
    return;
  }
  const size_t bytes = link.feedback.Write(batch_bytes_max_, packet.Append(batch_bytes_max_));
  packet.TrimBack(batch_bytes_max_ - bytes);
  sending_->Push(link.peer, std::move(packet));
  ++stats_.feedbacks;
  if (news && link.feedback.unsent() == 0) --untold_;
}

void RouterLinks::OnRepeat(void* self, int64_t now_ns) {
  auto& link = *static_cast<RouterLink*>(self);
  RouterLinks& links = link.owner;
  // While there is always something new, the timer only looks on.
  if (now_ns < link.new_ns + kRepeatNs[link.repeats]) {
    links.loop_.timers().Schedule(link.repeat, link.new_ns + kRepeatNs[link.repeats]);
    return;
  }
  if (++link.repeats < std::size(kRepeatNs)) {
    links.loop_.timers().Schedule(link.repeat, link.new_ns + kRepeatNs[link.repeats]);
  }
  links.SendBatch(link);
}

void RouterLinks::SendOriginal(RouterLink& link, const Peer& client, uint16_t rid) {
  const absl::StatusOr<Address> address = requests_port_.AddressOf(client);
  if (!link.peer || !address.ok() || address->kind() != Address::Kind::kIpv4) return;
  Buffer packet = port_->pool().Allocate();
  if (packet) {
    const Address::Ipv4Bytes ip = address->ipv4();
    WriteFeedback({rid, address->port(), LoadBig32(ip.data())}, packet.Append(kFeedbackBytes));
    if (sending_->Push(link.peer, std::move(packet))) {
      ++stats_.feedbacks;
      ++stats_.feedback_entries;
      return;
    }
  }
  ++stats_.send_overflows;
}

// --- The routers' own port

size_t RouterLinks::Poll() {
  size_t work = sending_->Flush(*port_);
  if (port_->has_events()) {
    std::array<PortEvent, 8> events;
    const size_t n = port_->TakeEvents(absl::MakeSpan(events));
    for (size_t i = 0; i < n; ++i) OnUnreachable(events[i].peer);
    work += n;
  }
  std::array<Datagram, kMaxBurst> received;
  const size_t n = port_->Receive(absl::MakeSpan(received));
  for (size_t i = 0; i < n; ++i) OnOwnPacket(received[i]);
  return work + n;
}

void RouterLinks::OnOwnPacket(Datagram& datagram) {
  ExtendedHeader header;
  if (!ReadExtendedHeader(datagram.buffer.bytes(), &header)) {
    ++stats_.malformed;
    return;
  }
  datagram.buffer.TrimFront(kExtendedHeaderBytes);
  if (!OnControl(datagram, header)) ++stats_.unexpected;
}

void RouterLinks::OnGone(const Peer& peer) {
  for (Resolved& resolved : resolved_) {
    if (resolved.peer == peer) resolved = {};
  }
  if (own_port_ == nullptr) OnUnreachable(peer);
}

}  // namespace weft::rpc
