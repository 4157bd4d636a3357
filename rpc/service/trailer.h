// SPDX-License-Identifier: Apache-2.0
//
// How an absl::Status travels: its code in the head of the reply, its message and payloads, with
// the metadata of the handler, in a trailer, which only replies have that need one. Not for users.
#ifndef WEFT_RPC_SERVICE_TRAILER_H_
#define WEFT_RPC_SERVICE_TRAILER_H_

#include <cstddef>

#include "absl/status/status.h"
#include "weft/rpc/service/metadata.h"
#include "weft/rpc/service/service.pb.h"

namespace weft::rpc {

// Fills `trailer` with the message and payloads of `status` and with `metadata` (null: none), in at
// most `bytes_max` bytes: what is too much is left out, payloads first, then metadata, then the end
// of the message. Returns whether all went in.
bool FillTrailer(const absl::Status& status, const Metadata* metadata, size_t bytes_max,
                 wire::Trailer* trailer);

// The status that was sent with `code` and `trailer`.
absl::Status StatusOf(absl::StatusCode code, const wire::Trailer& trailer);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SERVICE_TRAILER_H_
