// SPDX-License-Identifier: Apache-2.0
//
// The half of a session that asks.
#include <algorithm>

#include "weft/core/bytes.h"
#include "weft/transports/remote_memory/session.h"
#include "weft/transports/remote_memory/word_copy.h"

namespace weft::emulated {
namespace {

// Answers are acknowledged by the next request, or else after so long.
constexpr int64_t kAckDelayNs = 1'000'000;
// Answers to later requests after which one counts as lost (RFC 5681, 3.2).
constexpr uint8_t kOvertakenMax = 3;

absl::StatusCode CodeOf(Result result) {
  switch (result) {
    case Result::kOk:
      return absl::StatusCode::kOk;
    case Result::kDenied:
      return absl::StatusCode::kPermissionDenied;
    case Result::kCrooked:
      break;
  }
  return absl::StatusCode::kInvalidArgument;
}

}  // namespace

void Session::Begin(const Ends& ends, int64_t now_ns) {
  Forget();
  ends_ = ends;
  up_ = true;
  heard_ns_ = progress_ns_ = now_ns;
  requests_.assign(ends.window, {});
  answers_.resize(ends.window);
  congestion_window_ = ends.window;
  first_ = next_ = expected_ = forgotten_ = 0;
  answered_in_window_ = retries_ = 0;
  ack_ns_ = INT64_MAX;
  rtt_ = {};
}

void Session::End(absl::StatusCode code) {
  up_ = false;
  for (OperationList* list : {&begun_, &waiting_}) {
    while (!list->empty()) {
      Operation* const operation = list->Pop();
      operation->completion.code = code;
      shared_.operations->End(operation);
    }
  }
  Forget();
}

void Session::Pump(int64_t now_ns) {
  if (!up_) return;
  while (wants_to_send() && BeginPiece(now_ns)) {
  }
}

// The next piece of the first operation that waits.
bool Session::BeginPiece(int64_t now_ns) {
  Operation* const operation = waiting_.first();
  const size_t header =
      operation->action == Action::kRead ? kResponseHeaderBytes : kRequestHeaderBytes;
  // Pieces of multiples of 8 bytes keep the alignment of what is behind them.
  const uint32_t room = static_cast<uint32_t>(ends_.packet_max - header) & ~uint32_t{7};
  const Request request = {.operation = operation,
                           .piece_offset = operation->cut,
                           .piece_bytes = std::min(operation->bytes - operation->cut, room)};
  if (!BeginRequest(request, now_ns)) return false;
  operation->cut += request.piece_bytes;
  ++operation->unanswered;
  if (operation->cut == operation->bytes) begun_.Push(waiting_.Pop());
  return true;
}

bool Session::BeginRequest(const Request& request, int64_t now_ns) {
  RequestAt(next_) = request;
  if (!SendRequest(next_, now_ns)) return false;
  if (unanswered() == 0) progress_ns_ = now_ns;
  ++next_;
  return true;
}

bool Session::SendRequest(uint32_t number, int64_t now_ns) {
  Request& request = RequestAt(number);
  Buffer buffer = shared_.outbox->Allocate();
  if (!buffer) return false;
  Packet packet = {.kind = Kind::kRequest,
                   .token = ends_.token,
                   .index = ends_.index,
                   .sequence = number,
                   .answered_below = first_};
  if (const Operation* const operation = request.operation; operation != nullptr) {
    packet.key = operation->key;
    packet.action = operation->action;
    packet.offset = operation->offset;
    packet.bytes = operation->bytes;
    packet.piece_offset = request.piece_offset;
    packet.piece_bytes = request.piece_bytes;
    packet.compare = operation->compare;
    packet.operand = operation->operand;
    if (operation->action == Action::kWrite) packet.data = SpaceFor(request.piece_bytes);
  }
  Append(packet, &buffer);
  if (packet.action == Action::kWrite) {
    // Others may write to it against the rules: what the checksum covers must be what is sent.
    CopyFromShared(DataOf(buffer).data(), request.operation->local + request.piece_offset,
                   request.piece_bytes);
    Seal(&buffer);
    ++shared_.port_stats->copied_buffers;
    shared_.port_stats->copied_bytes += request.piece_bytes;
  }
  shared_.outbox->Add(ends_.peer, std::move(buffer));
  request.sent_ns = now_ns;
  ack_ns_ = INT64_MAX;
  return true;
}

void Session::OnResponse(const Packet& response, int64_t now_ns) {
  heard_ns_ = now_ns;
  const uint32_t ahead = response.sequence - first_;
  if (ahead >= unanswered() || RequestAt(response.sequence).answered) {
    ++shared_.stats->old_answers;
    return;
  }
  Request& request = RequestAt(response.sequence);
  if (!Accept(response, &request)) {
    ++shared_.port_stats->receive_malformed;
    return;
  }
  if (!request.again) rtt_.Add(shared_.rtt, now_ns, now_ns - request.sent_ns);
  request.answered = true;
  retries_ = 0;
  progress_ns_ = now_ns;
  ack_ns_ = std::min(ack_ns_, now_ns + kAckDelayNs);
  if (ahead > 0) OnOvertaken(response.sequence, now_ns);
  OnAnswered();
}

// Takes over what `response` says. False: it does not answer this request.
bool Session::Accept(const Packet& response, Request* request) {
  Operation* const operation = request->operation;
  if (operation == nullptr) return response.data.empty();
  const bool ok = response.result == Result::kOk;
  size_t expected = 0;
  if (ok && operation->action == Action::kRead) expected = request->piece_bytes;
  const bool atomic =
      operation->action == Action::kCompareSwap || operation->action == Action::kFetchAdd;
  if (ok && atomic) expected = sizeof(uint64_t);
  if (response.data.size() != expected) return false;
  --operation->unanswered;
  if (!ok) {
    operation->completion.code = CodeOf(response.result);
  } else if (atomic) {
    operation->completion.old_value = LoadBig64(response.data.data());
  } else if (expected > 0) {
    CopyToShared(operation->local + request->piece_offset, response.data.data(), expected);
    ++shared_.port_stats->copied_buffers;
    shared_.port_stats->copied_bytes += expected;
  }
  return true;
}

// Requests before `number` are not answered, though it is: they, or their answers, may be lost.
void Session::OnOvertaken(uint32_t number, int64_t now_ns) {
  for (uint32_t earlier = first_; earlier != number; ++earlier) {
    Request& request = RequestAt(earlier);
    if (request.answered || request.again || ++request.overtaken < kOvertakenMax) continue;
    if (!SendRequest(earlier, now_ns)) return;
    request.again = true;
    ++shared_.stats->sent_again;
  }
}

// Moves the window on, and ends operations, in their order.
void Session::OnAnswered() {
  while (unanswered() > 0 && RequestAt(first_).answered) {
    ++first_;
    // A packet more for each window that has come through (RFC 5681, 3.1).
    if (++answered_in_window_ >= congestion_window_ && congestion_window_ < ends_.window) {
      answered_in_window_ = 0;
      ++congestion_window_;
    }
  }
  while (!begun_.empty() && begun_.first()->ended()) {
    shared_.operations->End(begun_.Pop());
  }
}

bool Session::OnTime(int64_t now_ns) {
  if (!up_) return true;
  if (unanswered() > 0) {
    if (now_ns - progress_ns_ >= shared_.give_up_ns) return false;
    if (now_ns >= RequestAt(first_).sent_ns + RtoNs()) Resend(now_ns);
  } else if (now_ns - heard_ns_ >= shared_.keepalive_ns) {
    BeginRequest({}, now_ns);
  }
  if (now_ns >= ack_ns_ && SendAck(now_ns)) ack_ns_ = INT64_MAX;
  return true;
}

// The oldest request has waited for too long: it is sent again, and others that have as well.
void Session::Resend(int64_t now_ns) {
  const int64_t rto_ns = RtoNs();
  uint32_t left = std::max<uint32_t>(congestion_window_ / 2, 1);
  congestion_window_ = left;
  answered_in_window_ = 0;
  for (uint32_t number = first_; number != next_ && left > 0; ++number) {
    Request& request = RequestAt(number);
    if (request.answered || now_ns < request.sent_ns + rto_ns) continue;
    if (!SendRequest(number, now_ns)) break;
    request.again = true;
    ++shared_.stats->sent_again;
    --left;
  }
  ++retries_;
}

bool Session::SendAck(int64_t) {
  Buffer buffer = shared_.outbox->Allocate();
  if (!buffer) return false;
  Append({.kind = Kind::kAck, .token = ends_.token, .index = ends_.index, .sequence = first_},
         &buffer);
  shared_.outbox->Add(ends_.peer, std::move(buffer));
  return true;
}

int64_t Session::DeadlineNs() const {
  if (!up_) return INT64_MAX;
  int64_t deadline_ns = ack_ns_;
  if (next_ != first_) {
    deadline_ns = std::min({deadline_ns, requests_[first_ % ends_.window].sent_ns + RtoNs(),
                            progress_ns_ + shared_.give_up_ns});
  } else {
    deadline_ns = std::min(deadline_ns, heard_ns_ + shared_.keepalive_ns);
  }
  return deadline_ns;
}

}  // namespace weft::emulated
