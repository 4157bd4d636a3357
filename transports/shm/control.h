// SPDX-License-Identifier: Apache-2.0
//
// What a port does beside its data path: accepts connections, takes their handshakes, and notices
// what the sockets of its sessions have to say.
//
// While a port is polled this must cost next to nothing, so sockets are looked at only every
// kCheckNs, and the clock only every kPollsPerClock polls. A port that sleeps is woken by
// wait_fd().
#ifndef WEFT_TRANSPORTS_SHM_CONTROL_H_
#define WEFT_TRANSPORTS_SHM_CONTROL_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "weft/core/unique_fd.h"
#include "weft/transports/shm/rendezvous.h"
#include "weft/transports/shm/session.h"

namespace weft::shm {

class ControlHandler {
 public:
  // A peer has connected to queue `queue` of `listener`: moves the session away and returns 0, or
  // returns the errno to refuse it with.
  virtual int OnSession(Session& session, const std::shared_ptr<Listener>& listener, int queue) = 0;
  // The socket watched as `token` has notices, or has ended.
  virtual void OnReadable(uint32_t token) = 0;

 protected:
  ~ControlHandler() = default;
};

class Control {
 public:
  static constexpr int64_t kCheckNs = 200'000;
  static constexpr uint32_t kPollsPerClock = 256;
  // Accepted connections that have not said hello: when there are more, the oldest goes.
  static constexpr size_t kMaxHalfOpen = 16;
  static constexpr int64_t kHelloTimeoutNs = 1'000'000'000;

  static absl::StatusOr<std::unique_ptr<Control>> Create(ControlHandler* handler, Contract contract,
                                                         uint32_t ring_bytes_max);
  ~Control();

  int wait_fd() const { return epoll_.get(); }

  // Accepts from `listener` as its queue `queue`, which must have been taken.
  absl::Status Listen(std::shared_ptr<Listener> listener, int queue);

  absl::Status Watch(int socket, uint32_t token);
  void Unwatch(int socket);

  // On each poll: looks at the sockets if it is time.
  void MaybeCheck() {
    if (--polls_left_ == 0) [[unlikely]]
      CheckIfDue();
  }
  // Makes the next MaybeCheck() look.
  void CheckSoon() {
    polls_left_ = 1;
    last_check_ns_ = INT64_MIN / 2;
  }
  void Check();

 private:
  struct Listening {
    std::shared_ptr<Listener> listener;
    int queue;
    bool waited = false;  // let others with fewer peers go first, once
  };
  struct HalfOpen {
    UniqueFd socket;
    size_t listening;
    uint32_t id;
    int64_t deadline_ns;
  };

  Control(ControlHandler* handler, Contract contract, uint32_t ring_bytes_max, UniqueFd epoll);
  void CheckIfDue();
  void Accept(size_t listening);
  UniqueFd AcceptOne(int listener);
  // False when it is settled, for better or worse.
  bool StillHalfOpen(HalfOpen& half_open);
  void OnHalfOpen(uint32_t id);
  absl::Status Add(int fd, uint64_t data);

  ControlHandler* const handler_;
  const Contract contract_;
  const uint32_t ring_bytes_max_;
  UniqueFd epoll_;
  UniqueFd spare_;  // given up to accept and refuse when there are no descriptors left
  uint32_t polls_left_ = 1;
  int64_t last_check_ns_ = INT64_MIN / 2;
  std::vector<Listening> listening_;
  std::deque<HalfOpen> half_open_;
  uint32_t next_half_open_id_ = 0;
};

}  // namespace weft::shm

#endif  // WEFT_TRANSPORTS_SHM_CONTROL_H_
