// SPDX-License-Identifier: Apache-2.0
//
// The half of a session that executes and answers.
#include <atomic>
#include <utility>

#include "weft/core/bytes.h"
#include "weft/transports/remote_memory/session.h"
#include "weft/transports/remote_memory/word_copy.h"

namespace weft::emulated {
namespace {

// How far `a` is ahead of `b`; both go round at 2^32.
int32_t Ahead(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b); }

uint64_t ExecuteAtomic(const Packet& request, uint8_t* address) {
  std::atomic_ref<uint64_t> word(*reinterpret_cast<uint64_t*>(address));
  if (request.action == Action::kFetchAdd) return word.fetch_add(request.operand);
  uint64_t old_value = request.compare;
  word.compare_exchange_strong(old_value, request.operand);
  return old_value;
}

}  // namespace

void Session::OnRequest(const Packet& request, int64_t now_ns, Buffer* buffer) {
  heard_ns_ = now_ns;
  // Nobody has the answer to what has not been executed.
  if (Ahead(request.answered_below, expected_) > 0) {
    ++shared_.port_stats->receive_malformed;
    return;
  }
  if (Ahead(request.answered_below, forgotten_) > 0) ForgetBelow(request.answered_below);
  const int32_t early = Ahead(request.sequence, expected_);
  if (Ahead(request.sequence, forgotten_) < 0) {
    ++shared_.stats->repeated;  // an old copy, whose answer has arrived
  } else if (early < 0) {
    ++shared_.stats->repeated;
    Respond(request.sequence);
  } else if (request.sequence - forgotten_ >= ends_.window) {
    ++shared_.port_stats->receive_malformed;
  } else if (early > 0) {
    HoldBack(request.sequence, buffer);
  } else if (Execute(request)) {
    ExecuteHeldBack();
  }
}

void Session::OnAck(const Packet& ack, int64_t now_ns) {
  heard_ns_ = now_ns;
  if (Ahead(ack.sequence, expected_) > 0) {
    ++shared_.port_stats->receive_malformed;
  } else if (Ahead(ack.sequence, forgotten_) > 0) {
    ForgetBelow(ack.sequence);
  }
}

void Session::HoldBack(uint32_t number, Buffer* buffer) {
  Answer& answer = AnswerTo(number);
  if (answer.state == Answer::State::kHeldBack) return;  // a copy of it
  if (shared_.held >= shared_.held_max || shared_.held_early >= shared_.held_max / 2) {
    ++shared_.stats->not_taken;
    return;
  }
  ++shared_.held;
  ++shared_.held_early;
  ++shared_.stats->held_back;
  answer.state = Answer::State::kHeldBack;
  answer.buffer = std::move(*buffer);
}

void Session::ExecuteHeldBack() {
  while (expected_ - forgotten_ < ends_.window &&
         AnswerTo(expected_).state == Answer::State::kHeldBack) {
    Answer& answer = AnswerTo(expected_);
    const Buffer buffer = std::move(answer.buffer);
    Release(&answer);
    Packet request;
    if (!Parse(buffer.bytes(), &request) || !Execute(request)) return;
  }
}

// Executes the request whose turn it is, and answers it. False: it could not be, and nothing has
// happened.
bool Session::Execute(const Packet& request) {
  Answer& answer = AnswerTo(expected_);
  MemoryTable::Target target;
  if (request.action == Action::kNothing) {
    target.result = Result::kOk;
  } else {
    target = shared_.memory->Find(ends_.number, request);
  }
  const bool ok = target.result == Result::kOk;
  if (ok && request.action == Action::kRead) {
    if (request.piece_bytes > ends_.packet_max - kResponseHeaderBytes) {
      ++shared_.port_stats->receive_malformed;
      return false;
    }
    if (!ExecuteRead(request, target.address)) {
      ++shared_.stats->not_taken;
      return false;
    }
  } else {
    answer = {.state = Answer::State::kGiven, .result = target.result};
    if (ok && request.action == Action::kWrite) {
      CopyToShared(target.address, request.data.data(), request.data.size());
      ++shared_.port_stats->copied_buffers;
      shared_.port_stats->copied_bytes += request.data.size();
    } else if (ok && request.action != Action::kNothing) {
      answer.old_value = ExecuteAtomic(request, target.address);
      answer.has_value = true;
    }
  }
  ++(ok ? shared_.stats->executed : shared_.stats->denied);
  ++expected_;
  Respond(expected_ - 1);
  return true;
}

bool Session::ExecuteRead(const Packet& request, const uint8_t* from) {
  if (!shared_.MayHold(held_)) return false;
  Buffer buffer = shared_.outbox->Allocate();
  if (!buffer) return false;
  Append({.kind = Kind::kResponse,
          .token = ends_.token,
          .index = ends_.index,
          .sequence = expected_,
          .data = SpaceFor(request.piece_bytes)},
         &buffer);
  CopyFromShared(DataOf(buffer).data(), from, request.piece_bytes);
  Seal(&buffer);
  ++shared_.port_stats->copied_buffers;
  shared_.port_stats->copied_bytes += request.piece_bytes;
  ++shared_.held;
  ++held_;
  Answer& answer = AnswerTo(expected_);
  answer = {.state = Answer::State::kGiven};
  answer.headroom = buffer.headroom();
  answer.size = buffer.size();
  answer.buffer = std::move(buffer);
  return true;
}

// Gives the answer to a request that has been executed, or gives it again.
void Session::Respond(uint32_t number) {
  Answer& answer = AnswerTo(number);
  if (answer.buffer) {
    // The device has it still, or the outbox is full: the peer asks again.
    if (answer.buffer.is_shared() || !shared_.outbox->has_room()) return;
    answer.buffer.SetData(answer.headroom, answer.size);
    answer.buffer.offload() = {};
    shared_.outbox->Add(ends_.peer, answer.buffer.Share());
    return;
  }
  Buffer buffer = shared_.outbox->Allocate();
  if (!buffer) return;
  uint8_t value[8];
  StoreBig64(value, answer.old_value);
  Append({.kind = Kind::kResponse,
          .token = ends_.token,
          .index = ends_.index,
          .sequence = number,
          .result = answer.result,
          .data = absl::MakeConstSpan(value, answer.has_value ? sizeof(value) : 0)},
         &buffer);
  shared_.outbox->Add(ends_.peer, std::move(buffer));
}

void Session::ForgetBelow(uint32_t number) {
  for (; forgotten_ != number; ++forgotten_) Release(&AnswerTo(forgotten_));
}

void Session::Release(Answer* answer) {
  // Of a request that was held back the buffer may be gone already.
  const bool early = answer->state == Answer::State::kHeldBack;
  if (early) --shared_.held_early;
  if (early || answer->buffer) --shared_.held;
  if (!early && answer->buffer) --held_;
  *answer = {};
}

void Session::Forget() {
  for (Answer& answer : answers_) Release(&answer);
}

}  // namespace weft::emulated
