// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/verbs_events.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <optional>

namespace weft::rdma {
namespace {

std::optional<NicEvent> Translate(const ibv_async_event& event, uint8_t port) {
  switch (event.event_type) {
    case IBV_EVENT_PORT_ERR:
      if (event.element.port_num != port) return std::nullopt;
      return NicEvent{NicEvent::Kind::kPortDown};
    case IBV_EVENT_PORT_ACTIVE:
      if (event.element.port_num != port) return std::nullopt;
      return NicEvent{NicEvent::Kind::kPortUp};
    case IBV_EVENT_CQ_ERR:  // nothing that uses it comes back, and all of a port's may
    case IBV_EVENT_DEVICE_FATAL:
      return NicEvent{NicEvent::Kind::kDeviceRemoved};
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
      return NicEvent{NicEvent::Kind::kQueueFailed, event.element.qp->qp_num};
    default:
      return std::nullopt;
  }
}

void Watch(int epoll, int fd) {
  epoll_event event = {};
  event.events = EPOLLIN;
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

}  // namespace

// Sleeps on two descriptors: the device's, and one that is written when another subscriber has read
// from it.
class VerbsEvents::Subscriber final : public Nic::Subscription {
 public:
  explicit Subscriber(VerbsEvents& events)
      : events_(events),
        given_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    Watch(epoll_.get(), given_.get());
    absl::MutexLock lock(&events_.mutex_);
    if (!events_.removed_) Watch(epoll_.get(), events_.context_->async_fd);
    events_.subscribers_.push_back(this);
  }
  ~Subscriber() override {
    absl::MutexLock lock(&events_.mutex_);
    std::erase(events_.subscribers_, this);
  }

  size_t Take(absl::Span<NicEvent> events) override {
    absl::MutexLock lock(&events_.mutex_);
    events_.ReadAll();
    const size_t count = std::min(events.size(), waiting_.size());
    std::copy_n(waiting_.begin(), count, events.begin());
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(count));
    uint64_t ignored;
    if (waiting_.empty() && is_woken_) {
      is_woken_ = read(given_.get(), &ignored, sizeof(ignored)) < 0;
    }
    return count;
  }
  int wait_fd() const override { return epoll_.get(); }

  // Under the mutex.
  void Give(const NicEvent& event) {
    if (waiting_.size() == kWaitingMax) waiting_.pop_front();
    waiting_.push_back(event);
    const uint64_t one = 1;
    if (!is_woken_) is_woken_ = write(given_.get(), &one, sizeof(one)) > 0;
  }
  void StopWatching(int fd) { epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

 private:
  VerbsEvents& events_;
  std::deque<NicEvent> waiting_;
  bool is_woken_ = false;
  UniqueFd given_;
  UniqueFd epoll_;
};

VerbsEvents::VerbsEvents(ibv_context* context, uint8_t port) : context_(context), port_(port) {
  fcntl(context->async_fd, F_SETFL, fcntl(context->async_fd, F_GETFL) | O_NONBLOCK);
}

std::unique_ptr<Nic::Subscription> VerbsEvents::Subscribe() {
  return std::make_unique<Subscriber>(*this);
}

void VerbsEvents::ReadAll() {
  while (!removed_) {
    ibv_async_event event;
    if (ibv_get_async_event(context_, &event) == 0) {
      // Before it is acknowledged: its queue pair cannot go as long as it is not.
      const std::optional<NicEvent> translated = Translate(event, port_);
      ibv_ack_async_event(&event);
      if (translated) Deliver(*translated);
      continue;
    }
    if (errno != EIO) return;  // EAGAIN: that was all
    // The device has gone, which its descriptor says from now on whenever it is asked.
    removed_ = true;
    for (Subscriber* subscriber : subscribers_) subscriber->StopWatching(context_->async_fd);
    Deliver({NicEvent::Kind::kDeviceRemoved});
  }
}

void VerbsEvents::Deliver(const NicEvent& event) {
  for (Subscriber* subscriber : subscribers_) subscriber->Give(event);
}

}  // namespace weft::rdma
