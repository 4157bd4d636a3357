// SPDX-License-Identifier: Apache-2.0
#include "weft/rpc/service/observed_call.h"

namespace weft::rpc {

void ObservedCall::EndCancelled() { End(absl::CancelledError("nobody waits for it any more")); }

}  // namespace weft::rpc
