// SPDX-License-Identifier: Apache-2.0

#include "weft/benchmarks/veth_pair.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace weft::benchmarks {

absl::StatusOr<std::unique_ptr<VethPair>> VethPair::Make() {
  UniqueFd original(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!original || unshare(CLONE_NEWNET) != 0) {
    return absl::PermissionDeniedError("cannot make a network namespace: run as root");
  }
  auto pair = absl::WrapUnique(new VethPair(std::move(original)));
  std::string commands =
      absl::StrCat("PATH=$PATH:/usr/sbin:/sbin; exec >/dev/null 2>&1; ip link add ", kClient,
                   " type veth peer name ", kServer);
  // Without the kernel's own addresses, nothing but the benchmark's frames is on the cable.
  for (const char* end : {kClient, kServer}) {
    absl::StrAppend(&commands, " && ip link set ", end, " addrgenmode none && ip link set ", end,
                    " up");
  }
  if (std::system(commands.c_str()) != 0) {
    return absl::UnavailableError("cannot make a pair of veth interfaces: `ip link add` failed");
  }
  return pair;
}

VethPair::~VethPair() { setns(original_.get(), CLONE_NEWNET); }

}  // namespace weft::benchmarks
