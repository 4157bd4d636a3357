// SPDX-License-Identifier: Apache-2.0
//
// What happens to sessions, as lines of the log (weft/core/log.h):
//
//   server->set_session_events([port = &server->port()](const rpc::SessionEvent& event) {
//     rpc::LogSessionEvent(event, *port);
//   });
#ifndef WEFT_RPC_SESSION_LOG_H_
#define WEFT_RPC_SESSION_LOG_H_

#include "weft/rpc/session_event.h"
#include "weft/transports/datagram_port.h"

namespace weft::rpc {

// `port` is the client's or server's. Sessions that begin and end in good order are of interest to
// those who look for a fault only (debug); a peer that is lost, or wants no more requests, is told
// of in any case (info); a session that is refused is a warning.
void LogSessionEvent(const SessionEvent& event, const DatagramPort& port);

}  // namespace weft::rpc

#endif  // WEFT_RPC_SESSION_LOG_H_
