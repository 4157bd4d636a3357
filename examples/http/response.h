// SPDX-License-Identifier: Apache-2.0
//
// What clients read: the head of an HTTP/1 answer, and where its body ends (RFC 9112).
#ifndef WEFT_EXAMPLES_HTTP_RESPONSE_H_
#define WEFT_EXAMPLES_HTTP_RESPONSE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace weft::http {

// Takes answers off a stream of bytes, whatever pieces they come in:
//
//   AnswerReader reader;
//   reader.Begin(/*to_head=*/false);
//   while (!reader.complete()) {
//     ... piece = what the connection has, or: reader.End() when it has closed ...
//     absl::string_view body;
//     auto taken = reader.Take(piece, &body);      // an error: malformed
//     connection.Consume(taken); Use(body);
//   }
class AnswerReader {
 public:
  static constexpr size_t kHeadBytesMax = 65536;

  // For the answer to the next request; one to HEAD has no body.
  void Begin(bool to_head);

  // Takes from the front of `piece` up to all of it, returns how much, and shows what of it is of
  // the body: at most one stretch a call. Takes nothing when the answer is complete. Negative: the
  // answer is malformed, or its head longer than kHeadBytesMax.
  ptrdiff_t Take(absl::string_view piece, absl::string_view* body);

  // The connection has closed: whether that was the end of the answer.
  bool End();

  bool complete() const { return state_ == State::kComplete; }
  // What follows is valid behind the head.
  bool has_head() const { return state_ != State::kHead; }
  int status() const { return status_; }
  bool keep_alive() const { return keep_alive_; }
  // With its status line and all fields, up to the empty line.
  const std::string& head() const { return head_; }

 private:
  enum class State : uint8_t {
    kHead,
    kLength,     // a body of left_ bytes
    kUntilEnd,   // a body up to the connection's end
    kChunkLine,  // the length of a chunk, in line_
    kChunk,      // left_ bytes of one
    kChunkEnd,   // the newline behind it
    kTrailer,    // fields behind the last chunk, up to an empty line, in line_
    kComplete,
  };

  ptrdiff_t TakeHead(absl::string_view piece);
  ptrdiff_t TakeLine(absl::string_view piece);
  bool ParseHead();
  bool OnLine();

  State state_ = State::kComplete;
  bool to_head_ = false;
  std::string head_;
  std::string line_;
  int status_ = 0;
  bool keep_alive_ = false;
  uint64_t left_ = 0;
};

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_RESPONSE_H_
