// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/service.h"

#include "absl/strings/str_cat.h"

namespace weft::rpc {

Task<absl::Status> Service::Unimplemented(const Method& method) {
  co_return absl::UnimplementedError(
      absl::StrCat("the server does not implement ", method.full_name));
}

}  // namespace weft::rpc
