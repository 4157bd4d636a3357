// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/client.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/rpc/packets.h"

namespace weft::rpc {
namespace {

constexpr size_t kOutstandingLimit = 32768;  // half of the ids, so that the next free one is near

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.outstanding_max == 0 || options.outstanding_max > kOutstandingLimit) {
    return absl::InvalidArgumentError(absl::StrCat("outstanding_max is ", options.outstanding_max,
                                                   "; it must be 1 to ", kOutstandingLimit));
  }
  absl::Status packets = CheckMessagePacketsMax(options.message_packets_max);
  if (!packets.ok()) return packets;
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeout must be greater than zero");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(Loop& loop,
                                                       std::unique_ptr<DatagramPort> port,
                                                       const ClientOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  absl::StatusOr<size_t> payload = PacketPayloadBytes(*port);
  if (!payload.ok()) return payload.status();
  return std::unique_ptr<Client>(new Client(loop, std::move(port), options, *payload));
}

Client::Client(Loop& loop, std::unique_ptr<DatagramPort> port, const ClientOptions& options,
               size_t packet_payload_bytes)
    : loop_(loop),
      port_(std::move(port)),
      options_(options),
      timeout_ns_(TimeoutNs(options.timeout)),
      packet_payload_bytes_(packet_payload_bytes),
      burst_(BurstOf(*port_)),
      ids_(options.request_id_seed ? RequestIds(*options.request_id_seed) : RequestIds()),
      slots_(std::bit_ceil(options.outstanding_max)),
      sending_(port_->pool().count(), &stats_.send_overflows) {
  for (Slot& slot : slots_) slot.client = this;
  loop_.Add(this);
}

Client::~Client() { loop_.Remove(this); }

absl::Status Client::Call(const Peer& server, absl::Span<const uint8_t> request, Callback callback,
                          const CallOptions& options) {
  return Begin(server, Buffer(), request, std::move(callback), options).status();
}

absl::Status Client::Call(const Peer& server, Buffer request, Callback callback,
                          const CallOptions& options) {
  return Begin(server, std::move(request), {}, std::move(callback), options).status();
}

absl::StatusOr<Client::Slot*> Client::Begin(const Peer& server, Buffer&& buffer,
                                            absl::Span<const uint8_t> bytes, Callback&& callback,
                                            const CallOptions& options) {
  if (buffer) bytes = buffer.bytes();
  if (!port_->status().ok()) return port_->status();
  if (sending_.room() == 0) {
    return absl::ResourceExhaustedError("packets wait to be sent: the port is blocked");
  }
  Slot* slot = TakeSlot();
  if (slot == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(outstanding_, " calls are outstanding, as many as outstanding_max allows"));
  }
  Header header{.type = MessageType::kRequest,
                .policy = options.policy.value_or(options_.policy),
                .first = true,
                .last = true,
                .request_id = slot->request_id,
                .packet_order = 1};
  Buffer packet;
  if (bytes.size() <= packet_payload_bytes_) {
    if (buffer && buffer.headroom() >= kHeaderBytes) {
      packet = std::move(buffer);
    } else {
      packet = CopyOf(port_->pool(), bytes);
    }
  } else {
    absl::Status status = PrepareRest(*slot, bytes.subspan(kFirstPayloadBytes), header);
    if (!status.ok()) return status;
    header.last = false;
    header.packet_order = static_cast<uint16_t>(slot->rest.size() + 1);
    packet = CopyOf(port_->pool(), bytes.first(kFirstPayloadBytes));
  }
  if (!packet) {
    slot->rest.clear();
    return absl::ResourceExhaustedError("no packet buffers left");
  }
  WriteHeader(header, packet.Prepend(kHeaderBytes));
  sending_.Push(server, std::move(packet));

  slot->active = true;
  slot->server = server;
  slot->callback = std::move(callback);
  const int64_t timeout_ns =
      options.timeout == absl::ZeroDuration() ? timeout_ns_ : TimeoutNs(options.timeout);
  loop_.timers().Schedule(slot->timeout, loop_.now_ns() + timeout_ns);
  ++outstanding_;
  ++stats_.calls;
  return slot;
}

absl::Status Client::PrepareRest(Slot& slot, absl::Span<const uint8_t> rest, Header header) {
  const size_t packets = (rest.size() + packet_payload_bytes_ - 1) / packet_payload_bytes_;
  if (packets + 1 > options_.message_packets_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a request of ", rest.size() + kFirstPayloadBytes, " bytes takes ", packets + 1,
        " packets; message_packets_max allows ", options_.message_packets_max));
  }
  header.first = false;
  slot.rest.reserve(packets);
  for (size_t i = 1; i <= packets; ++i) {
    Buffer packet =
        CopyOf(port_->pool(), rest.subspan((i - 1) * packet_payload_bytes_, packet_payload_bytes_));
    if (!packet) {
      slot.rest.clear();
      return absl::ResourceExhaustedError("no packet buffers left");
    }
    header.last = i == packets;
    header.packet_order = static_cast<uint16_t>(i);
    WriteHeader(header, packet.Prepend(kHeaderBytes));
    slot.rest.push_back(std::move(packet));
  }
  return absl::OkStatus();
}

Client::Slot* Client::TakeSlot() {
  if (outstanding_ == options_.outstanding_max) return nullptr;
  while (true) {
    const uint16_t sequence = next_sequence_++;
    Slot& slot = slots_[sequence & (slots_.size() - 1)];
    if (slot.active) continue;  // a call that is outlived by as many as there are slots
    slot.request_id = ids_.Encode(sequence);
    return &slot;
  }
}

