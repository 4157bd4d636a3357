// SPDX-License-Identifier: Apache-2.0
#include "weft/tcp/tcp_port.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/netstack/interface.h"

namespace weft::tcp {
namespace {

using netstack::Interface;
using netstack::IpAddress;
using netstack::PortBinding;

// A smaller buffer is copied behind what waits to be sent: a segment of its own would cost more.
constexpr size_t kWorthKeepingBytes = 256;

absl::Status CheckIp(const Address& address) {
  if (address.is_ip()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a network stack has no ", KindName(address.kind()), " addresses such as '",
                   address.ToString(), "'; give it one like 10.0.0.2:8000 or [fd00::2]:8000"));
}

absl::Status CheckDestination(const Address& address, const Interface& interface) {
  if (absl::Status status = CheckIp(address); !status.ok()) return status;
  const IpAddress ip = IpAddress::From(address);
  const auto refused = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot connect to ", address.ToString(), ": ", why));
  };
  if (address.port() == 0) return refused("port 0 is no port");
  if (ip.is_unspecified()) return refused("it is any address");
  if (ip.is_multicast() || interface.IsBroadcast(ip)) return refused("it is no single host");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpPort>> TcpPort::Open(std::shared_ptr<Endpoint> endpoint,
                                                       const PortOptions& options,
                                                       const Capabilities& capabilities) {
  netstack::Stack& stack = endpoint->stack();
  PortBinding local;
  if (options.local.kind() != Address::Kind::kNone) {
    if (absl::Status status = CheckIp(options.local); !status.ok()) return status;
    local = {IpAddress::From(options.local), options.local.port()};
    if (!local.address.is_unspecified() && !stack.interface().Has(local.address)) {
      return absl::InvalidArgumentError(absl::StrCat(local.address.ToString(), " is no address of ",
                                                     stack.interface().ToString()));
    }
  }
  auto wait_fd = stack.DuplicateWaitFd();
  if (!wait_fd.ok()) return wait_fd.status();
  const auto user = endpoint->engine().AddUser();
  if (!user.ok()) return user.status();
  std::unique_ptr<TcpPort> port(
      new TcpPort(std::move(endpoint), capabilities, *user, options.queues > 1));
  port->local_ = local;
  port->wait_fd_ = *std::move(wait_fd);
  return port;
}

TcpPort::TcpPort(std::shared_ptr<Endpoint> endpoint, const Capabilities& capabilities,
                 uint16_t user, bool shared)
    : StreamPort(capabilities, &endpoint->stack().device().pool()),
      endpoint_(std::move(endpoint)),
      user_(user),
      shared_(shared) {
  capabilities_.headroom_bytes = Endpoint::kHeadroom;
}

TcpPort::~TcpPort() {
  for (const PortBinding& at : listeners_) endpoint_->StopListening(at);
  engine().RemoveUser(user_, now_ns());
  endpoint_->Send();  // the resets
}

Address TcpPort::local_address() const {
  const Interface& interface = endpoint_->stack().interface();
  const bool anywhere = local_.address.is_unspecified() && !interface.addresses.empty();
  return (anywhere ? interface.addresses[0].address : local_.address).ToAddress(local_.port);
}

absl::StatusOr<Address> TcpPort::Listen(const Address& address, int backlog) {
  AssertOwner();
  if (absl::Status status = CheckIp(address); !status.ok()) return status;
  const auto at = endpoint_->Listen({IpAddress::From(address), address.port()},
                                    std::max(backlog, 1), shared_, user_);
  if (!at.ok()) return at.status();
  listeners_.push_back(*at);
  return at->address.ToAddress(at->port);
}

absl::StatusOr<StreamId> TcpPort::Connect(const Address& address) {
  AssertOwner();
  const Interface& interface = endpoint_->stack().interface();
  if (absl::Status status = CheckDestination(address, interface); !status.ok()) return status;
  const PortBinding to = {IpAddress::From(address), address.port()};
  if (!local_.address.is_unspecified() && local_.address.is_v4() != to.address.is_v4()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot connect to ", address.ToString(),
                                                   " from ", local_.address.ToString(),
                                                   ", which is of the other family"));
  }
  return endpoint_->Connect(local_, to, user_);
}

