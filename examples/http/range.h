// SPDX-License-Identifier: Apache-2.0
//
// Which part of a file a request wants (RFC 9110 section 14).
#ifndef WEFT_EXAMPLES_HTTP_RANGE_H_
#define WEFT_EXAMPLES_HTTP_RANGE_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace weft::http {

struct Range {
  enum class Kind : uint8_t {
    kWhole,          // all of it, by 200: no range, several, another unit, or none that is valid
    kPart,           // `length` bytes from `begin`, by 206
    kUnsatisfiable,  // none of them is there: 416
  };
  Kind kind = Kind::kWhole;
  uint64_t begin = 0;
  uint64_t length = 0;
};

// What the Range field `value` asks for of `size` bytes. Several ranges are ignored, as the RFC
// allows, and so is what is malformed.
Range ParseRange(absl::string_view value, uint64_t size);

}  // namespace weft::http

#endif  // WEFT_EXAMPLES_HTTP_RANGE_H_
