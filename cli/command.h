// SPDX-License-Identifier: Apache-2.0
//
// The commands of `weft`. Each has a file of its own, <name>_command.cc; main.cc has the table.
#ifndef WEFT_CLI_COMMAND_H_
#define WEFT_CLI_COMMAND_H_

#include <string>

#include "absl/types/span.h"

namespace weft::cli {

// Exit statuses, for scripts.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // it did not work: no reply, address in use
inline constexpr int kExitUsage = 2;   // it could not work: command line or configuration is wrong

// What follows the command's name on the command line.
using Arguments = absl::Span<const std::string>;

int Transports(Arguments arguments);
int ConfigCheck(Arguments arguments);
int ConfigPrint(Arguments arguments);
int NetShow(Arguments arguments);
int NetArp(Arguments arguments);
int NetStats(Arguments arguments);
int NetPing(Arguments arguments);
int RdmaCheck(Arguments arguments);
int RdmaDevices(Arguments arguments);
int RouterAdd(Arguments arguments);
int RouterDrain(Arguments arguments);
int RouterRemove(Arguments arguments);
int RouterServe(Arguments arguments);
int RouterShow(Arguments arguments);
int RpcCall(Arguments arguments);
int RpcList(Arguments arguments);
int RpcServe(Arguments arguments);
int RpcPing(Arguments arguments);
int RpcStats(Arguments arguments);
int RpcTop(Arguments arguments);
int TcpConnections(Arguments arguments);
int TcpStats(Arguments arguments);

}  // namespace weft::cli

#endif  // WEFT_CLI_COMMAND_H_
