// SPDX-License-Identifier: Apache-2.0
//
// ServerConnection: what is answered to a request.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "weft/examples/http/conditions.h"
#include "weft/examples/http/path.h"
#include "weft/examples/http/range.h"
#include "weft/examples/http/server_connection.h"
#include "weft/host/http_status.h"

namespace weft::http {
namespace {

// A body so short goes with its head: to send it apart costs more than to copy it.
constexpr uint64_t kShortBodyBytes = 1024;

// RFC 9110 section 9.3, RFC 5789.
constexpr absl::string_view kOtherMethods[] = {"POST",    "PUT",   "DELETE", "CONNECT",
                                               "OPTIONS", "TRACE", "PATCH"};

// A second response to what has timed out, is malformed or too long would be to bytes that are no
// request.
bool EndsConnection(int status) {
  return status == 400 || status == 408 || status == 411 || status == 413 || status == 414 ||
         status == 417 || status == 431 || status == 501 || status == 505;
}

}  // namespace

void ServerConnection::AnswerHead(tcp::Connection& connection, absl::string_view text) {
  ++site_.stats.requests;
  wait_ = Wait::kAnswer;
  RequestHead& head = site_.head;
  without_body_ = false;
  int status = ParseRequest(text, &head);
  if (status == 0) {
    without_body_ = head.method == "HEAD";
    last_ = !head.keep_alive;
    status = Check(head);
  }
  if (status != 0) {
    return AnswerError(connection, status, status == 405 ? "Allow: GET, HEAD\r\n" : "");
  }
  AnswerFile(connection, head);
}

int ServerConnection::Check(const RequestHead& head) {
  if (head.chunked) return 411;
  const uint64_t length = head.content_length.value_or(0);
  if (length > site_.options.body_bytes_max) return 413;
  if (const Field* expect = head.Find("expect")) {
    if (!absl::EqualsIgnoreCase(expect->value, "100-continue")) return 417;
    // Whether the client sends its body after all is not known: nothing can follow.
    if (length > 0) last_ = true;
  }
  skip_ = last_ ? 0 : length;
  if (head.method == "GET" || head.method == "HEAD") return 0;
  const bool known = std::find(std::begin(kOtherMethods), std::end(kOtherMethods), head.method) !=
                     std::end(kOtherMethods);
  return known ? 405 : 501;
}

void ServerConnection::AnswerFile(tcp::Connection& connection, const RequestHead& head) {
  std::string& name = site_.name;
  if (const int status = DecodePath(head.path, &name); status != 0) {
    return AnswerError(connection, status);
  }
  const int found = site_.cache.Find(name, site_.loop.now_ns(), &file_);
  if (found == 301) {
    // Made of the name, as the path may have begun with two slashes: that would be another host.
    const absl::string_view mark = head.query.empty() ? "" : "?";
    return AnswerError(
        connection, 301,
        absl::StrCat("Location: /", EncodePath(name), "/", mark, head.query, "\r\n"));
  }
  if (found != 200) return AnswerError(connection, found);
  const File& file = *file_;
  const int condition = CheckConditions(head, file.etag, file.modified_s);
  if (condition == 412) return AnswerError(connection, 412);
  if (condition == 304) {
    Begin(304);
    absl::StrAppend(&site_.out, "ETag: ", file.etag, "\r\n");
    return Send(connection, 0);
  }
  Range range = {.kind = Range::Kind::kWhole, .begin = 0, .length = file.size};
  const Field* wanted = head.Find("range");
  if (wanted != nullptr && head.method == "GET" && RangeApplies(head, file.etag, file.modified_s)) {
    range = ParseRange(wanted->value, file.size);
  }
  if (range.kind == Range::Kind::kUnsatisfiable) {
    return AnswerError(connection, 416, absl::StrCat("Content-Range: bytes */", file.size, "\r\n"));
  }
  const bool part = range.kind == Range::Kind::kPart;
  Begin(part ? 206 : 200);
  absl::StrAppend(&site_.out, file.fields, "Content-Length: ", range.length, "\r\n");
  if (part) {
    absl::StrAppend(&site_.out, "Content-Range: bytes ", range.begin, "-",
                    range.begin + range.length - 1, "/", file.size, "\r\n");
  }
  offset_ = range.begin;
  Send(connection, range.length);
}

void ServerConnection::AnswerError(tcp::Connection& connection, int status,
                                   absl::string_view more_fields) {
  if (EndsConnection(status)) last_ = true;
  if (last_) skip_ = 0;
  file_.reset();
  Begin(status);
  const std::string text = absl::StrCat(status, " ", ReasonPhrase(status), "\n");
  absl::StrAppend(&site_.out, more_fields, "Content-Type: text/plain; charset=utf-8\r\n",
                  "Content-Length: ", text.size(), "\r\n");
  Send(connection, 0, text);
}

void ServerConnection::Begin(int status) {
  SiteStats& stats = site_.stats;
  ++(status < 300   ? stats.answers_2xx
     : status < 400 ? stats.answers_3xx
     : status < 500 ? stats.answers_4xx
                    : stats.answers_5xx);
  site_.out.clear();
  absl::StrAppend(&site_.out, "HTTP/1.1 ", status, " ", ReasonPhrase(status),
                  "\r\nServer: weft\r\n", site_.DateField());
}

void ServerConnection::Send(tcp::Connection& connection, uint64_t length, absl::string_view text) {
  std::string& out = site_.out;
  if (last_) {
    absl::StrAppend(&out, "Connection: close\r\n");
  } else if (site_.head.minor_version == 0) {
    absl::StrAppend(&out, "Connection: keep-alive\r\n");
  }
  absl::StrAppend(&out, "\r\n", without_body_ ? "" : text);
  left_ = without_body_ ? 0 : length;
  if (left_ > 0 && left_ <= kShortBodyBytes && file_->in_memory()) {
    out.append(file_->content, offset_, left_);
    site_.stats.body_bytes += left_;
    left_ = 0;
  }
  const size_t sent = connection.Send({reinterpret_cast<const uint8_t*>(out.data()), out.size()});
  rest_of_head_.assign(out, sent, std::string::npos);
  if (left_ == 0) file_.reset();
  // Any other body follows in SendRest().
}

}  // namespace weft::http
