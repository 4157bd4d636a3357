// SPDX-License-Identifier: Apache-2.0
//
// What libibverbs made, given back when it goes; and what its errors mean.
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_OBJECTS_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_OBJECTS_H_

#include <infiniband/verbs.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "weft/transports/rdma/nic.h"

namespace weft::rdma {

struct VerbsDeleter {
  void operator()(ibv_context* it) const { ibv_close_device(it); }
  void operator()(ibv_pd* it) const { ibv_dealloc_pd(it); }
  void operator()(ibv_mr* it) const { ibv_dereg_mr(it); }
  void operator()(ibv_mw* it) const { ibv_dealloc_mw(it); }
  void operator()(ibv_cq* it) const { ibv_destroy_cq(it); }
  void operator()(ibv_qp* it) const { ibv_destroy_qp(it); }
  void operator()(ibv_comp_channel* it) const { ibv_destroy_comp_channel(it); }
};
template <typename T>
using VerbsPtr = std::unique_ptr<T, VerbsDeleter>;

// `what` failed with `error`, an errno. ENOMEM, which most often means too little memory that may
// be locked, says how to get more.
absl::Status VerbsError(absl::string_view what, int error);

inline ibv_gid ToVerbs(const Gid& gid) {
  ibv_gid result;
  for (size_t i = 0; i < gid.bytes.size(); ++i) result.raw[i] = gid.bytes[i];
  return result;
}

// The constant for a payload of `bytes`: 256, 512, 1024, 2048 or 4096; the next lower one.
ibv_mtu ToVerbsMtu(size_t bytes);

// 32 random bits, for keys and sequence numbers that others should not guess.
uint32_t RandomBits();

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_OBJECTS_H_
