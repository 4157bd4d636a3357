// SPDX-License-Identifier: Apache-2.0
//
// Opens the transport that a configuration describes, decorators included: what programs use.
//
//   ASSIGN_OR_RETURN(auto transport, OpenTransport(config.transport()));
#ifndef WEFT_TRANSPORTS_DECORATORS_OPEN_H_
#define WEFT_TRANSPORTS_DECORATORS_OPEN_H_

#include <memory>

#include "absl/status/statusor.h"
#include "weft/config/config.h"
#include "weft/transports/transport.h"

namespace weft {

// As OpenPlainTransport(); every port that the transport opens is wrapped in the decorators of
// `config`, the first of them outermost. They take datagrams and frames: where there are any, the
// transport offers no streams.
//
// The files of trace and pcap belong to one port each. The first port has the path of the
// configuration, with ".N" behind it for queue N of several; a further one of the same name has
// "-2", "-3", ... behind that.
absl::StatusOr<std::unique_ptr<Transport>> OpenTransport(const config::Transport& config);

// The same around a transport that is open already; `decorators` must not be empty.
std::unique_ptr<Transport> DecorateTransport(
    std::unique_ptr<Transport> plain,
    const google::protobuf::RepeatedPtrField<config::Decorator>& decorators);

}  // namespace weft

#endif  // WEFT_TRANSPORTS_DECORATORS_OPEN_H_
