// SPDX-License-Identifier: Apache-2.0
#include "weft/router/request_path.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "weft/router/answers.h"
#include "weft/router/control_path.h"

namespace weft::router {

using r2p2::ControlKind;
using r2p2::DropReason;
using r2p2::ExtendedHeader;
using r2p2::Header;
using r2p2::MessageType;
using r2p2::Policy;

RequestPath::RequestPath(DatagramPort& port, Dispatcher& dispatcher, Members& members,
                         RouterStats& stats, Tenants tenants, const Settings& settings)
    : port_(port),
      dispatcher_(dispatcher),
      members_(members),
      stats_(stats),
      clients_(port, std::move(tenants), /*with_address=*/!settings.keep_source),
      settings_(settings),
      burst_(std::clamp<size_t>(port.capabilities().max_burst, 1, kBurst)),
      requests_(kOutbox, &stats.send_overflows),
      answers_(kOutbox, &stats.send_overflows),
      kept_(settings.queue_max) {}

size_t RequestPath::Poll(int64_t now_ns, ControlPath& control) {
  size_t work = Flush();
  // What cannot leave is a reason not to take more: it waits where the sender feels it.
  if (requests_.is_congested() || answers_.is_congested()) [[unlikely]]
    return work;
  // Some may have been kept back while the port was blocked.
  if (work > 0 && dispatcher_.queue_length() > 0) SendReady(now_ns);
  const size_t n = port_.Receive(absl::MakeSpan(received_).first(burst_));
  if (n == 0) return work;
  arrival_count_ = cancelled_count_ = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (i + 1 < n) __builtin_prefetch(received_[i + 1].buffer.data());
    Classify(received_[i], i, control, now_ns);
  }
  // FEEDBACK has made room: first for those that wait, then for those that have come.
  if (dispatcher_.queue_length() > 0) SendReady(now_ns);
  if (arrival_count_ > 0) Decide(now_ns);
  // Which may be of this very burst.
  for (size_t i = 0; i < cancelled_count_; ++i) OnCancel(cancelled_[i]);
  for (size_t i = 0; i < n; ++i) received_[i].buffer.Reset();  // what was dropped
  Flush();
  return work + n;
}

void RequestPath::Classify(Datagram& datagram, uint32_t index, ControlPath& control,
                           int64_t now_ns) {
  const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
  if (bytes.size() < r2p2::kHeaderBytes || bytes[0] != r2p2::internal::kMagic) {
    if (MakeNoKeys(datagram.buffer)) {
      ++stats_.no_keys;
      return Answer(datagram.peer, std::move(datagram.buffer));
    }
    ++stats_.malformed;
    return;
  }
  const bool request = bytes[2] >> 4 == static_cast<uint8_t>(MessageType::kRequest);
  if (request && bytes[1] == r2p2::kHeaderBytes) {
    OnOriginal(datagram, index);
  } else if (bytes[1] == r2p2::kAnycastHeaderBytes) {
    OnAnycast(datagram, index);
  } else {
    control.OnDatagram(datagram, /*from_control=*/false, now_ns);
  }
}

void RequestPath::OnOriginal(Datagram& datagram, uint32_t index) {
  Header header;
  if (!r2p2::ReadHeader(datagram.buffer.bytes(), &header)) {
    ++stats_.malformed;
    return;
  }
  if (!header.first) return OnStray(datagram, header);
  ++stats_.requests;
  if (header.policy != Policy::kLbRoute && header.policy != Policy::kFixedRoute) [[unlikely]] {
    ++stats_.replicated;
    return Drop(DropReason::kUnsupported, datagram.peer, std::move(datagram.buffer), 0, 0);
  }
  const Client& client = clients_.Of(datagram.peer);
  const bool fixed = header.policy == Policy::kFixedRoute;
  if (fixed) ++stats_.fixed;
  arrived_[arrival_count_] = index;
  arrivals_[arrival_count_++] = {.key = r2p2::RequestKey(client.id, 0, header.request_id),
                                 .affinity = client.id,
                                 .tenant = client.tenant,
                                 .fixed = fixed};
}

