// SPDX-License-Identifier: Apache-2.0
//
// The Nic of a real device, or of Soft-RoCE, over libibverbs.
//
//   std::unique_ptr<Nic> nic = *OpenNic(config.transport().rdma(), *Address::Parse("10.77.0.1:0"));
//
// Beyond what nic.h says:
// - Objects end in this order: the queues of a completion queue, itself, windows, registrations.
// - Buffers given to PostReceives() have room for a whole datagram, path_mtu_bytes: on some devices
//   a longer one that comes in puts the queue pair into its error state.
// - OpenPath() and Connect() over RoCE have the kernel look the next hop's MAC up, which may take
//   up to a second when the neighbour is not known: talk to it in another way first.
// - A path that was closed while sends over it are under way is given back once they are complete.
// - One send in half a queue is signalled even if nobody asks for it, so that slots always come
//   back.
// - kBind of a window whose former kInvalidate is not known to be complete, or which is still bound
//   to a connection that has ended, first makes its former key void by a system call. kInvalidate
//   is for the connection that has bound the window.
// - Soft-RoCE (Linux 6.1) checks that a key is valid, for whom and for what, but not the bounds of
//   its window: only those of the whole registration. Register apart what not every peer may see.
// - Subscription::Take() is a system call.
#ifndef WEFT_TRANSPORTS_RDMA_VERBS_NIC_H_
#define WEFT_TRANSPORTS_RDMA_VERBS_NIC_H_

#include <memory>

#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/transports/address.h"
#include "weft/transports/rdma/nic.h"

namespace weft::rdma {

// On the device, port and GID that ChoosePort() in device.h picks, with its errors.
// ResourceExhausted: the limit of locked memory, and how to raise it.
absl::StatusOr<std::unique_ptr<Nic>> OpenNic(const config::Rdma& settings, const Address& local);

}  // namespace weft::rdma

#endif  // WEFT_TRANSPORTS_RDMA_VERBS_NIC_H_
