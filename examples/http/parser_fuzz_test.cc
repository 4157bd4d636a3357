// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a request, as an answer, as a path, a range and a date: nothing goes out of bounds,
// no path leaves the root, and pieces of any size give the same as the whole.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "weft/examples/http/conditions.h"
#include "weft/examples/http/date.h"
#include "weft/examples/http/path.h"
#include "weft/examples/http/range.h"
#include "weft/examples/http/request.h"
#include "weft/examples/http/response.h"

namespace weft::http {
namespace {

void Check(bool holds) {
  if (!holds) std::abort();
}

void TryRequest(absl::string_view input) {
  HeadScanner whole;
  const size_t end = whole.Scan(input);
  HeadScanner pieces;
  size_t found = 0;
  for (size_t i = 0; i < input.size() && found == 0; ++i) {
    if (pieces.Scan(input.substr(i, 1)) != 0) found = i + 1;
  }
  Check(found == end);
  static RequestHead head;
  if (end == 0 || ParseRequest(input.substr(0, end), &head) != 0) return;
  Check(IsToken(head.method) && !head.target.empty());
  CheckConditions(head, "\"a\"", 784111777);
  RangeApplies(head, "\"a\"", 784111777);
  for (const Field& field : head.fields()) Check(head.Find(field.name) != nullptr);
}

std::string Bodies(absl::string_view input, size_t piece_bytes, bool* malformed) {
  AnswerReader reader;
  std::string bodies;
  *malformed = false;
  reader.Begin(/*to_head=*/false);
  size_t at = 0;
  while (at < input.size()) {
    const absl::string_view piece = input.substr(at, piece_bytes);
    absl::string_view body;
    const ptrdiff_t taken = reader.Take(piece, &body);
    if (taken < 0) {
      *malformed = true;
      return bodies;
    }
    Check(static_cast<size_t>(taken) <= piece.size() && body.size() <= piece.size());
    bodies.append(body.data(), body.size());
    at += static_cast<size_t>(taken);
    if (reader.complete()) {
      bodies += '|';
      reader.Begin(/*to_head=*/false);
    }
  }
  return bodies;
}

void TryAnswer(absl::string_view input) {
  bool malformed = false;
  const std::string whole = Bodies(input, input.size() + 1, &malformed);
  bool malformed_in_pieces = false;
  const std::string pieces = Bodies(input, 1, &malformed_in_pieces);
  // A head that never ends is refused as soon as that is known.
  Check(malformed == malformed_in_pieces || input.size() > AnswerReader::kHeadBytesMax);
  if (!malformed) Check(whole == pieces);
}

void TryPath(absl::string_view input) {
  std::string name;
  if (DecodePath(input, &name) != 0) return;
  Check(!absl::StartsWith(name, "/") && name.find('\0') == std::string::npos);
  for (const absl::string_view segment : absl::StrSplit(name, '/')) {
    Check(segment != ".." && segment != ".");
  }
  std::string again;
  Check(DecodePath("/" + EncodePath(name), &again) == 0 || 3 * name.size() > kPathBytesMax);
  Check(again == name || 3 * name.size() > kPathBytesMax);
  MediaType(name);
}

}  // namespace
}  // namespace weft::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace weft::http;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  TryRequest(input);
  TryAnswer(input);
  TryPath(input);
  const Range range = ParseRange(input, 1000);
  Check(range.kind != Range::Kind::kPart ||
        (range.length > 0 && range.begin < 1000 && range.length <= 1000 - range.begin));
  if (const auto date = ParseDate(input)) Check(ParseDate(FormatDate(*date)) == date);
  return 0;
}
