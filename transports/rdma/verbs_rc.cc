// SPDX-License-Identifier: Apache-2.0

#include "weft/transports/rdma/verbs_rc.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>

#include "absl/strings/str_cat.h"

namespace weft::rdma {
namespace {

constexpr uint32_t kPsnMask = 0xffffff;
constexpr uint8_t kNotReadyTimer = 12;  // 0.64 ms; no request of ours meets it

RcCompletion::Result ResultOf(ibv_wc_status status, bool is_software) {
  switch (status) {
    case IBV_WC_LOC_QP_OP_ERR:
      // Soft-RoCE says so when there is no route to the other end.
      return is_software ? RcCompletion::Result::kPeerLost : RcCompletion::Result::kError;
    case IBV_WC_SUCCESS:
      return RcCompletion::Result::kOk;
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
      return RcCompletion::Result::kDenied;
    case IBV_WC_WR_FLUSH_ERR:
      return RcCompletion::Result::kFlushed;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
      return RcCompletion::Result::kPeerLost;
    default:
      return RcCompletion::Result::kError;
  }
}

}  // namespace

VerbsRcQueue::VerbsRcQueue(VerbsCompletionQueue& completions, uint32_t number, uint32_t slots)
    : completions_(completions),
      device_(completions.device()),
      number_(number),
      slots_(slots),
      slots_in_use_(std::bit_ceil(slots)) {
  for (size_t i = 0; i < kBurst; ++i) {
    work_[i].next = i + 1 < kBurst ? &work_[i + 1] : nullptr;
    work_[i].sg_list = &pieces_[i];
  }
}

absl::StatusOr<std::unique_ptr<VerbsRcQueue>> VerbsRcQueue::Open(
    VerbsCompletionQueue& completions, uint32_t number, const CompletionQueue::RcOptions& options) {
  const auto slots_max = static_cast<uint32_t>(completions.device().attributes().max_qp_wr);
  if (options.slots == 0 || options.slots > slots_max) {
    return absl::InvalidArgumentError(absl::StrCat("a connection of the device has 1 to ",
                                                   slots_max, " slots, not ", options.slots));
  }
  auto queue = std::unique_ptr<VerbsRcQueue>(new VerbsRcQueue(completions, number, options.slots));
  if (absl::Status status = queue->Prepare(); !status.ok()) return status;
  return queue;
}

absl::Status VerbsRcQueue::Prepare() {
  ibv_qp_init_attr init = {};
  init.send_cq = init.recv_cq = completions_.connections_cq();
  init.qp_type = IBV_QPT_RC;
  // Nothing is received, but a queue of none is not to every driver's taste.
  init.cap = {.max_send_wr = slots_,
              .max_recv_wr = 1,
              .max_send_sge = 1,
              .max_recv_sge = 1,
              .max_inline_data = static_cast<uint32_t>(device_.limits().inline_bytes)};
  pair_.reset(ibv_create_qp(device_.domain(), &init));
  if (pair_ == nullptr) {
    return VerbsError(absl::StrCat("cannot make a connection of ", slots_, " slots"), errno);
  }
  inline_bytes_ =
      std::min(init.cap.max_inline_data, static_cast<uint32_t>(device_.limits().inline_bytes));
  address_ = device_.AddressOf(pair_.get());
  address_.psn = RandomBits() & kPsnMask;
  address_.reads_in_flight = static_cast<uint8_t>(device_.limits().reads_in_flight);
  return ToInitialized();
}

absl::Status VerbsRcQueue::ToInitialized() {
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = device_.port();
  attributes.qp_access_flags =
      IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
  const int error =
      ibv_modify_qp(pair_.get(), &attributes,
                    IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error == 0) return absl::OkStatus();
  return VerbsError("cannot initialize a connection", error);
}

absl::Status VerbsRcQueue::Reset() {
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_RESET;
  const int error = ibv_modify_qp(pair_.get(), &attributes, IBV_QP_STATE);
  if (error != 0) return VerbsError("cannot reset a connection", error);
  // What is complete is told under the old numbers; what is not never will be.
  completions_.TakeAll();
  for (VerbsWindow* window : windows_) window->is_bound = !HasLetGo(*window);
  completed_ = posted_;
  unsignalled_ = 0;
  has_failed_ = is_connected_ = false;
  return ToInitialized();
}

bool VerbsRcQueue::failed() const {
  if (has_failed_ || !is_connected_) return has_failed_;
  ibv_qp_attr attributes;
  ibv_qp_init_attr init;
  return ibv_query_qp(pair_.get(), &attributes, IBV_QP_STATE, &init) != 0 ||
         attributes.qp_state == IBV_QPS_ERR || attributes.qp_state == IBV_QPS_SQE;
}

bool VerbsWindow::Renew() {
  SetHome(nullptr);
  is_bound = false;
  window_.reset(ibv_alloc_mw(domain_, IBV_MW_TYPE_2));
  return window_ != nullptr;
}

void VerbsWindow::SetHome(VerbsRcQueue* new_home) {
  if (home == new_home) return;
  if (home != nullptr) {
    std::vector<VerbsWindow*>& list = home->windows_;
    list.back()->index = index;
    list[index] = list.back();
    list.pop_back();
  }
  home = new_home;
  if (home == nullptr) return;
  index = home->windows_.size();
  home->windows_.push_back(this);
}

bool VerbsRcQueue::HasLetGo(const VerbsWindow& window) const {
  return !window.is_bound && !has_failed_ &&
         static_cast<int32_t>(completed_ - window.invalidated_at) > 0;
}

VerbsRcQueue::~VerbsRcQueue() {
  while (!windows_.empty()) {
    VerbsWindow* window = windows_.back();
    if (HasLetGo(*window)) {
      window->SetHome(nullptr);
    } else {
      window->Renew();
    }
  }
  pair_.reset();
  completions_.Remove(this, number_, slots_);
}

absl::Status VerbsRcQueue::Connect(const QueueAddress& to) {
  if (is_connected_ || has_failed_) {
    if (absl::Status status = Reset(); !status.ok()) return status;
  }
  is_connected_ = true;  // or half so, which a reset cures as well
  const NicLimits& limits = device_.limits();
  size_t mtu_bytes = limits.path_mtu_bytes;
  if (to.path_mtu_bytes != 0) mtu_bytes = std::min<size_t>(mtu_bytes, to.path_mtu_bytes);
  ibv_qp_attr attributes = {};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.ah_attr = device_.RouteTo(to);
  attributes.path_mtu = ToVerbsMtu(mtu_bytes);
  attributes.dest_qp_num = to.qpn;
  attributes.rq_psn = to.psn & kPsnMask;
  attributes.max_dest_rd_atomic = address_.reads_in_flight;
  attributes.min_rnr_timer = kNotReadyTimer;
  int error = ibv_modify_qp(pair_.get(), &attributes,
                            IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) return VerbsError("cannot connect (ready to receive)", error);

  // 7 retries would be for ever on some devices.
  const auto retries = static_cast<uint8_t>(std::min(device_.settings().retry_count(), 6u));
  attributes.qp_state = IBV_QPS_RTS;
  attributes.timeout = static_cast<uint8_t>(device_.settings().ack_timeout());
  attributes.retry_cnt = retries;
  attributes.rnr_retry = retries;
  attributes.sq_psn = address_.psn;
  // More than the other end answers at once would be an error to it.
  attributes.max_rd_atomic = address_.reads_in_flight;
  if (to.reads_in_flight != 0 && to.reads_in_flight < attributes.max_rd_atomic) {
    attributes.max_rd_atomic = to.reads_in_flight;
  }
  error = ibv_modify_qp(pair_.get(), &attributes,
                        IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                            IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  if (error != 0) return VerbsError("cannot connect (ready to send)", error);
  return absl::OkStatus();
}

size_t VerbsRcQueue::Post(absl::Span<const RcRequest> requests) {
  size_t taken = 0;
  bool refused = false;
  while (taken < requests.size() && !refused) {
    const size_t room = slots_ - (posted_ - completed_);
    const size_t count = std::min({requests.size() - taken, room, kBurst});
    if (count == 0) break;
    taken += PostBurst(requests.subspan(taken, count), &refused);
  }
  return taken;
}

size_t VerbsRcQueue::PostBurst(absl::Span<const RcRequest> requests, bool* refused) {
  const uint32_t signal_every = std::max(slots_ / 2, 1u);
  size_t count = 0;
  for (; count < requests.size(); ++count) {
    const RcRequest& request = requests[count];
    ibv_send_wr& work = work_[count];
    if (!Fill(request, work, pieces_[count])) break;
    const bool silent = !request.signalled;
    unsignalled_ = silent ? unsignalled_ + 1 : 0;
    work.send_flags |= request.fence ? unsigned{IBV_SEND_FENCE} : 0;
    if (!silent || unsignalled_ >= signal_every) {
      work.send_flags |= IBV_SEND_SIGNALED;
      unsignalled_ = 0;
    }
    const uint32_t sequence = posted_ + static_cast<uint32_t>(count);
    work.wr_id = VerbsCompletionQueue::WorkId(number_, sequence);
    slots_in_use_[sequence & (slots_in_use_.size() - 1)] = {request.context, silent};
  }
  size_t posted = 0;
  if (count > 0) {
    ibv_send_wr* const next = std::exchange(work_[count - 1].next, nullptr);
    ibv_send_wr* bad = nullptr;
    const int error = ibv_post_send(pair_.get(), work_.data(), &bad);
    work_[count - 1].next = next;
    posted = error == 0 ? count : static_cast<size_t>(bad - work_.data());
  }
  // What stopped at a window that is part of this burst goes on with the next one.
  *refused = posted < count || count == 0;
  for (size_t i = 0; i < count; ++i) {
    if (requests[i].window == nullptr) continue;
    static_cast<VerbsWindow*>(requests[i].window)->is_posted = false;
    if (i < posted) NoteWindow(requests[i], work_[i], posted_ + static_cast<uint32_t>(i));
  }
  if (posted < count) unsignalled_ = slots_;  // the signalled ones may be among those refused
  posted_ += static_cast<uint32_t>(posted);
  return posted;
}

bool VerbsRcQueue::Fill(const RcRequest& request, ibv_send_wr& work, ibv_sge& piece) {
  work.num_sge = 1;
  work.send_flags = 0;
  work.imm_data = 0;  // Soft-RoCE's library refuses a bind that has any
  piece = {request.local.address, request.local.bytes, request.local.local_key};
  switch (request.kind) {
    case RcRequest::Kind::kRead:
    case RcRequest::Kind::kWrite:
      work.opcode = request.kind == RcRequest::Kind::kRead ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
      if (request.kind == RcRequest::Kind::kWrite && request.local.bytes <= inline_bytes_) {
        work.send_flags = IBV_SEND_INLINE;
      }
      work.wr.rdma.remote_addr = request.remote_address;
      work.wr.rdma.rkey = request.remote_key;
      return true;
    case RcRequest::Kind::kCompareSwap:
    case RcRequest::Kind::kFetchAdd:
      work.opcode = request.kind == RcRequest::Kind::kCompareSwap ? IBV_WR_ATOMIC_CMP_AND_SWP
                                                                  : IBV_WR_ATOMIC_FETCH_AND_ADD;
      piece.length = sizeof(uint64_t);
      work.wr.atomic.remote_addr = request.remote_address;
      work.wr.atomic.rkey = request.remote_key;
      work.wr.atomic.compare_add =
          request.kind == RcRequest::Kind::kCompareSwap ? request.compare : request.operand;
      work.wr.atomic.swap = request.operand;
      return true;
    case RcRequest::Kind::kBind:
    case RcRequest::Kind::kInvalidate:
      return FillWindow(request, work);
  }
  return false;
}

bool VerbsRcQueue::FillWindow(const RcRequest& request, ibv_send_wr& work) {
  auto* window = static_cast<VerbsWindow*>(request.window);
  // Its key changes when it is posted, so it can be in a burst once.
  if (window->is_posted) return false;
  work.num_sge = 0;
  if (request.kind == RcRequest::Kind::kInvalidate) {
    assert(window->home == this && window->is_bound && "bound by this connection");
    if (window->home != this || !window->is_bound) return false;
    work.opcode = IBV_WR_LOCAL_INV;
    work.invalidate_rkey = window->get()->rkey;
    window->is_posted = true;
    return true;
  }
  if (!device_.FindByKey(request.local.local_key, request.local.address, request.local.bytes,
                         memory_)) {
    return false;
  }
  // Requests of one connection are worked off in order; of others one has to know.
  const bool is_free = window->get() != nullptr &&
                       (window->home == nullptr || (window->home == this && !window->is_bound) ||
                        window->home->HasLetGo(*window));
  if (!is_free && !window->Renew()) return false;
  work.opcode = IBV_WR_BIND_MW;
  work.bind_mw.mw = window->get();
  work.bind_mw.rkey = ibv_inc_rkey(window->get()->rkey);
  work.bind_mw.bind_info.mr = memory_.region;
  work.bind_mw.bind_info.addr = request.local.address;
  work.bind_mw.bind_info.length = request.local.bytes;
  work.bind_mw.bind_info.mw_access_flags =
      (request.remote_read ? unsigned{IBV_ACCESS_REMOTE_READ} : 0) |
      (request.remote_write ? unsigned{IBV_ACCESS_REMOTE_WRITE} : 0) |
      (request.remote_atomic ? unsigned{IBV_ACCESS_REMOTE_ATOMIC} : 0);
  window->is_posted = true;
  return true;
}

void VerbsRcQueue::NoteWindow(const RcRequest& request, const ibv_send_wr& work,
                              uint32_t sequence) {
  auto* window = static_cast<VerbsWindow*>(request.window);
  window->is_bound = request.kind == RcRequest::Kind::kBind;
  if (window->is_bound) {
    window->SetHome(this);
    // libibverbs does so in its call to bind, but not for work requests.
    window->get()->rkey = work.bind_mw.rkey;
  } else {
    window->invalidated_at = sequence;
  }
}

bool VerbsRcQueue::Complete(const ibv_wc& completion, RcCompletion& result) {
  const auto sequence = static_cast<uint32_t>(completion.wr_id);
  completed_ = sequence + 1;
  if (completion.status != IBV_WC_SUCCESS) has_failed_ = true;
  const Slot& slot = slots_in_use_[sequence & (slots_in_use_.size() - 1)];
  if (slot.silent && completion.status == IBV_WC_SUCCESS) return false;
  result = {slot.context, ResultOf(completion.status, device_.limits().is_software)};
  return true;
}

}  // namespace weft::rdma
