// SPDX-License-Identifier: Apache-2.0
//
// How much one connection may have in the network at once (RFC 5681). The rules of an algorithm are
// a stateless object that all connections share; what it remembers of one connection is a
// CongestionState of 64 bytes within that connection.
//
//   cubic     RFC 9438, with HyStart++ (RFC 9406). For the Internet; the default.
//   new_reno  RFC 5681, counting bytes (RFC 3465). The yardstick of the others.
//   dctcp     RFC 8257. For networks whose switches mark packets by ECN at a low threshold.
//
//   absl::StatusOr<const CongestionAlgorithm*> algorithm = FindCongestionAlgorithm("cubic");
//   CongestionState state;
//   state.Start(**algorithm, mss, options.initial_window_packets);
//   ...
//   state.OnAck({.now_ns = now_ns, .acked_bytes = acked, ...});
//   const bool may_send = in_flight + piece <= state.cwnd_bytes;
//
// Who finds losses, steers the window through a recovery and notices that a recovery was not needed
// is LossDetection (tcp/loss_detection.h): algorithms say what the window falls to and how it
// grows.
//
// A new algorithm is a CongestionAlgorithm with static storage and a line in a .cc file with
// `alwayslink`:
//
//   const absl::Status registered = RegisterCongestionAlgorithm(&my_algorithm);
#ifndef WEFT_TCP_CONGESTION_CONGESTION_CONTROL_H_
#define WEFT_TCP_CONGESTION_CONGESTION_CONTROL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/tcp/seq.h"

namespace weft::tcp {

class CongestionAlgorithm;

// What acknowledgements said, and when nothing is being recovered (or after a timeout, when the
// window grows again).
struct AckSample {
  int64_t now_ns = 0;
  // Delivered for the first time, by cumulative or selective acknowledgement.
  uint32_t acked_bytes = 0;
  // Of these, bytes that came with an ECN echo (RFC 3168; exact with DCTCP's echo, RFC 8257, 3.2).
  uint32_t ecn_bytes = 0;
  // A round trip, the least of those that the acknowledgement gave; 0 or less: unknown.
  int64_t rtt_ns = 0;
  int64_t srtt_ns = 0;  // smoothed (RFC 6298); 0: no sample yet
  uint32_t mss = 0;     // bytes of payload of a full segment, at least 1
  // Whether it was the window that limited what was sent when these bytes were sent. A window that
  // is not used says nothing about the path and does not grow (RFC 7661, RFC 9438, 5.8).
  bool cwnd_limited = false;
  Seq una = {};   // the first byte that is not acknowledged, now
  Seq next = {};  // the first byte that has never been sent
};

// What a loss, a timeout or an ECN echo found.
struct CongestionEvent {
  int64_t now_ns = 0;
  uint32_t in_flight_bytes = 0;  // sent and not acknowledged, lost bytes included (FlightSize)
  uint32_t mss = 0;
  Seq next = {};  // the first byte that has never been sent
};

// A plain value: a copy of it is what undoes a reduction. One thread.
struct CongestionState {
  static constexpr uint32_t kNoThreshold = 0x7fff'ffff;
  static constexpr uint32_t kWindowMaxBytes = 1 << 30;  // no peer can offer more (RFC 7323, 2.2)

  uint32_t cwnd_bytes = 0;
  uint32_t ssthresh_bytes = kNoThreshold;  // below it the window doubles each round trip
  const CongestionAlgorithm* algorithm = nullptr;
  alignas(8) std::byte own[48] = {};  // the algorithm's, by Own<T>()

  bool in_slow_start() const { return cwnd_bytes < ssthresh_bytes; }

  // Begins anew, with a window of `initial_window_packets` segments (RFC 6928: 10). `algorithm`
  // outlives the state.
  inline void Start(const CongestionAlgorithm& algorithm, uint32_t mss,
                    uint32_t initial_window_packets);
  // Another algorithm from here on; the window and the threshold stay.
  inline void Use(const CongestionAlgorithm& algorithm, uint32_t mss);

  // Calls of the algorithm; see there.
  inline void OnAck(const AckSample& sample);
  inline void OnLoss(const CongestionEvent& event);
  inline void OnTimeout(const CongestionEvent& event);
  inline void OnEcn(const CongestionEvent& event);

  // The reduction since `before` was copied was not needed (RFC 4015, RFC 9438, 4.9): everything is
  // as it was, the window at least.
  void Undo(const CongestionState& before);

