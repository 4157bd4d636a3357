// SPDX-License-Identifier: Apache-2.0
//
// What Address::Parse() takes, ToString() prints in a form that parses to an equal address.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "weft/transports/address.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::StatusOr<weft::Address> address =
      weft::Address::Parse(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!address.ok()) return 0;
  const absl::StatusOr<weft::Address> again = weft::Address::Parse(address->ToString());
  if (!again.ok() || *again != *address) std::abort();
  return 0;
}
