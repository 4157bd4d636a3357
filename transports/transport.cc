// SPDX-License-Identifier: Apache-2.0
#include "weft/transports/transport.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace weft {
namespace {

absl::Status NotOffered(const Transport& transport, absl::string_view contract) {
  return absl::UnimplementedError(absl::StrCat("transport '", transport.name(), "' has no ",
                                               contract, "; it offers ",
                                               ContractNames(transport.capabilities())));
}

// The same for what weft's stack makes of frames.
absl::Status NotOfferedAbove(const Transport& transport, absl::string_view contract) {
  absl::Status status = NotOffered(transport, contract);
  if (!transport.capabilities().frames) return status;
  return absl::UnimplementedError(
      absl::StrCat(status.message(), "; for ", contract, " over them, give the configuration a ",
                   "network stack: `netstack { addresses: \"10.0.0.2/24\" }`"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DatagramPort>> Transport::OpenDatagramPort(const PortOptions&) {
  return NotOfferedAbove(*this, "datagrams");
}

absl::StatusOr<std::unique_ptr<StreamPort>> Transport::OpenStreamPort(const PortOptions&) {
  return NotOfferedAbove(*this, "streams");
}

absl::StatusOr<std::unique_ptr<FramePort>> Transport::OpenFramePort(const PortOptions&) {
  return NotOffered(*this, "frames");
}

absl::StatusOr<std::unique_ptr<RemoteMemory>> Transport::OpenRemoteMemory(const PortOptions&) {
  return NotOffered(*this, "remote memory");
}

std::string ContractNames(const Capabilities& capabilities) {
  std::vector<absl::string_view> names;
  if (capabilities.datagrams) names.push_back("datagrams");
  if (capabilities.streams) names.push_back("streams");
  if (capabilities.frames) names.push_back("frames");
  if (capabilities.remote_memory) names.push_back("remote memory");
  return names.empty() ? "nothing" : absl::StrJoin(names, ", ");
}

}  // namespace weft