  // Nothing was sent for `idle_ns`, longer than a retransmission timeout: what the window said is
  // old, so it begins anew at the initial window (RFC 5681, 4.1). The threshold remembers three
  // quarters of it, so that it is soon back (RFC 7661, 4.4).
  void AfterIdle(uint32_t mss, uint32_t initial_window_packets);

  // What an algorithm remembers. T is trivially copyable and zero bytes are a valid T.
  template <typename T>
  T& Own() {
    static_assert(sizeof(T) <= sizeof(own) && alignof(T) <= 8);
    static_assert(std::is_trivially_copyable_v<T>);
    return *std::launder(reinterpret_cast<T*>(own));
  }
  template <typename T>
  const T& Own() const {
    return const_cast<CongestionState*>(this)->Own<T>();
  }

  void SetWindow(uint64_t bytes) {
    cwnd_bytes = static_cast<uint32_t>(std::min<uint64_t>(bytes, kWindowMaxBytes));
  }
};
static_assert(sizeof(CongestionState) == 64, "there may be millions of them");

// The rules. Stateless; any thread.
class CongestionAlgorithm {
 public:
  virtual ~CongestionAlgorithm() = default;

  // By which it is chosen: [a-z0-9_]+.
  virtual absl::string_view name() const = 0;

  // Whether the receiver of a connection with this algorithm echoes CE marks exactly, one for one
  // (RFC 8257, 3.2), rather than until the sender has reacted (RFC 3168, 6.1.3).
  virtual bool exact_ecn() const { return false; }

  // Makes Own<T>(). The windows are set.
  virtual void Init(CongestionState& state, uint32_t mss) const = 0;

  // Grows the window. Called for each acknowledgement that delivers bytes, except during recovery
  // and while an ECN reduction is under way; see OnAckInRecovery().
  virtual void OnAck(CongestionState& state, const AckSample& sample) const = 0;

  // As OnAck(), but the window is not to be touched.
  virtual void OnAckInRecovery(CongestionState& /*state*/, const AckSample& /*sample*/) const {}

  // Sets ssthresh_bytes, at least 2 segments; cwnd_bytes is led there by the caller. Once for each
  // window of data in which something was lost.
  virtual void OnLoss(CongestionState& state, const CongestionEvent& event) const = 0;

  // As OnLoss(), before cwnd_bytes is set to one segment. Not for a timeout of what has been sent
  // again already (RFC 5681, 3.1).
  virtual void OnTimeout(CongestionState& state, const CongestionEvent& event) const = 0;

  // As OnLoss(), for a peer that echoes a mark; once for each window of data (RFC 3168, 6.1.2).
  virtual void OnEcn(CongestionState& state, const CongestionEvent& event) const = 0;
};

inline void CongestionState::Start(const CongestionAlgorithm& chosen, uint32_t mss,
                                   uint32_t initial_window_packets) {
  SetWindow(uint64_t{mss} * initial_window_packets);
  ssthresh_bytes = kNoThreshold;
  Use(chosen, mss);
}

inline void CongestionState::Use(const CongestionAlgorithm& chosen, uint32_t mss) {
  algorithm = &chosen;
  std::fill(std::begin(own), std::end(own), std::byte{0});
  chosen.Init(*this, mss);
}

inline void CongestionState::OnAck(const AckSample& sample) { algorithm->OnAck(*this, sample); }

inline void CongestionState::OnLoss(const CongestionEvent& event) {
  algorithm->OnLoss(*this, event);
}

inline void CongestionState::OnTimeout(const CongestionEvent& event) {
  algorithm->OnTimeout(*this, event);
}

inline void CongestionState::OnEcn(const CongestionEvent& event) { algorithm->OnEcn(*this, event); }

// Thread-safe. NotFound says which names there are.
absl::StatusOr<const CongestionAlgorithm*> FindCongestionAlgorithm(absl::string_view name);

// In order of the alphabet.
std::vector<std::string> CongestionAlgorithmNames();

// Adds one to those that can be found; it lives until the end of the program. AlreadyExists for a
// name that is taken, InvalidArgument for one that is not [a-z0-9_]+. Thread-safe.
absl::Status RegisterCongestionAlgorithm(const CongestionAlgorithm* algorithm);

}  // namespace weft::tcp

#endif  // WEFT_TCP_CONGESTION_CONGESTION_CONTROL_H_
