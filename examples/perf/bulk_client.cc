// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/perf/bulk_client.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "weft/core/bytes.h"

namespace weft::perf {

BulkClient::BulkClient(Loop& loop, BulkCounters& counters, const BulkHeader& header, Done done)
    : loop_(loop),
      counters_(counters),
      header_(header),
      done_(std::move(done)),
      end_(&BulkClient::OnEnd, this) {}

void BulkClient::OnConnected(tcp::Connection& connection) {
  connection_ = &connection;
  if (header_.down) {
    receiver_.emplace(counters_, header_.verify);
  } else {
    sender_.emplace(counters_);
    loop_.timers().Schedule(end_, loop_.now_ns() + int64_t{header_.duration_ms} * 1'000'000);
  }
  OnWritable(connection);
}

void BulkClient::OnData(tcp::Connection& connection) {
  if (receiver_) return receiver_->Receive(connection);
  for (auto in = connection.ReadView(); !in.empty(); in = connection.ReadView()) {
    const size_t n = std::min(in.size(), count_.size() - count_bytes_);
    if (n == 0) return connection.Abort();
    std::memcpy(count_.data() + count_bytes_, in.data(), n);
    count_bytes_ += n;
    connection.Consume(n);
  }
}

void BulkClient::OnWritable(tcp::Connection& connection) {
  // Other connections may have all the buffers.
  const auto header = header_.Encode();
  header_sent_ += connection.Send(absl::MakeSpan(header).subspan(header_sent_));
  if (header_sent_ == header.size() && sender_) sender_->Send(connection);
}

void BulkClient::OnEnd(void* self, int64_t now_ns) {
  auto& client = *static_cast<BulkClient*>(self);
  if (client.header_sent_ < client.header_.Encode().size()) {
    client.loop_.timers().Schedule(client.end_, now_ns + 1'000'000);
    return;
  }
  client.sender_->Stop();
  client.connection_->CloseWrite();
}

void BulkClient::OnRemoteClose(tcp::Connection& connection) {
  absl::Status status;
  if (receiver_) {
    result_.received = receiver_->bytes();
    if (receiver_->good_bytes() < receiver_->bytes()) {
      status =
          absl::DataLossError(absl::StrCat("of ", receiver_->bytes(), " bytes, those from ",
                                           receiver_->good_bytes(), " on are not what was sent"));
    }
  } else if (count_bytes_ < count_.size()) {
    status = absl::UnavailableError("the server closed before all had arrived");
  } else {
    result_.sent = sender_->bytes();
    const uint64_t arrived = LoadBig64(count_.data());
    if (arrived != sender_->bytes()) {
      status = absl::DataLossError(
          absl::StrCat("of ", sender_->bytes(), " bytes sent, ", arrived, " arrived",
                       header_.verify ? " as they were, the next ones not" : ""));
    }
  }
  Finish(connection, status);
}

void BulkClient::OnReset(tcp::Connection& connection, int error) {
  Finish(connection,
         absl::UnavailableError(absl::StrCat("the connection failed: ", std::strerror(error))));
}

void BulkClient::Finish(tcp::Connection& connection, const absl::Status& status) {
  loop_.timers().Cancel(end_);
  if (const absl::StatusOr<StreamInfo> info = connection.Info(); info.ok()) {
    result_.retransmissions = info->retransmissions;
    result_.rtt_us = info->rtt_us;
  }
  connection.Close();
  if (done_ != nullptr) std::exchange(done_, nullptr)(status, result_);
}

}  // namespace weft::perf
