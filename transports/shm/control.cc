// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/shm/control.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "weft/core/clock.h"

namespace weft::shm {
namespace {

// What an epoll event is about: the kind in the upper half, which one in the lower.
enum class Source : uint32_t { kSession, kListener, kHalfOpen };

uint64_t Tag(Source source, uint32_t which) {
  return uint64_t{static_cast<uint32_t>(source)} << 32 | which;
}

UniqueFd OpenSpare() { return UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

}  // namespace

Control::Control(ControlHandler* handler, Contract contract, uint32_t ring_bytes_max,
                 UniqueFd epoll)
    : handler_(handler),
      contract_(contract),
      ring_bytes_max_(ring_bytes_max),
      epoll_(std::move(epoll)),
      spare_(OpenSpare()) {}

absl::StatusOr<std::unique_ptr<Control>> Control::Create(ControlHandler* handler, Contract contract,
                                                         uint32_t ring_bytes_max) {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return absl::ErrnoToStatus(errno, "epoll_create1");
  return std::unique_ptr<Control>(new Control(handler, contract, ring_bytes_max, std::move(epoll)));
}

Control::~Control() {
  for (Listening& l : listening_) l.listener->ReleaseQueue(l.queue);
}

absl::Status Control::Add(int fd, uint64_t data) {
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = data}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "epoll_ctl");
}

absl::Status Control::Listen(std::shared_ptr<Listener> listener, int queue) {
  const auto index = static_cast<uint32_t>(listening_.size());
  if (absl::Status s = Add(listener->fd(), Tag(Source::kListener, index)); !s.ok()) return s;
  listening_.push_back({std::move(listener), queue});
  return absl::OkStatus();
}

absl::Status Control::Watch(int socket, uint32_t token) {
  return Add(socket, Tag(Source::kSession, token));
}

void Control::Unwatch(int socket) {
  // Not left to close(): a child process may hold a copy of the descriptor.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket, nullptr);
}

void Control::CheckIfDue() {
  polls_left_ = kPollsPerClock;
  const int64_t now_ns = RealClock().NowNs();
  if (now_ns - last_check_ns_ < kCheckNs) return;
  last_check_ns_ = now_ns;
  Check();
}

void Control::Check() {
  epoll_event events[64];
  const int count = epoll_wait(epoll_.get(), events, std::size(events), 0);
  for (int i = 0; i < count; ++i) {
    const auto which = static_cast<uint32_t>(events[i].data.u64);
    switch (static_cast<Source>(events[i].data.u64 >> 32)) {
      case Source::kSession:
        handler_->OnReadable(which);
        break;
      case Source::kListener:
        Accept(which);
        break;
      case Source::kHalfOpen:
        OnHalfOpen(which);
        break;
    }
  }
  if (half_open_.empty()) return;
  const int64_t now_ns = RealClock().NowNs();
  while (!half_open_.empty() && half_open_.front().deadline_ns < now_ns) half_open_.pop_front();
}

UniqueFd Control::AcceptOne(int listener) {
  UniqueFd socket(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket && (errno == EMFILE || errno == ENFILE) && spare_) {
    // Left alone, the connection would keep wait_fd() readable for ever.
    spare_.Reset();
    socket = UniqueFd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) SendNotice(socket.get(), {.kind = Notice::Kind::kRefused, .error = EMFILE});
    socket.Reset();
    spare_ = OpenSpare();
  }
  return socket;
}

void Control::Accept(size_t listening) {
  Listening& l = listening_[listening];
  // Spreads peers over queues. One that nobody else takes meanwhile is taken after all: the other
  // queue's thread may be busy for long.
  if (l.listener->queues() > 1 && !l.waited && !l.listener->LeastLoaded(l.queue)) {
    l.waited = true;
    return;
  }
  l.waited = false;
  const size_t batch = l.listener->queues() > 1 ? 1 : kMaxHalfOpen;
  for (size_t i = 0; i < batch; ++i) {
    UniqueFd socket = AcceptOne(l.listener->fd());
    if (!socket) return;
    HalfOpen half_open = {std::move(socket), listening, next_half_open_id_++,
                          RealClock().NowNs() + kHelloTimeoutNs};
    // Connectors say hello at once, so as a rule it is there already.
    if (!StillHalfOpen(half_open)) continue;
    if (!Add(half_open.socket.get(), Tag(Source::kHalfOpen, half_open.id)).ok()) continue;
    if (half_open_.size() == kMaxHalfOpen) half_open_.pop_front();
    half_open_.push_back(std::move(half_open));
  }
}

bool Control::StillHalfOpen(HalfOpen& half_open) {
  int error = 0;
  const int socket = half_open.socket.get();
  absl::StatusOr<Session> session =
      ReceiveHello(&half_open.socket, contract_, ring_bytes_max_, &error);
  if (session.ok()) {
    const Listening& l = listening_[half_open.listening];
    Unwatch(socket);
    error = handler_->OnSession(*session, l.listener, l.queue);
    if (error == 0) {
      SendNotice(socket, {.kind = Notice::Kind::kWelcome, .flags = OwnFlags()});
      return false;
    }
  }
  if (error == EAGAIN) return true;
  SendNotice(socket, {.kind = Notice::Kind::kRefused, .error = error});
  return false;
}

void Control::OnHalfOpen(uint32_t id) {
  auto it = std::find_if(half_open_.begin(), half_open_.end(),
                         [id](const HalfOpen& h) { return h.id == id; });
  if (it == half_open_.end() || StillHalfOpen(*it)) return;
  half_open_.erase(it);
}

}  // namespace weft::shm
