// SPDX-License-Identifier: Apache-2.0
//
// The head of an HTTP/1 request: request line and header fields (RFC 9112).
//
//   HeadScanner scanner;                                  // finds the end, piece by piece
//   const size_t end = scanner.Scan(piece);               // 0: not yet
//   RequestHead head;
//   const int status = ParseRequest(text, &head);         // 0, or what to answer: 400, 505, ...
//
// Everything is bounded and checked; nothing is copied: views are into the text that was parsed.
#ifndef WEFT_EXAMPLES_HTTP_REQUEST_H_
#define WEFT_EXAMPLES_HTTP_REQUEST_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace weft::http {

// Finds the empty line that ends a head, in pieces of any size. A bare newline ends a line too (RFC
// 9112 section 2.2).
class HeadScanner {
 public:
  // Looks at the bytes that follow those of earlier calls. Returns how many of them belong to the
  // head when it ends in them, the empty line included, else 0.
  size_t Scan(absl::string_view piece);
  void Reset() { state_ = State::kInLine; }

 private:
  enum class State : uint8_t {
    kInLine,
    kLineStart,    // behind a newline
    kLineStartCr,  // behind a newline and a carriage return
  };
  State state_ = State::kInLine;
};

struct Field {
  absl::string_view name;
  absl::string_view value;  // without the white space around it
};

struct RequestHead {
  static constexpr size_t kFieldsMax = 64;

  absl::string_view method;
  absl::string_view target;  // as it came: "/path?query", "http://host/path", "*"
  int minor_version = 1;     // of HTTP/1

  // What stands in `target` where the path is: without scheme and authority, and without the query.
  absl::string_view path;
  // Behind its question mark; empty if there is none.
  absl::string_view query;

  // The connection may be used for another request after this one (RFC 9112 section 9.3).
  bool keep_alive = true;
  // Of the body. No value: there is none, or `chunked`.
  std::optional<uint64_t> content_length;
  bool chunked = false;

  absl::Span<const Field> fields() const { return {all_fields.data(), field_count}; }
  // The first field of this name, whatever its case; null if there is none.
  const Field* Find(absl::string_view name) const;

  std::array<Field, kFieldsMax> all_fields;
  size_t field_count = 0;
};

// Parses a complete head, the empty line included. Returns 0, or the status of the answer to what
// is wrong:
//   400  malformed; no Host or several in HTTP/1.1; lengths that contradict each other, or a length
//        beside a Transfer-Encoding (request smuggling, RFC 9112 section 6.1)
//   431  more than kFieldsMax fields
//   501  a transfer coding other than chunked
//   505  another version than HTTP/1.0 or HTTP/1.1
int ParseRequest(absl::string_view text, RequestHead* head);

// Whether `list`, separated by commas, has `token`, in any case: Connection, Transfer-Encoding.
bool HasToken(absl::string_view list, absl::string_view token);

// Whether all of it are characters of a token (RFC 9110 section 5.6.2), at least one.
bool IsToken(absl::string_view text);

// Fields of requests and answers from `lines`, each with its newline, up to the empty one. Returns
// 0, 400 or 431.
int ParseFields(absl::string_view lines, absl::Span<Field> fields, size_t* count);

// A Content-Length: digits only, no overflow.
bool ParseLength(absl::string_view text, uint64_t* length);

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_REQUEST_H_