size_t TcpPort::Poll(absl::Span<StreamEvent> events) {
  AssertOwner();
  reserved_ = {};
  endpoint_->Poll();
  if (!endpoint_->status().ok()) [[unlikely]]
    status_.Update(endpoint_->status());
  return engine().TakeEvents(events, user_);
}

absl::Span<const uint8_t> TcpPort::ReadView(StreamId stream) {
  const absl::Span<const uint8_t> view = engine().ReadView(stream);
  viewed_ = stream;
  viewed_bytes_ = view.size();
  return view;
}

void TcpPort::Consume(StreamId stream, size_t n) {
  // What is not shown is not consumed.
  const size_t shown = stream == viewed_ ? viewed_bytes_ : ReadView(stream).size();
  n = std::min(n, shown);
  viewed_ = {};
  stats_.received_bytes += n;
  engine().Consume(stream, n, now_ns());
}

absl::Span<uint8_t> TcpPort::Reserve(StreamId stream, size_t wanted) {
  const absl::Span<uint8_t> room = engine().Reserve(stream, wanted);
  if (room.size() < wanted) ++stats_.send_blocked;
  reserved_ = room.empty() ? StreamId() : stream;
  reserved_bytes_ = room.size();
  return room;
}

void TcpPort::Commit(StreamId stream, size_t n) {
  if (stream != reserved_) return;
  reserved_ = {};
  n = std::min(n, reserved_bytes_);
  stats_.sent_bytes += n;
  engine().Commit(stream, n, now_ns());
}

bool TcpPort::SendBuffer(StreamId stream, Buffer* buffer) {
  const size_t bytes = buffer->size();
  if (bytes < kWorthKeepingBytes || buffer->is_shared() ||
      buffer->headroom() < Endpoint::kHeadroom) {
    return StreamPort::SendBuffer(stream, buffer);
  }
  if (!engine().SendBuffer(stream, buffer, now_ns())) {
    ++stats_.send_blocked;
    return false;
  }
  stats_.sent_bytes += bytes;
  return true;
}

void TcpPort::CloseWrite(StreamId stream) { engine().CloseWrite(stream, now_ns()); }
void TcpPort::Close(StreamId stream) { engine().Close(stream, now_ns()); }
void TcpPort::Abort(StreamId stream) { engine().Abort(stream, now_ns()); }

absl::StatusOr<Address> TcpPort::PeerAddress(StreamId stream) const {
  const auto flow = engine().FlowOf(stream);
  if (!flow.ok()) return flow.status();
  return flow->remote.ToAddress(flow->remote_port);
}

absl::StatusOr<Address> TcpPort::LocalAddress(StreamId stream) const {
  const auto flow = engine().FlowOf(stream);
  if (!flow.ok()) return flow.status();
  return flow->local.ToAddress(flow->local_port);
}

absl::Status TcpPort::SetOptions(StreamId stream, const StreamOptions& options) {
  return engine().SetOptions(stream, options, now_ns());
}

absl::StatusOr<StreamInfo> TcpPort::Info(StreamId stream) const {
  return engine().Info(stream, now_ns());
}

bool TcpPort::Arm() {
  if (engine().has_events(user_)) return false;
  // To a dead port nothing comes any more, and nobody should stay awake for it.
  if (!status_.ok()) return true;
  endpoint_->Send();
  return endpoint_->has_sent() && !engine().is_searching() && endpoint_->stack().Arm();
}

void TcpPort::BindToThisThread() {
  Port::BindToThisThread();
  endpoint_->stack().BindToThisThread();
}

}  // namespace weft::tcp
