// SPDX-License-Identifier: Apache-2.0
//
// Reliable connections and memory windows of the simulated device. A request is cut into steps of
// up to kStepBytes, each a packet there and one back, of which kWindow may be under way; what is
// lost is asked for again from the oldest on (go-back-N), kRetries times. The responder executes
// steps in order and remembers the results of atomics, so that one that comes again does nothing
// twice.
//
// As with real devices: whoever is denied is told so once, and the other end's queue pair has then
// failed as well and says nothing more; so a denial that gets lost looks like a dead peer.

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "weft/transports/rdma/sim_nic.h"

namespace weft::rdma {
namespace {

constexpr uint32_t kStepBytes = 16384;
constexpr size_t kWindow = 8;  // steps
constexpr int64_t kRetryNs = 1'000'000;
constexpr int kRetries = 6;
constexpr size_t kSavedAtomics = 2 * kWindow;

// Of a step's packets; data follows. All within one process, so in the machine's byte order.
struct StepHeader {
  enum Kind : uint8_t { kRead, kWrite, kCompareSwap, kFetchAdd, kDone, kDenied } kind = kDone;
  uint32_t psn = 0;
  uint32_t key = 0;
  uint32_t bytes = 0;
  uint64_t address = 0;
  uint64_t compare = 0;
  uint64_t operand = 0;
};

class SimRcQueue;

class SimWindow final : public Window {
 public:
  explicit SimWindow(SimNic* nic) : nic_(nic) {}
  ~SimWindow() override { Unbind(); }
  uint32_t remote_key() const override { return key_; }

  // That of the next Bind(), known as soon as it is posted.
  void ChooseKey() { key_ = 0x8000'0000u | static_cast<uint32_t>(nic_->network().NextUnique()); }
  void Bind(SimRcQueue* queue, const RcRequest& request);
  void Unbind();
  // The memory, if all of it may be reached so.
  uint8_t* At(uint64_t address, uint64_t bytes, StepHeader::Kind kind) const {
    const bool allowed = kind == StepHeader::kRead    ? scope_.remote_read
                         : kind == StepHeader::kWrite ? scope_.remote_write
                                                      : scope_.remote_atomic;
    if (!allowed || bytes > scope_.local.bytes || address < scope_.local.address ||
        address - scope_.local.address > scope_.local.bytes - bytes) {
      return nullptr;
    }
    return nic_->MemoryAt({address, static_cast<uint32_t>(bytes), scope_.local.local_key});
  }

 private:
  SimNic* const nic_;
  SimRcQueue* queue_ = nullptr;
  RcRequest scope_;
  uint32_t key_ = 0;
  uint32_t bound_key_ = 0;
};

class SimRcQueue final : public RcQueue, public SimQueuePair {
 public:
  SimRcQueue(SimNic* nic, uint32_t slots, std::shared_ptr<SimCompletions> completions)
      : nic_(nic), slots_(slots), completions_(std::move(completions)) {
    address_ = {.gid = nic->gid(), .qpn = nic->AddQueuePair(this)};
    address_.psn = static_cast<uint32_t>(nic->network().NextUnique() * 7919) & 0xffffff;
  }
  ~SimRcQueue() override {
    assert(windows_.empty());  // see Window in nic.h
    StopTimer();
    nic_->RemoveQueuePair(address_.qpn);
  }

  QueueAddress address() const override { return address_; }
  absl::Status Connect(const QueueAddress& to) override;
  bool failed() const override { return failed_; }
  size_t Post(absl::Span<const RcRequest> requests) override;
  void OnPacket(const Gid& from, uint32_t from_qpn, uint32_t qkey,
                absl::Span<const uint8_t> body) override;
  void OnRemoved() override { Fail(RcCompletion::Result::kFlushed); }

 private:
  friend class SimWindow;
  struct Entry {
    RcRequest request;
    uint64_t sent_bytes = 0;
    uint64_t done_bytes = 0;
    bool done = false;
    bool atomic() const {
      return request.kind == RcRequest::Kind::kCompareSwap ||
             request.kind == RcRequest::Kind::kFetchAdd;
    }
    bool local() const {
      return request.kind == RcRequest::Kind::kBind || request.kind == RcRequest::Kind::kInvalidate;
    }
  };
  struct Step {
    uint32_t psn;
    uint64_t entry;  // counted from the first ever
    StepHeader::Kind kind;
    uint64_t offset;
    uint32_t bytes;
  };

