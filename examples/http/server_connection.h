// SPDX-License-Identifier: Apache-2.0
//
// HTTP/1.1 for the files of a FileCache, over connections of any transport (RFC 9110, 9112).
//
//   http::Site site(loop, cache, options);                       // one for each worker
//   connections.Listen(address, backlog, [&](tcp::Connection connection) {
//     std::move(connection).Serve(std::make_unique<http::ServerConnection>(site));
//   });
//
// GET and HEAD; keep-alive and pipelining; one range a request (of several, the whole is sent);
// If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range. Others get 400, 403,
// 404, 405, 408, 411, 412, 413, 414, 416, 417, 431, 500, 501, 503 or 505. Bodies of requests are
// read and forgotten; what comes chunked is refused with 411.
#ifndef WEFT_EXAMPLES_HTTP_SERVER_CONNECTION_H_
#define WEFT_EXAMPLES_HTTP_SERVER_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "weft/core/loop.h"
#include "weft/core/metrics.h"
#include "weft/core/timer_wheel.h"
#include "weft/examples/http/file_cache.h"
#include "weft/examples/http/request.h"
#include "weft/tcp/connections.h"

namespace weft::http {

struct SiteOptions {
  size_t head_bytes_max = 8192;         // of a request; more: 431, or 414 if it is its first line
  uint64_t body_bytes_max = 1 << 20;    // of a request; more: 413
  int64_t idle_ns = 60'000'000'000;     // without a request; then the connection is closed
  int64_t request_ns = 10'000'000'000;  // from the first byte of a request to its last; then: 408
  int64_t send_ns = 30'000'000'000;     // in which a client takes nothing; then: a reset
};

// Any thread may read.
struct SiteStats {
  Counter requests;
  Counter answers_2xx;
  Counter answers_3xx;
  Counter answers_4xx;
  Counter answers_5xx;
  Counter body_bytes;  // of answers
  Counter timeouts;    // connections that were ended by one
};

// What the connections of a worker have in common.
struct Site {
  Site(Loop& loop, FileCache& cache, const SiteOptions& options)
      : loop(loop), cache(cache), options(options) {}
  // "Date: ...\r\n", made anew each second.
  absl::string_view DateField();

  Loop& loop;
  FileCache& cache;
  const SiteOptions options;
  SiteStats stats;
  RequestHead head;  // of the request that is being answered
  std::string name;  // of the file that it asks for
  std::string out;   // of the answer

 private:
  std::string date_field_;
  int64_t date_until_ns_ = 0;
};

class ServerConnection final : public tcp::ConnectionHandler {
 public:
  // `site` outlives it.
  explicit ServerConnection(Site& site) : site_(site), timer_(&ServerConnection::OnTimer, this) {}

  void OnConnected(tcp::Connection& connection) override;
  void OnData(tcp::Connection& connection) override { Work(connection); }
  void OnWritable(tcp::Connection& connection) override { Work(connection); }
  void OnRemoteClose(tcp::Connection& connection) override { Work(connection); }

 private:
  enum class Wait : uint8_t {
    kIdle,     // for a request
    kRequest,  // for the rest of one
    kAnswer,   // for nothing: one has just been answered
    kSend,     // for room
  };

  void Work(tcp::Connection& connection);
  void End(tcp::Connection& connection);
  // Sends what is left of the answer. False when there is no more room, or the connection is gone.
  bool SendRest(tcp::Connection& connection);
  // Takes and answers the next request. False when there is none yet.
  bool TakeRequest(tcp::Connection& connection);
  bool SkipBody(tcp::Connection& connection);
  // Keeps `piece`, the beginning or the middle of a head. False when that is too long.
  bool GatherHead(tcp::Connection& connection, absl::string_view piece);

  // Make the answer and send what there is room for.
  void AnswerHead(tcp::Connection& connection, absl::string_view head);
  // What the body and the method ask for; 0, or the status of the answer.
  int Check(const RequestHead& head);
  void AnswerFile(tcp::Connection& connection, const RequestHead& head);
  void AnswerError(tcp::Connection& connection, int status, absl::string_view more_fields = "");
  void Begin(int status);
  // Ends the head, and sends it with `length` bytes of file_ from offset_ on, or with `text`.
  void Send(tcp::Connection& connection, uint64_t length, absl::string_view text = "");

  void WaitFor(Wait wait);
  static void OnTimer(void* self, int64_t now_ns);

  Site& site_;
  tcp::Connection* connection_ = nullptr;  // that it serves
  HeadScanner scanner_;
  std::string partial_;        // of a head that has not ended
  uint64_t skip_ = 0;          // bytes of a body that are still to come
  bool last_ = false;          // the connection ends behind this answer
  bool without_body_ = false;  // to HEAD

  // The answer that is being sent.
  std::string rest_of_head_;
  std::shared_ptr<const File> file_;
  uint64_t offset_ = 0;
  uint64_t left_ = 0;  // of the file, from `offset_` on

  Wait wait_ = Wait::kIdle;
  int64_t deadline_ns_ = 0;
  Timer timer_;
};

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_SERVER_CONNECTION_H_
