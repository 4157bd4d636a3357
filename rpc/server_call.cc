// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/server_call.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "weft/rpc/extended_server.h"
#include "weft/rpc/original_server.h"
#include "weft/rpc/server_core.h"

namespace weft::rpc {

Loop& ServerCall::loop() const { return core_->loop; }

absl::Duration ServerCall::remaining() const {
  if (deadline_ns_ == kNever) return absl::InfiniteDuration();
  return absl::Nanoseconds(std::max<int64_t>(0, deadline_ns_ - core_->loop.now_ns()));
}

absl::string_view ServerCall::identity() const {
  return core_ != nullptr ? core_->port->IdentityOf(client_) : absl::string_view();
}

bool ServerCall::cancelled() const {
  return core_ != nullptr && extended() && !core_->extended->IsExecuting(*this);
}

void ServerCall::OnCancel(absl::AnyInvocable<void()> callback) {
  if (core_ != nullptr && extended()) core_->extended->OnCancel(*this, std::move(callback));
}

size_t ServerCall::packet_payload_bytes() const {
  return extended() ? core_->extended->PacketPayloadBytes(*this)
                    : core_->port->pool().payload_bytes() - kHeaderBytes;
}

void ServerCall::Park() {
  if (core_ == nullptr || std::exchange(parked_, true)) return;
  core_->stats.executing.Add(-1);
  core_->stats.parked.Add(1);
}

Buffer ServerCall::Allocate() { return core_->port->pool().Allocate(); }

Buffer ServerCall::Allocate(size_t bytes) {
  if (Buffer buffer = core_->bulk.Allocate(bytes)) return buffer;
  BufferPool& pool = core_->port->pool();
  return bytes <= pool.payload_bytes() ? pool.Allocate() : Buffer();
}

absl::Status ServerCall::Reply(absl::Span<const uint8_t> reply) {
  assert(core_ != nullptr);
  return Finish(extended() ? core_->extended->Reply(*this, reply)
                           : core_->original->Reply(*this, reply));
}

[[gnu::flatten]] absl::Status ServerCall::Reply(Buffer reply) {
  assert(core_ != nullptr);
  if (!reply) return absl::InvalidArgumentError("the reply is a null buffer");
  return Finish(extended() ? core_->extended->Reply(*this, std::move(reply))
                           : core_->original->Reply(*this, std::move(reply)));
}

[[gnu::flatten]] absl::Status ServerCall::Reply(BufferChain reply) {
  if (reply.pieces() == 1) return Reply(reply.PopFront());
  return Reply(Payload(std::move(reply)));
}

absl::Status ServerCall::Reply(Payload reply) {
  assert(core_ != nullptr);
  return Finish(extended() ? core_->extended->Reply(*this, std::move(reply))
                           : core_->original->Reply(*this, reply));
}

void ServerCall::Leave() { std::exchange(core_, nullptr)->Done(client_, ids_, parked_); }

absl::Status ServerCall::Finish(absl::Status sent) {
  if (sent.ok()) [[likely]] {
    ++core_->stats.replies;
    Leave();
  } else if (absl::IsFailedPrecondition(sent)) {
    Leave();
  }
  return sent;
}

void ServerCall::Drop() {
  assert(core_ != nullptr);
  ServerCore& core = *core_;
  if (extended()) {
    core.extended->Drop(*this, DropReason::kRefused);
  } else {
    core.original->Drop(*this);
  }
  ++core.stats.refused_by_application;
  ++core.stats.refused;
  Leave();
}

void ServerCall::Abandon() {
  // One that was cancelled has been counted as that.
  if (!cancelled()) {
    ++core_->stats.unanswered;
    if (extended()) core_->extended->Drop(*this, DropReason::kUnanswered);
  }
  Leave();
}

}  // namespace weft::rpc
