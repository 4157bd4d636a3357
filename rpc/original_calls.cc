// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/original_calls.h"

#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/call_status.h"
#include "weft/rpc/packets.h"

namespace weft::rpc {

OriginalCalls::OriginalCalls(ClientBase& base, size_t packet_payload_bytes)
    : base_(base),
      packet_payload_bytes_(packet_payload_bytes),
      ids_(base.options.request_id_seed ? RequestIds(*base.options.request_id_seed) : RequestIds()),
      slots_(std::bit_ceil(base.options.outstanding_max)) {
  for (Slot& slot : slots_) slot.calls = this;
}

absl::StatusOr<CallId> OriginalCalls::Begin(const Peer& server, absl::Span<const uint8_t> bytes,
                                            Payload&& payload, Callback&& callback, Policy policy,
                                            int64_t timeout_ns) {
  Slot* slot = TakeSlot();
  if (slot == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(outstanding_, " calls are outstanding, as many as outstanding_max allows"));
  }
  Buffer whole;
  std::unique_ptr<uint8_t[]> joined;
  if (!payload.empty()) {
    if (payload.contiguous()) {
      bytes = payload.front();
      whole = payload.TakeBuffer();
    } else {
      joined = payload.Join();
      bytes = {joined.get(), payload.size()};
    }
  }
  absl::StatusOr<Buffer> packet = FirstPacket(*slot, bytes, std::move(whole), policy);
  if (!packet.ok()) {
    slot->rest.clear();
    return packet.status();
  }
  base_.sending.Push(server, *std::move(packet));

  slot->active = true;
  slot->serial = ++serial_;
  slot->server = server;
  slot->callback = std::move(callback);
  base_.loop.timers().Schedule(slot->timeout, base_.loop.now_ns() + timeout_ns);
  ++outstanding_;
  return CallId{slot->serial << 16 | slot->request_id};
}

absl::StatusOr<Buffer> OriginalCalls::FirstPacket(Slot& slot, absl::Span<const uint8_t> bytes,
                                                  Buffer&& buffer, Policy policy) {
  Header header{.type = MessageType::kRequest,
                .policy = policy,
                .first = true,
                .last = true,
                .request_id = slot.request_id,
                .packet_order = 1};
  Buffer packet;
  if (bytes.size() <= packet_payload_bytes_) {
    if (buffer && buffer.headroom() >= kHeaderBytes) {
      packet = std::move(buffer);
    } else {
      packet = CopyOf(base_.port->pool(), bytes);
    }
  } else {
    absl::Status status = PrepareRest(slot, bytes.subspan(kFirstPayloadBytes), header);
    if (!status.ok()) return status;
    header.last = false;
    header.packet_order = static_cast<uint16_t>(slot.rest.size() + 1);
    packet = CopyOf(base_.port->pool(), bytes.first(kFirstPayloadBytes));
  }
  if (!packet) return absl::ResourceExhaustedError("no packet buffers left");
  WriteHeader(header, packet.Prepend(kHeaderBytes));
  return packet;
}

absl::Status OriginalCalls::PrepareRest(Slot& slot, absl::Span<const uint8_t> rest, Header header) {
  const size_t packets = (rest.size() + packet_payload_bytes_ - 1) / packet_payload_bytes_;
  const size_t packets_max = base_.options.message_packets_max;
  if (packets + 1 > packets_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("a request of ", rest.size() + kFirstPayloadBytes, " bytes takes ",
                     packets + 1, " packets; message_packets_max allows ", packets_max));
  }
  header.first = false;
  slot.rest.reserve(packets);
  for (size_t i = 1; i <= packets; ++i) {
    Buffer packet = CopyOf(base_.port->pool(),
                           rest.subspan((i - 1) * packet_payload_bytes_, packet_payload_bytes_));
    if (!packet) return absl::ResourceExhaustedError("no packet buffers left");
    header.last = i == packets;
    header.packet_order = static_cast<uint16_t>(i);
    WriteHeader(header, packet.Prepend(kHeaderBytes));
    slot.rest.push_back(std::move(packet));
  }
  return absl::OkStatus();
}

OriginalCalls::Slot* OriginalCalls::TakeSlot() {
  if (outstanding_ == base_.options.outstanding_max) return nullptr;
  while (true) {
    const uint16_t sequence = next_sequence_++;
    Slot& slot = slots_[sequence & (slots_.size() - 1)];
    if (slot.active) continue;  // a call that is outlived by as many as there are slots
    slot.request_id = ids_.Encode(sequence);
    return &slot;
  }
}