  Entry& EntryOf(const Step& step) { return entries_[step.entry - first_entry_]; }
  void Flush(uint64_t context);
  void Advance();
  bool Begin(Entry& entry);
  bool SendSteps(Entry& entry, uint64_t number);
  void Transmit(const Step& step);
  void Reply(const StepHeader& reply, const void* data, size_t bytes);
  void OnStep(const StepHeader& step, absl::Span<const uint8_t> data);
  void OnAtomic(const StepHeader& step, uint8_t* memory);
  void OnReply(const StepHeader& reply, absl::Span<const uint8_t> data);
  void Finish(const Step& step, absl::Span<const uint8_t> data);
  void PopDone();
  void Fail(RcCompletion::Result result);
  void StartTimer();
  void StopTimer() { nic_->network().events().Cancel(std::exchange(timer_, {})); }
  void OnTimer();

  SimNic* const nic_;
  const uint32_t slots_;
  const std::shared_ptr<SimCompletions> completions_;
  QueueAddress address_;
  QueueAddress remote_;
  bool connected_ = false;
  bool failed_ = false;
  absl::flat_hash_map<uint32_t, SimWindow*> windows_;  // bound here, by key

  // As requester.
  std::deque<Entry> entries_;
  uint64_t first_entry_ = 0;
  uint64_t next_entry_ = 0;  // the one to begin, or to go on with
  std::deque<Step> unanswered_;
  uint32_t next_psn_ = 0;
  int retries_ = 0;
  sim::EventQueue::Id timer_;
  // As responder.
  uint32_t expected_psn_ = 0;
  std::array<std::pair<uint32_t, uint64_t>, kSavedAtomics> saved_ = {};  // psn, old value
  size_t next_saved_ = 0;
};

void SimWindow::Bind(SimRcQueue* queue, const RcRequest& request) {
  Unbind();
  queue_ = queue;
  scope_ = request;
  bound_key_ = key_;
  queue_->windows_[bound_key_] = this;
}

void SimWindow::Unbind() {
  if (queue_ != nullptr) std::exchange(queue_, nullptr)->windows_.erase(bound_key_);
}

absl::Status SimRcQueue::Connect(const QueueAddress& to) {
  if (nic_->removed()) return absl::UnavailableError("the device is gone");
  StopTimer();
  remote_ = to;
  connected_ = true;
  failed_ = false;
  entries_.clear();
  unanswered_.clear();
  first_entry_ = next_entry_ = 0;
  retries_ = 0;
  next_psn_ = address_.psn;
  expected_psn_ = to.psn;
  saved_ = {};
  return absl::OkStatus();
}

size_t SimRcQueue::Post(absl::Span<const RcRequest> requests) {
  if (!connected_) return 0;
  size_t posted = 0;
  for (const RcRequest& request : requests) {
    if (entries_.size() >= slots_) break;
    ++posted;
    if (failed_) {
      Flush(request.context);
      continue;
    }
    if (request.kind == RcRequest::Kind::kBind) {
      static_cast<SimWindow*>(request.window)->ChooseKey();
    }
    entries_.push_back({.request = request});
  }
  if (!failed_) Advance();
  return posted;
}

void SimRcQueue::Flush(uint64_t context) {
  const RcCompletion flushed = {context, RcCompletion::Result::kFlushed};
  if (nic_->flush_ns() == 0) return completions_->ready.push_back(flushed);
  sim::EventQueue& events = nic_->network().events();
  events.At(events.now_ns() + nic_->flush_ns(),
            [completions = completions_, flushed] { completions->ready.push_back(flushed); });
}

// Goes on with what waits, in order.
void SimRcQueue::Advance() {
  while (next_entry_ - first_entry_ < entries_.size()) {
    Entry& entry = entries_[next_entry_ - first_entry_];
    if (entry.sent_bytes == 0 && !Begin(entry)) break;
    if (!entry.local() && !SendSteps(entry, next_entry_)) break;
    if (failed_) return;
    ++next_entry_;
  }
  PopDone();
  StartTimer();
}

// False: it has to wait for what is before it.
bool SimRcQueue::Begin(Entry& entry) {
  const auto waits = [](const Step& step) { return step.kind != StepHeader::kWrite; };
  if (entry.request.fence && std::any_of(unanswered_.begin(), unanswered_.end(), waits)) {
    return false;
  }
  if (!entry.local()) return true;
  auto* window = static_cast<SimWindow*>(entry.request.window);
  if (entry.request.kind == RcRequest::Kind::kBind) {
    window->Bind(this, entry.request);
  } else {
    window->Unbind();
  }
  entry.done = true;
  return true;
}

// False: the window is full.
bool SimRcQueue::SendSteps(Entry& entry, uint64_t number) {
  const uint32_t all = entry.atomic() ? 8 : entry.request.local.bytes;
  if (nic_->MemoryAt({entry.request.local.address, all, entry.request.local.local_key}) ==
      nullptr) {
    Fail(RcCompletion::Result::kError);
    return true;
  }
  while (entry.sent_bytes < all) {
    if (unanswered_.size() >= kWindow) return false;
    const auto bytes =
        static_cast<uint32_t>(std::min<uint64_t>(kStepBytes, all - entry.sent_bytes));
    const Step step = {next_psn_++, number, static_cast<StepHeader::Kind>(entry.request.kind),
                       entry.sent_bytes, bytes};
    unanswered_.push_back(step);
    entry.sent_bytes += bytes;
    Transmit(step);
  }
  return true;
}

void SimRcQueue::Transmit(const Step& step) {
  static_assert(static_cast<int>(RcRequest::Kind::kFetchAdd) == StepHeader::kFetchAdd);
  const RcRequest& request = EntryOf(step).request;
  const StepHeader header = {.kind = step.kind,
                             .psn = step.psn,
                             .key = request.remote_key,
                             .bytes = step.bytes,
                             .address = request.remote_address + step.offset,
                             .compare = request.compare,
                             .operand = request.operand};
  std::vector<uint8_t> body(sizeof(header));
  std::memcpy(body.data(), &header, sizeof(header));
  if (step.kind == StepHeader::kWrite) {
    const uint8_t* from =
        nic_->MemoryAt({request.local.address + step.offset, step.bytes, request.local.local_key});
    if (from == nullptr) return;
    body.insert(body.end(), from, from + step.bytes);
  }
  nic_->Transmit(remote_.gid, remote_.qpn, address_.qpn, /*qkey=*/0, body);
}

void SimRcQueue::OnPacket(const Gid& from, uint32_t from_qpn, uint32_t /*qkey*/,
                          absl::Span<const uint8_t> body) {
  StepHeader header;
  if (!connected_ || failed_ || from != remote_.gid || from_qpn != remote_.qpn ||
      body.size() < sizeof(header)) {
    return;
  }
  std::memcpy(&header, body.data(), sizeof(header));
  body.remove_prefix(sizeof(header));
  if (header.kind == StepHeader::kDone || header.kind == StepHeader::kDenied) {
    OnReply(header, body);
  } else {
    OnStep(header, body);
  }
}

void SimRcQueue::OnStep(const StepHeader& step, absl::Span<const uint8_t> data) {
  const auto ahead = static_cast<int32_t>(step.psn - expected_psn_);
  if (ahead > 0) return;  // one before it is missing
  const bool again = ahead < 0;
  StepHeader reply = {.kind = StepHeader::kDone, .psn = step.psn};
  if (again && step.kind != StepHeader::kRead) {
    for (const auto& [psn, old] : saved_) {
      if (psn == step.psn && step.kind != StepHeader::kWrite) reply.operand = old;
    }
    Reply(reply, nullptr, 0);
    return;
  }
  const auto window = windows_.find(step.key);
  uint8_t* const memory =
      window == windows_.end() ? nullptr : window->second->At(step.address, step.bytes, step.kind);
  if (memory == nullptr || (step.kind == StepHeader::kWrite && data.size() != step.bytes)) {
    reply.kind = StepHeader::kDenied;
    Reply(reply, nullptr, 0);
    nic_->FailQueue(address_.qpn);
    return;
  }
  if (!again) ++expected_psn_;
  if (step.kind == StepHeader::kRead) {
    Reply(reply, memory, step.bytes);
  } else if (step.kind == StepHeader::kWrite) {
    std::memcpy(memory, data.data(), data.size());
    Reply(reply, nullptr, 0);
  } else {
    OnAtomic(step, memory);
  }
}

void SimRcQueue::OnAtomic(const StepHeader& step, uint8_t* memory) {
  uint64_t old;
  std::memcpy(&old, memory, sizeof(old));
  const bool swap = step.kind == StepHeader::kCompareSwap;
  if (!swap || old == step.compare) {
    const uint64_t now = swap ? step.operand : old + step.operand;
    std::memcpy(memory, &now, sizeof(now));
  }
  saved_[next_saved_++ % kSavedAtomics] = {step.psn, old};
  Reply({.kind = StepHeader::kDone, .psn = step.psn, .operand = old}, nullptr, 0);
}

void SimRcQueue::Reply(const StepHeader& reply, const void* data, size_t bytes) {
  std::vector<uint8_t> body(sizeof(reply) + bytes);
  std::memcpy(body.data(), &reply, sizeof(reply));
  if (bytes > 0) std::memcpy(body.data() + sizeof(reply), data, bytes);
  nic_->Transmit(remote_.gid, remote_.qpn, address_.qpn, /*qkey=*/0, body);
}

void SimRcQueue::OnReply(const StepHeader& reply, absl::Span<const uint8_t> data) {
  if (unanswered_.empty()) return;
  const uint32_t before = reply.psn - unanswered_.front().psn;
  if (before >= unanswered_.size()) return;  // late
  // It says that all before it have been executed; of reads and atomics the results are missing.
  for (uint32_t i = 0; i < before; ++i) {
    if (unanswered_[i].kind != StepHeader::kWrite) return;
  }
  for (uint32_t i = 0; i < before; ++i) {
    Finish(unanswered_.front(), {});
    unanswered_.pop_front();
  }
  if (reply.kind == StepHeader::kDenied) {
    Fail(RcCompletion::Result::kDenied);
    return;
  }
  const Step step = unanswered_.front();
  unanswered_.pop_front();
  if (step.kind == StepHeader::kRead) {
    Finish(step, data);
  } else {
    Finish(step, {reinterpret_cast<const uint8_t*>(&reply.operand), 8});
  }
  if (failed_) return;
  retries_ = 0;
  StopTimer();
  Advance();
}

void SimRcQueue::Finish(const Step& step, absl::Span<const uint8_t> data) {
  Entry& entry = EntryOf(step);
  const uint32_t bytes = entry.atomic() ? 8 : step.bytes;
  if (step.kind != StepHeader::kWrite) {
    uint8_t* to = nic_->MemoryAt(
        {entry.request.local.address + step.offset, bytes, entry.request.local.local_key});
    if (to == nullptr || data.size() != bytes) {
      Fail(RcCompletion::Result::kError);
      return;
    }
    std::memcpy(to, data.data(), bytes);
  }
  entry.done_bytes += bytes;
  if (entry.done_bytes == (entry.atomic() ? 8 : entry.request.local.bytes)) entry.done = true;
}

void SimRcQueue::PopDone() {
  while (!entries_.empty() && entries_.front().done) {
    if (entries_.front().request.signalled) {
      completions_->ready.push_back({entries_.front().request.context});
    }
    entries_.pop_front();
    ++first_entry_;
  }
}

// The oldest that is not done ends so, and all behind it are flushed.
void SimRcQueue::Fail(RcCompletion::Result result) {
  if (failed_) return;
  failed_ = true;
  StopTimer();
  PopDone();
  for (const Entry& entry : entries_) {
    completions_->ready.push_back({entry.request.context, result});
    result = RcCompletion::Result::kFlushed;
  }
  first_entry_ += entries_.size();
  next_entry_ = first_entry_;
  entries_.clear();
  unanswered_.clear();
}

void SimRcQueue::StartTimer() {
  if (unanswered_.empty() || timer_ != sim::EventQueue::Id()) return;
  sim::EventQueue& events = nic_->network().events();
  timer_ = events.At(events.now_ns() + kRetryNs, [this] { OnTimer(); });
}

void SimRcQueue::OnTimer() {
  timer_ = {};
  if (unanswered_.empty()) return;
  if (++retries_ > kRetries) {
    Fail(RcCompletion::Result::kPeerLost);
    return;
  }
  for (const Step& step : unanswered_) Transmit(step);
  StartTimer();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RcQueue>> OpenSimRcQueue(
    SimNic* nic, const CompletionQueue::RcOptions& options,
    const std::shared_ptr<SimCompletions>& completions) {
  if (nic->removed()) return absl::UnavailableError("the device is gone");
  return std::make_unique<SimRcQueue>(nic, options.slots, completions);
}

absl::StatusOr<std::unique_ptr<Window>> OpenSimWindow(SimNic* nic) {
  if (nic->removed()) return absl::UnavailableError("the device is gone");
  return std::make_unique<SimWindow>(nic);
}

}  // namespace weft::rdma
