// SPDX-License-Identifier: Apache-2.0
#include "weft/router/control_path.h"

#include <algorithm>
#include <utility>

#include "weft/router/answers.h"
#include "weft/router/router.h"

namespace weft::router {

using r2p2::ControlKind;
using r2p2::ExtendedHeader;
using r2p2::kExtendedHeaderBytes;
using r2p2::MessageType;

ControlPath::ControlPath(DatagramPort& listen, DatagramPort* control, Dispatcher& dispatcher,
                         Members& members, RequestPath& requests, RouterStats& stats,
                         RouterGroup* group, size_t worker, ControlSettings settings)
    : listen_(listen),
      control_(control),
      dispatcher_(dispatcher),
      members_(members),
      requests_(requests),
      stats_(stats),
      group_(group),
      worker_(worker),
      settings_(std::move(settings)),
      outbox_(kOutbox, &stats.send_overflows) {}

size_t ControlPath::Poll(int64_t now_ns) {
  if (control_ == nullptr) return 0;
  size_t work = outbox_.Send(*control_);
  if (outbox_.is_congested()) [[unlikely]]
    return work;
  const size_t n = control_->Receive(absl::MakeSpan(received_));
  for (size_t i = 0; i < n; ++i) OnDatagram(received_[i], /*from_control=*/true, now_ns);
  for (size_t i = 0; i < n; ++i) received_[i].buffer.Reset();
  if (n > 0) {
    outbox_.Send(*control_);
    requests_.SendReady(now_ns);
    requests_.Flush();
  }
  if (group_ != nullptr && n > 0) group_->Wake(worker_);
  return work + n;
}

void ControlPath::OnDatagram(Datagram& datagram, bool from_control, int64_t now_ns) {
  const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
  if (bytes.size() < r2p2::kHeaderBytes || bytes[0] != r2p2::internal::kMagic) {
    ++stats_.malformed;
    return;
  }
  if (bytes[2] >> 4 == static_cast<uint8_t>(MessageType::kFeedback)) {
    return OnFeedback(datagram, from_control, now_ns);
  }
  if (r2p2::IsExtended(bytes)) return OnExtended(datagram, from_control, now_ns);
  r2p2::Header header;
  ++(r2p2::ReadHeader(bytes, &header) ? stats_.unexpected : stats_.malformed);
}

void ControlPath::OnExtended(Datagram& datagram, bool from_control, int64_t now_ns) {
  ExtendedHeader header;
  if (!r2p2::ReadExtendedHeader(datagram.buffer.bytes(), &header)) {
    ++stats_.malformed;
    return;
  }
  switch (header.kind) {
    case ControlKind::kHello:
      if (from_control) break;  // no clients are expected there
      return OnHello(datagram, header);
    case ControlKind::kPing:
      // Of a pool session, of which there is no state here.
      ++stats_.pings;
      if (MakeControl(ControlKind::kPong, header, {}, datagram.buffer)) {
        Answer(datagram.peer, from_control, std::move(datagram.buffer));
      }
      return;
    case ControlKind::kJoin:
    case ControlKind::kLeave:
      return ReceiveMembership(datagram, header, from_control, now_ns);
    case ControlKind::kReset:
      return OnAnswer(datagram, header, from_control, now_ns);
    default:
      break;
  }
  ++stats_.unexpected;
}

void ControlPath::OnHello(Datagram& datagram, const ExtendedHeader& header) {
  r2p2::Hello hello;
  const size_t offered = datagram.buffer.size();
  if (!r2p2::ReadHello(datagram.buffer.bytes().subspan(kExtendedHeaderBytes), &hello)) {
    ++stats_.malformed;
    return;
  }
  ++stats_.hellos;
  const size_t fits = std::min<size_t>({hello.packet_bytes, offered, requests_.payload_max()});
  const r2p2::Hello pool = {
      .slots = hello.slots,
      .packet_bytes = static_cast<uint32_t>(std::max<size_t>(fits, r2p2::kExtendedPacketBytesMin)),
      .incarnation = settings_.incarnation,
      .timeout_us = hello.timeout_us,
      .key = static_cast<uint32_t>(settings_.incarnation)};
  uint8_t body[r2p2::kHelloBytes];
  r2p2::WriteHello(pool, body);
  if (!MakeControl(ControlKind::kPool, header, body, datagram.buffer, r2p2::DropReason::kNone,
                   hello.slots)) {
    return;
  }
  requests_.Answer(datagram.peer, std::move(datagram.buffer));
}

void ControlPath::OnAnswer(const Datagram& datagram, const ExtendedHeader& header,
                           bool from_control, int64_t now_ns) {
  Member* const member = members_.FindPeer(datagram.peer, from_control);
  if (member == nullptr || header.session != kOwnSession || header.key != NonceOf(*member)) {
    ++stats_.unexpected;
    return;
  }
  member->life.knows_weft = true;
  const absl::Span<const uint8_t> body = datagram.buffer.bytes().subspan(kExtendedHeaderBytes);
  Heard(*member, now_ns, {.incarnation = r2p2::ReadIncarnation(body), .proved = true});
}

void ControlPath::OnFeedback(const Datagram& datagram, bool from_control, int64_t now_ns) {
  if (!from_control && settings_.control_protected) {
    ++stats_.unexpected;
    return;
  }
  ++stats_.feedback_datagrams;
  Member* const member = members_.FindPeer(datagram.peer, from_control);
  if (member == nullptr) {
    ++stats_.feedback_unknown_source;
    return;
  }
  const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
  if (r2p2::IsFeedbackBatch(bytes)) return OnFeedbackBatch(datagram, *member, now_ns);
  r2p2::Feedback feedback;
  if (!r2p2::ReadFeedback(bytes, &feedback)) {
    ++stats_.malformed;
    return;
  }
  uint8_t ip[4];
  StoreBig32(ip, feedback.client_ip);
  const uint64_t client =
      r2p2::ClientIdOf(Address::Ipv4({ip[0], ip[1], ip[2], ip[3]}, feedback.client_port));
  Heard(*member, now_ns);
  OnDone(*member, r2p2::RequestKey(client, 0, feedback.request_id), now_ns);
}

void ControlPath::OnFeedbackBatch(const Datagram& datagram, Member& member, int64_t now_ns) {
  r2p2::FeedbackBatch batch;
  const absl::Span<const uint8_t> bytes = datagram.buffer.bytes();
  if (!r2p2::ReadFeedbackBatch(bytes, &batch)) {
    ++stats_.malformed;
    return;
  }
  member.life.knows_weft = true;
  Heard(member, now_ns, {.incarnation = batch.incarnation});
  const FeedbackSources::News news = member.feedback.Accept(batch, now_ns);
  stats_.feedback_repeated += news.begin;
  stats_.feedback_lost += news.missing;
  for (size_t i = news.begin; i < batch.count; ++i) {
    const r2p2::FeedbackEntry entry = r2p2::ReadFeedbackEntry(bytes, i);
    member.rates.Served(entry.service_ns);
    OnDone(member, entry.request, now_ns);
  }
}

void ControlPath::OnDone(Member& member, uint64_t request, int64_t now_ns) {
  if (dispatcher_.Done(member.index, request, now_ns) == DoneResult::kDone) [[likely]] {
    ++member.feedbacks;
    return;
  }
  if (group_ == nullptr) {
    ++stats_.feedback_unknown_request;
    return;
  }
  ++stats_.feedback_passed_on;
  stats_.feedback_overflows += group_->PassOn(worker_, {member.name, request});
}

size_t ControlPath::TakePassedOn(int64_t now_ns) {
  if (group_ == nullptr) return 0;
  size_t taken = 0;
  for (; taken < RouterGroup::kRing; ++taken) {
    const RouterGroup::Feedback* const feedback = group_->Front(worker_);
    if (feedback == nullptr) break;
    Member* const member = members_.FindName(feedback->server);
    if (member != nullptr &&
        dispatcher_.Done(member->index, feedback->request, now_ns) == DoneResult::kDone) {
      ++member->feedbacks;
    } else {
      ++stats_.feedback_unknown_request;
    }
    group_->PopFront(worker_);
  }
  if (taken > 0) {
    requests_.SendReady(now_ns);
    requests_.Flush();
  }
  return taken;
}

}  // namespace weft::router
