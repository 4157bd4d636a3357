// SPDX-License-Identifier: Apache-2.0
#include "weft/examples/http/response.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "weft/examples/http/request.h"

namespace weft::http {
namespace {

constexpr size_t kLineBytesMax = 4096;

// Whether an answer of this status has no body whatever its fields say (RFC 9112 section 6.3).
bool HasNoBody(int status) { return status < 200 || status == 204 || status == 304; }

}  // namespace

void AnswerReader::Begin(bool to_head) {
  state_ = State::kHead;
  to_head_ = to_head;
  head_.clear();
  line_.clear();
}

bool AnswerReader::End() {
  if (state_ == State::kUntilEnd) state_ = State::kComplete;
  return complete();
}

ptrdiff_t AnswerReader::Take(absl::string_view piece, absl::string_view* body) {
  *body = {};
  size_t n = 0;
  switch (state_) {
    case State::kComplete:
      return 0;
    case State::kHead:
      return TakeHead(piece);
    case State::kChunkLine:
    case State::kChunkEnd:
    case State::kTrailer:
      return TakeLine(piece);
    case State::kUntilEnd:
      *body = piece;
      return static_cast<ptrdiff_t>(piece.size());
    case State::kLength:
    case State::kChunk:
      n = std::min<uint64_t>(left_, piece.size());
      *body = piece.substr(0, n);
      left_ -= n;
      if (left_ == 0) state_ = state_ == State::kLength ? State::kComplete : State::kChunkEnd;
      return static_cast<ptrdiff_t>(n);
  }
  return -1;
}

ptrdiff_t AnswerReader::TakeHead(absl::string_view piece) {
  // The end may lie across two pieces.
  const size_t before = head_.size();
  head_.append(piece.data(), piece.size());
  const size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  if (std::min(end, head_.size()) > kHeadBytesMax) return -1;
  if (end == std::string::npos) return static_cast<ptrdiff_t>(piece.size());
  head_.resize(end + 4);
  const size_t taken = head_.size() - before;
  return ParseHead() ? static_cast<ptrdiff_t>(taken) : -1;
}

bool AnswerReader::ParseHead() {
  const size_t line_end = head_.find("\r\n");
  const absl::string_view line = absl::string_view(head_).substr(0, line_end);
  if (line.size() < 12 || !absl::StartsWith(line, "HTTP/1.") ||
      !absl::SimpleAtoi(line.substr(9, 3), &status_) || status_ < 100) {
    return false;
  }
  bool keep_alive = line[7] == '1';
  bool chunked = false;
  std::optional<uint64_t> length;
  std::array<Field, 128> fields;
  size_t count = 0;
  if (ParseFields(absl::string_view(head_).substr(line_end + 2), absl::MakeSpan(fields), &count) !=
      0) {
    return false;
  }
  for (const Field& field : absl::MakeConstSpan(fields.data(), count)) {
    if (absl::EqualsIgnoreCase(field.name, "content-length")) {
      uint64_t value = 0;
      if (!ParseLength(field.value, &value) || (length && *length != value)) return false;
      length = value;
    } else if (absl::EqualsIgnoreCase(field.name, "transfer-encoding")) {
      if (!absl::EqualsIgnoreCase(field.value, "chunked")) return false;
      chunked = true;
    } else if (absl::EqualsIgnoreCase(field.name, "connection")) {
      if (HasToken(field.value, "close")) keep_alive = false;
      if (HasToken(field.value, "keep-alive")) keep_alive = true;
    }
  }
  if (status_ < 200) {  // another head follows
    head_.clear();
    return true;
  }
  left_ = length.value_or(0);
  if (to_head_ || HasNoBody(status_) || (!chunked && length && left_ == 0)) {
    state_ = State::kComplete;
  } else if (chunked) {
    state_ = State::kChunkLine;
  } else {
    state_ = length ? State::kLength : State::kUntilEnd;
  }
  keep_alive_ = keep_alive && state_ != State::kUntilEnd;
  return true;
}

ptrdiff_t AnswerReader::TakeLine(absl::string_view piece) {
  const size_t newline = piece.find('\n');
  const size_t n = newline == absl::string_view::npos ? piece.size() : newline + 1;
  line_.append(piece.data(), n);
  if (line_.size() > kLineBytesMax) return -1;
  if (newline == absl::string_view::npos) return static_cast<ptrdiff_t>(n);
  const bool ok = OnLine();
  line_.clear();
  return ok ? static_cast<ptrdiff_t>(n) : -1;
}

bool AnswerReader::OnLine() {
  absl::string_view line = line_;
  absl::ConsumeSuffix(&line, "\n");
  absl::ConsumeSuffix(&line, "\r");
  if (state_ == State::kChunkEnd) {
    state_ = State::kChunkLine;
    return line.empty();
  }
  if (state_ == State::kTrailer) {
    if (line.empty()) state_ = State::kComplete;
    return true;
  }
  // Extensions of a chunk mean nothing to us.
  line = absl::StripAsciiWhitespace(line.substr(0, std::min(line.find(';'), line.size())));
  if (line.empty() || line.size() > 15) return false;
  left_ = 0;
  for (const char c : line) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    left_ = left_ * 16 + static_cast<uint64_t>(digit);
  }
  state_ = left_ == 0 ? State::kTrailer : State::kChunk;
  return true;
}

}  // namespace weft::http
