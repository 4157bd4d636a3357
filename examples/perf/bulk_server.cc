// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/perf/bulk_server.h"

#include <algorithm>
#include <cstring>

#include "weft/core/bytes.h"

namespace weft::perf {
namespace {

constexpr int64_t kWatchdogNs = 10'000'000'000;

}  // namespace

void BulkServer::OnConnected(tcp::Connection& connection) {
  connection_ = &connection;
  loop_.timers().Schedule(watchdog_, loop_.now_ns() + kWatchdogNs);
}

bool BulkServer::TakeHeader(tcp::Connection& connection) {
  while (header_bytes_ < header_.size()) {
    const absl::Span<const uint8_t> in = connection.ReadView();
    if (in.empty()) return false;
    const size_t n = std::min(in.size(), header_.size() - header_bytes_);
    std::memcpy(header_.data() + header_bytes_, in.data(), n);
    header_bytes_ += n;
    connection.Consume(n);
  }
  if (sender_ || receiver_) return true;
  BulkHeader header;
  if (!header.Decode(header_)) {
    connection.Abort();
    return false;
  }
  if (header.down) {
    sender_.emplace(counters_);
    loop_.timers().Schedule(end_, loop_.now_ns() + int64_t{header.duration_ms} * 1'000'000);
  } else {
    receiver_.emplace(counters_, header.verify);
  }
  return true;
}

void BulkServer::OnData(tcp::Connection& connection) {
  if (!TakeHeader(connection)) return;
  if (receiver_) return receiver_->Receive(connection);
  connection.Consume(connection.ReadView().size());  // nobody has anything more to say
  sender_->Send(connection);
}

void BulkServer::OnWritable(tcp::Connection& connection) {
  if (sender_) sender_->Send(connection);
  if (receiver_ && connection.remote_closed()) SendCount(connection);
}

void BulkServer::OnRemoteClose(tcp::Connection& connection) {
  if (sender_) return;  // what was asked for is still to be sent
  if (receiver_) return SendCount(connection);
  connection.Close();
}

void BulkServer::SendCount(tcp::Connection& connection) {
  uint8_t count[8];
  StoreBig64(count, receiver_->good_bytes());
  count_sent_ += connection.Send(absl::MakeConstSpan(count).subspan(count_sent_));
  if (count_sent_ == sizeof(count)) connection.Close();
}

uint64_t BulkServer::progress() const {
  return header_bytes_ + (sender_ ? sender_->bytes() : receiver_ ? receiver_->bytes() : 0);
}

void BulkServer::OnWatchdog(void* self, int64_t now_ns) {
  auto& server = *static_cast<BulkServer*>(self);
  if (server.progress() == server.progress_) return server.connection_->Abort();
  server.progress_ = server.progress();
  server.loop_.timers().Schedule(server.watchdog_, now_ns + kWatchdogNs);
}

void BulkServer::OnEnd(void* self, int64_t) {
  auto& server = *static_cast<BulkServer*>(self);
  server.sender_->Stop();
  server.connection_->Close();
}

}  // namespace weft::perf
