// SPDX-License-Identifier: Apache-2.0
//
// The way of requests in and of answers out; what an answer is, is in server_answers.cc.
#include "weft/examples/http/server_connection.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "weft/core/unix_time.h"
#include "weft/examples/http/date.h"

namespace weft::http {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

absl::string_view TextOf(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

absl::string_view Site::DateField() {
  const int64_t now_ns = loop.now_ns();
  if (now_ns >= date_until_ns_) {
    const int64_t unix_ns = UnixNs();
    date_field_ = absl::StrCat("Date: ", FormatDate(unix_ns / kSecondNs), "\r\n");
    date_until_ns_ = now_ns + kSecondNs - unix_ns % kSecondNs;
  }
  return date_field_;
}

void ServerConnection::OnConnected(tcp::Connection& connection) {
  connection_ = &connection;
  WaitFor(Wait::kIdle);
}

void ServerConnection::Work(tcp::Connection& connection) {
  for (;;) {
    if (!SendRest(connection)) return;
    if (last_) return End(connection);
    if (!SkipBody(connection) || !TakeRequest(connection)) break;
  }
  if (connection.remote_closed() && connection.ReadView().empty()) End(connection);
}

void ServerConnection::End(tcp::Connection& connection) {
  site_.loop.timers().Cancel(timer_);
  connection.Close();
}

bool ServerConnection::SendRest(tcp::Connection& connection) {
  // Who takes nothing has only so much time, whatever else it sends.
  const size_t left_before = rest_of_head_.size() + left_;
  const auto wait = [&] {
    if (wait_ != Wait::kSend || rest_of_head_.size() + left_ < left_before) WaitFor(Wait::kSend);
    return false;
  };
  if (!rest_of_head_.empty()) {
    rest_of_head_.erase(0, connection.Send({reinterpret_cast<const uint8_t*>(rest_of_head_.data()),
                                            rest_of_head_.size()}));
    if (!rest_of_head_.empty()) return wait();
  }
  if (left_ == 0) return true;
  bool failed = false;
  connection.Send(left_, [&](absl::Span<uint8_t> room) {
    const size_t n = file_->Read(offset_, room);
    failed = n < room.size();
    offset_ += n;
    left_ -= n;
    site_.stats.body_bytes += n;
    return n;
  });
  if (failed) {
    // The file has become shorter, and its length has been told already.
    connection.Abort();
    return false;
  }
  if (left_ > 0) return wait();
  file_.reset();
  return true;
}

bool ServerConnection::SkipBody(tcp::Connection& connection) {
  while (skip_ > 0) {
    const size_t n = std::min<uint64_t>(connection.ReadView().size(), skip_);
    if (n == 0) {
      if (wait_ != Wait::kRequest) WaitFor(Wait::kRequest);
      return false;
    }
    connection.Consume(n);
    skip_ -= n;
  }
  return true;
}

bool ServerConnection::TakeRequest(tcp::Connection& connection) {
  for (;;) {
    absl::string_view piece = TextOf(connection.ReadView());
    // Empty lines in front of a request (RFC 9112 section 2.2).
    if (partial_.empty() && !piece.empty() && (piece[0] == '\r' || piece[0] == '\n')) {
      const size_t n = std::min(piece.find_first_not_of("\r\n"), piece.size());
      connection.Consume(n);
      continue;
    }
    if (piece.empty()) {
      // The time for a request is that from its first byte on.
      const Wait wait = partial_.empty() ? Wait::kIdle : Wait::kRequest;
      if (wait != wait_) WaitFor(wait);
      return false;
    }
    const size_t end = scanner_.Scan(piece);
    if (end == 0 || !partial_.empty()) {
      if (!GatherHead(connection, end == 0 ? piece : piece.substr(0, end))) return true;
      connection.Consume(end == 0 ? piece.size() : end);
      if (end == 0) continue;
      const std::string head = std::move(partial_);
      partial_ = std::string();  // an idle connection has none
      AnswerHead(connection, head);
      return true;
    }
    if (end > site_.options.head_bytes_max) {
      if (!GatherHead(connection, piece.substr(0, end))) return true;
    }
    AnswerHead(connection, piece.substr(0, end));
    connection.Consume(end);
    return true;
  }
}

bool ServerConnection::GatherHead(tcp::Connection& connection, absl::string_view piece) {
  if (partial_.size() + piece.size() <= site_.options.head_bytes_max) {
    absl::StrAppend(&partial_, piece);
    return true;
  }
  const bool first_line =
      partial_.find('\n') == std::string::npos &&
      piece.substr(0, site_.options.head_bytes_max - partial_.size()).find('\n') ==
          absl::string_view::npos;
  without_body_ = false;
  AnswerError(connection, first_line ? 414 : 431);
  return false;
}

void ServerConnection::WaitFor(Wait wait) {
  wait_ = wait;
  const SiteOptions& options = site_.options;
  deadline_ns_ = site_.loop.now_ns() + (wait == Wait::kRequest ? options.request_ns
                                        : wait == Wait::kSend  ? options.send_ns
                                                               : options.idle_ns);
  // A timer that is too early looks again then: that is cheaper than moving it with each request.
  if (!timer_.armed() || timer_.deadline_ns() > deadline_ns_) {
    site_.loop.timers().Schedule(timer_, deadline_ns_);
  }
}

void ServerConnection::OnTimer(void* self, int64_t now_ns) {
  auto& server = *static_cast<ServerConnection*>(self);
  if (now_ns < server.deadline_ns_) {
    server.site_.loop.timers().Schedule(server.timer_, server.deadline_ns_);
    return;
  }
  ++server.site_.stats.timeouts;
  switch (server.wait_) {
    case Wait::kIdle:
    case Wait::kAnswer:
      return server.connection_->Close();
    case Wait::kRequest:
      // A request whose body is missing has had its answer.
      if (server.skip_ > 0) return server.connection_->Close();
      server.without_body_ = false;
      server.AnswerError(*server.connection_, 408);
      return server.Work(*server.connection_);
    case Wait::kSend:
      return server.connection_->Abort();
  }
}

}  // namespace weft::http