void RequestPath::OnAnycast(Datagram& datagram, uint32_t index) {
  ExtendedHeader header;
  r2p2::Anycast anycast;
  if (!r2p2::ReadAnycast(datagram.buffer.bytes(), &header, &anycast)) {
    ++stats_.malformed;
    return;
  }
  const Client& client = clients_.Of(datagram.peer);
  const uint64_t key = r2p2::RequestKey(client.id, header.from_session, header.slot());
  if (header.kind == ControlKind::kCancel) {
    ++stats_.cancels;
    cancelled_[cancelled_count_++] = {index, key, header.request_id};
    return;
  }
  ++stats_.requests;
  ++stats_.anycasts;
  if (header.policy != Policy::kLbRoute && header.policy != Policy::kFixedRoute) [[unlikely]] {
    ++stats_.replicated;
    return Drop(DropReason::kUnsupported, datagram.peer, std::move(datagram.buffer), 0, 0);
  }
  const bool fixed = header.policy == Policy::kFixedRoute;
  if (fixed) ++stats_.fixed;
  arrived_[arrival_count_] = index;
  arrivals_[arrival_count_++] = {
      .key = key,
      .request_id = header.request_id,
      .client = anycast.incarnation,
      .affinity = anycast.affinity,
      .age_ns = header.resent ? int64_t{anycast.age_us} * 1000 : Arrival::kSentOnce,
      .tenant = client.tenant,
      .fixed = fixed};
}

void RequestPath::OnStray(Datagram& datagram, const Header& header) {
  const uint64_t id = clients_.Of(datagram.peer).id;
  const ServerIndex server = dispatcher_.ServerOf(r2p2::RequestKey(id, 0, header.request_id));
  if (server == kNoServerIndex) {
    ++stats_.unexpected;
    return;
  }
  ++stats_.strays;
  Send(server, std::move(datagram.buffer), datagram.peer);
}

void RequestPath::Decide(int64_t now_ns) {
  dispatcher_.Arrive(absl::MakeSpan(arrivals_).first(arrival_count_), now_ns,
                     absl::MakeSpan(decisions_));
  size_t sending = 0;
  for (size_t i = 0; i < arrival_count_; ++i) {
    const Decision& decision = decisions_[i];
    Datagram& datagram = received_[arrived_[i]];
    switch (decision.fate) {
      case Fate::kForward:
      case Fate::kRepeat:
        sending_[sending++] = {decision.server, arrived_[i]};
        break;
      case Fate::kQueueEvict: {
        Kept& kept = kept_[decision.ticket];
        Refuse(Fate::kQueueFull, kept.source, std::move(kept.buffer), 0);
        Keep(datagram, decision.ticket);
        break;
      }
      case Fate::kQueue:
      case Fate::kQueueInstead:
        Keep(datagram, decision.ticket);
        break;
      case Fate::kIgnore:
        datagram.buffer.Reset();
        break;
      default:
        Refuse(decision.fate, datagram.peer, std::move(datagram.buffer), 0);
    }
  }
  SendAll(sending);
  members_.EndTrials();
}

void RequestPath::OnCancel(const Cancelled& cancelled) {
  Datagram& datagram = received_[cancelled.index];
  const Cancellation found = dispatcher_.Cancel(cancelled.key, cancelled.request_id);
  switch (found.where) {
    case Cancellation::Where::kUnknown:
      return;  // it may be on its way: the client says so again
    case Cancellation::Where::kWaited:
      kept_[found.ticket].buffer.Reset();
      break;
    case Cancellation::Where::kAtServer:
      return Send(found.server, std::move(datagram.buffer), datagram.peer);
    case Cancellation::Where::kEnded:
      break;
  }
  Drop(DropReason::kCancelled, datagram.peer, std::move(datagram.buffer), 0, 0);
}

void RequestPath::Keep(Datagram& datagram, uint32_t ticket) {
  kept_[ticket].buffer = std::move(datagram.buffer);
  kept_[ticket].source = datagram.peer;
}