Client::Slot* Client::FindSlot(uint16_t request_id) {
  Slot& slot = slots_[ids_.Decode(request_id) & (slots_.size() - 1)];
  return slot.active && slot.request_id == request_id ? &slot : nullptr;
}

void Client::Release(Slot& slot) {
  loop_.timers().Cancel(slot.timeout);
  slot.active = false;
  slot.rest.clear();
  if (slot.reassembly != nullptr) slot.reassembly->Reset();
  --outstanding_;
}

void Client::Cancel(Slot& slot) {
  Release(slot);
  slot.callback = nullptr;
}

void Client::End(Slot& slot, absl::StatusOr<BufferChain>&& result) {
  Release(slot);
  Callback callback = std::move(slot.callback);
  callback(std::move(result));
}

void Client::Fail(Slot& slot, absl::Status error) {
  ++stats_.failures;
  End(slot, std::move(error));
}

size_t Client::Poll() {
  size_t work = sending_.Flush(*port_);
  if (port_->has_events() || !port_->status().ok()) [[unlikely]] {
    work += OnEvents();
  }
  const size_t n = port_->Receive(absl::MakeSpan(received_).first(burst_));
  if (n == 0) return work;
  for (size_t i = 0; i < n; ++i) {
    OnDatagram(received_[i]);
    received_[i].buffer.Reset();  // if it was dropped
  }
  sending_.Flush(*port_);
  return work + n;
}

void Client::OnDatagram(Datagram& datagram) {
  Header header;
  if (!ReadHeader(datagram.buffer.bytes(), &header)) {
    ++stats_.malformed;
    return;
  }
  Slot* slot = FindSlot(header.request_id);
  if (slot == nullptr) {
    ++stats_.unexpected;
    return;
  }
  switch (header.type) {
    case MessageType::kResponse:
      datagram.buffer.TrimFront(kHeaderBytes);
      return OnReply(*slot, header, std::move(datagram.buffer));
    case MessageType::kAck:
      return OnAck(*slot, datagram.peer);
    case MessageType::kDrop:
      ++stats_.drops;
      return End(*slot, absl::ResourceExhaustedError("the server refused the request (DROP)"));
    default:
      ++stats_.unexpected;
  }
}

void Client::OnReply(Slot& slot, const Header& header, Buffer&& payload) {
  if (header.first && header.last) [[likely]] {
    ++stats_.replies;
    return End(slot, BufferChain(std::move(payload)));
  }
  if (slot.reassembly == nullptr) {
    slot.reassembly = std::make_unique<Reassembly>(options_.message_packets_max);
  }
  switch (slot.reassembly->Add(header, std::move(payload))) {
    case Reassembly::Result::kIncomplete:
      break;
    case Reassembly::Result::kComplete:
      ++stats_.replies;
      return End(slot, slot.reassembly->Take());
    case Reassembly::Result::kDuplicate:
      ++stats_.unexpected;
      break;
    case Reassembly::Result::kContradiction:
      ++stats_.malformed;
      break;
    case Reassembly::Result::kTooLong:
      return Fail(slot, absl::OutOfRangeError(absl::StrCat(
                            "the reply has more than the ", options_.message_packets_max,
                            " packets that message_packets_max allows")));
  }
}

void Client::OnAck(Slot& slot, const Peer& server) {
  // The second ACK of a request finds nothing left to send.
  if (slot.rest.empty()) {
    ++stats_.unexpected;
    return;
  }
  // From here on it is the server that answered whose failure matters, not the router that chose
  // it.
  slot.server = server;
  if (sending_.room() < slot.rest.size()) {
    return Fail(slot, absl::ResourceExhaustedError("packets wait to be sent: the port is blocked"));
  }
  for (Buffer& packet : slot.rest) sending_.Push(server, std::move(packet));
  slot.rest.clear();
}

size_t Client::OnEvents() {
  if (!port_->status().ok() && outstanding_ > 0) [[unlikely]]
    FailAll(nullptr, port_->status());
  std::array<PortEvent, 8> events;
  const size_t n = port_->TakeEvents(absl::MakeSpan(events));
  for (size_t i = 0; i < n; ++i) {
    const bool closed = events[i].kind == PortEvent::Kind::kPeerClosed;
    FailAll(&events[i].peer,
            absl::UnavailableError(closed ? std::string("the server has closed")
                                          : absl::StrCat("the server cannot be reached: ",
                                                         std::strerror(events[i].error))));
  }
  return n;
}

void Client::FailAll(const Peer* server, const absl::Status& error) {
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

void Client::OnTimeout(void* slot, int64_t) {
  Slot& expired = *static_cast<Slot*>(slot);
  ++expired.client->stats_.timeouts;
  expired.client->End(expired, absl::DeadlineExceededError("no complete reply within the timeout"));
}

Client::CallAwaiter Client::Call(const Peer& server, absl::Span<const uint8_t> request,
                                 const CallOptions& options) {
  return CallAwaiter(*this, server, Buffer(), request, options);
}

Client::CallAwaiter Client::Call(const Peer& server, Buffer request, const CallOptions& options) {
  return CallAwaiter(*this, server, std::move(request), {}, options);
}

bool Client::CallAwaiter::await_suspend(std::coroutine_handle<> awaiting) {
  awaiting_ = awaiting;
  absl::StatusOr<Slot*> slot = client_.Begin(
      server_, std::move(buffer_), bytes_,
      [this](absl::StatusOr<BufferChain> result) {
        slot_ = nullptr;
        result_ = std::move(result);
        awaiting_.resume();
      },
      options_);
  if (!slot.ok()) {
    result_ = slot.status();
    return false;
  }
  slot_ = *slot;
  return true;
}

}  // namespace weft::rpc
