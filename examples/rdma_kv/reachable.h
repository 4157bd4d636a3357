// SPDX-License-Identifier: Apache-2.0
//
// Where the memory of the other side of an RPC is. The other side says so itself, and is believed
// only as far as its own machine: or whoever speaks to a store could have it send to anybody.
#ifndef WEFT_EXAMPLES_RDMA_KV_REACHABLE_H_
#define WEFT_EXAMPLES_RDMA_KV_REACHABLE_H_

#include <string>

#include "absl/status/statusor.h"
#include "weft/transports/address.h"

namespace rdma_kv {

// The address of a memory port that is told as `text` by who is at `machine`. One at any address of
// its machine (0.0.0.0) is reached at `machine`'s. InvalidArgument for what is no address, and for
// one of another machine, or within this one where `machine` is not. Names of shared memory and of
// simulations are of this machine, whoever has them.
absl::StatusOr<weft::Address> MemoryAddressOf(const std::string& text,
                                              const weft::Address& machine);

}  // namespace rdma_kv

#endif  // WEFT_EXAMPLES_RDMA_KV_REACHABLE_H_