void RequestPath::SendAll(size_t count) {
  if (!settings_.keep_source && count > 2) {
    // Datagrams for the same server in a row leave as one, where the port cuts up long ones.
    std::sort(sending_.begin(), sending_.begin() + static_cast<ptrdiff_t>(count),
              [](const Sending& a, const Sending& b) {
                return std::pair(a.server, a.index) < std::pair(b.server, b.index);
              });
  }
  for (size_t i = 0; i < count; ++i) {
    Datagram& datagram = received_[sending_[i].index];
    Send(sending_[i].server, std::move(datagram.buffer), datagram.peer);
  }
}

void RequestPath::SendReady(int64_t now_ns) {
  size_t n;
  do {
    if (IsBlocked()) [[unlikely]]
      Flush();
    // What the port does not take waits in the queue, and takes no slot meanwhile.
    if (IsBlocked()) [[unlikely]]
      return;
    n = dispatcher_.TakeReady(now_ns, absl::MakeSpan(ready_));
    for (size_t i = 0; i < n; ++i) {
      const Ready& ready = ready_[i];
      Kept& kept = kept_[ready.ticket];
      if (ready.server == kNoServerIndex) {
        Refuse(Fate::kNoServer, kept.source, std::move(kept.buffer), ready.waited_ns);
        continue;
      }
      AddHoldingTime(ready.waited_ns, kept.buffer);
      Send(ready.server, std::move(kept.buffer), kept.source);
    }
    if (n > 0) members_.EndTrials();
  } while (n == ready_.size());
}

void RequestPath::Send(ServerIndex server, Buffer&& request, const Peer& source) {
  Member& member = members_.at(server);
  ++member.forwarded;
  if (!settings_.keep_source && !PrependAddress(request, source)) {
    ++stats_.send_overflows;
    request.Reset();
    return;
  }
  requests_.Push(members_.PeerOf(server), std::move(request), source);
}

bool RequestPath::PrependAddress(Buffer& request, const Peer& source) {
  const Address& address = clients_.Of(source).address;
  if (address.kind() == Address::Kind::kNone) return false;  // the client has gone
  const size_t bytes = r2p2::RouteBytes(address);
  if (request.headroom() < bytes) [[unlikely]] {
    Buffer copy = port_.pool().Allocate();
    if (!copy || copy.headroom() < bytes || copy.tailroom() < request.size()) return false;
    std::memcpy(copy.Append(request.size()), request.data(), request.size());
    ++stats_.copied;
    request = std::move(copy);
  }
  const absl::Span<const uint8_t> datagram = request.bytes();
  r2p2::WriteRoute(address, datagram, request.Prepend(bytes));
  request.offload() = {};
  return true;
}

void RequestPath::Refuse(Fate fate, const Peer& client, Buffer&& request, int64_t waited_ns) {
  switch (fate) {
    case Fate::kServerLost:
      return Drop(DropReason::kServerLost, client, std::move(request), 0, waited_ns);
    case Fate::kReplyGone:
      return Drop(DropReason::kReplyGone, client, std::move(request), 0, waited_ns);
    case Fate::kCancelled:
      return Drop(DropReason::kCancelled, client, std::move(request), 0, waited_ns);
    case Fate::kTableFull:
      return Drop(DropReason::kOverloaded, client, std::move(request), settings_.retry_after_us,
                  waited_ns);
    default:
      return Drop(DropReason::kNoServer, client, std::move(request), settings_.retry_after_us,
                  waited_ns);
  }
}

void RequestPath::Drop(DropReason reason, const Peer& client, Buffer&& request,
                       uint32_t retry_after_us, int64_t waited_ns) {
  ++stats_.drops;
  MakeDrop(reason, static_cast<uint32_t>(settings_.incarnation), retry_after_us, waited_ns,
           request);
  answers_.Push(client, std::move(request));
}

size_t RequestPath::Flush() {
  const size_t sent = settings_.keep_source ? requests_.Forward(port_) : requests_.Send(port_);
  return sent + answers_.Send(port_);
}

void RequestPath::SetQueueMax(size_t queue_max) {
  if (queue_max > kept_.size()) kept_.resize(queue_max);
}

size_t RequestPath::payload_max() const {
  const size_t most = std::min(port_.capabilities().max_payload_bytes, members_.payload_max());
  if (settings_.keep_source) return most;
  return most > r2p2::kRouteBytesMax ? most - r2p2::kRouteBytesMax : 0;
}

}  // namespace weft::router