OriginalCalls::Slot* OriginalCalls::FindSlot(uint16_t request_id) {
  Slot& slot = slots_[ids_.Decode(request_id) & (slots_.size() - 1)];
  return slot.active && slot.request_id == request_id ? &slot : nullptr;
}

void OriginalCalls::Release(Slot& slot) {
  base_.loop.timers().Cancel(slot.timeout);
  slot.active = false;
  slot.rest.clear();
  if (slot.reassembly != nullptr) slot.reassembly->Reset();
  --outstanding_;
}

void OriginalCalls::Cancel(CallId id) {
  Slot* slot = FindSlot(static_cast<uint16_t>(id.value));
  if (slot == nullptr || slot->serial != id.value >> 16) return;
  Release(*slot);
  slot->callback = nullptr;
}

void OriginalCalls::End(Slot& slot, absl::StatusOr<BufferChain>&& result) {
  Release(slot);
  Callback callback = std::move(slot.callback);
  callback(std::move(result));
}

void OriginalCalls::Fail(Slot& slot, absl::Status error) {
  ++base_.stats.failures;
  End(slot, std::move(error));
}

void OriginalCalls::OnDatagram(const Peer& from, Buffer&& datagram) {
  Header header;
  if (!ReadHeader(datagram.bytes(), &header)) {
    ++base_.stats.malformed;
    return;
  }
  Slot* slot = FindSlot(header.request_id);
  if (slot == nullptr) {
    ++base_.stats.unexpected;
    return;
  }
  switch (header.type) {
    case MessageType::kResponse:
      datagram.TrimFront(kHeaderBytes);
      return OnReply(*slot, header, std::move(datagram));
    case MessageType::kAck:
      return OnAck(*slot, from);
    case MessageType::kDrop:
      ++base_.stats.drops;
      return End(*slot, NotExecuted(
                            absl::ResourceExhaustedError("the server refused the request (DROP)")));
    default:
      ++base_.stats.unexpected;
  }
}

void OriginalCalls::OnReply(Slot& slot, const Header& header, Buffer&& payload) {
  if (header.first && header.last) [[likely]] {
    ++base_.stats.replies;
    return End(slot, BufferChain(std::move(payload)));
  }
  const size_t packets_max = base_.options.message_packets_max;
  if (slot.reassembly == nullptr) slot.reassembly = std::make_unique<Reassembly>(packets_max);
  switch (slot.reassembly->Add(header, std::move(payload))) {
    case Reassembly::Result::kIncomplete:
      break;
    case Reassembly::Result::kComplete:
      ++base_.stats.replies;
      return End(slot, slot.reassembly->Take());
    case Reassembly::Result::kDuplicate:
      ++base_.stats.unexpected;
      break;
    case Reassembly::Result::kContradiction:
      ++base_.stats.malformed;
      break;
    case Reassembly::Result::kTooLong:
      return Fail(slot,
                  absl::OutOfRangeError(absl::StrCat("the reply has more than the ", packets_max,
                                                     " packets that message_packets_max allows")));
  }
}

void OriginalCalls::OnAck(Slot& slot, const Peer& server) {
  // The second ACK of a request finds nothing left to send.
  if (slot.rest.empty()) {
    ++base_.stats.unexpected;
    return;
  }
  // From here on it is the server that answered whose failure matters, not the router that chose
  // it.
  slot.server = server;
  if (base_.sending.room() < slot.rest.size()) {
    return Fail(
        slot,
        NotExecuted(absl::ResourceExhaustedError("packets wait to be sent: the port is blocked")));
  }
  for (Buffer& packet : slot.rest) base_.sending.Push(server, std::move(packet));
  slot.rest.clear();
}

void OriginalCalls::FailAll(const Peer* server, const absl::Status& error) {
  // First all that are meant: callbacks may call again, and that call has not failed.
  std::vector<uint16_t> failed;
  for (const Slot& slot : slots_) {
    if (slot.active && (server == nullptr || slot.server == *server)) {
      failed.push_back(slot.request_id);
    }
  }
  for (const uint16_t request_id : failed) {
    if (Slot* slot = FindSlot(request_id)) Fail(*slot, error);
  }
}

void OriginalCalls::OnTimeout(void* slot, int64_t) {
  Slot& expired = *static_cast<Slot*>(slot);
  OriginalCalls& calls = *expired.calls;
  ++calls.base_.stats.timeouts;
  calls.End(expired, absl::DeadlineExceededError("no complete reply within the timeout"));
}

}  // namespace weft::rpc
