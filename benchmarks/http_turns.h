// SPDX-License-Identifier: Apache-2.0
//
// What httpd's code does with a second of a CPU over net_virtio_user and net_vhost while it is
// never idle: server and load are in one thread, each with its own stack and device, and have
// turns. The server's time on the CPU is that of its turns, so that the figure is the same however
// busy the machine is.

#ifndef WEFT_BENCHMARKS_HTTP_TURNS_H_
#define WEFT_BENCHMARKS_HTTP_TURNS_H_

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

// Requests for a page of 64 bytes, on 64 connections that are kept alive, or with a connection each
// that the server closes.
absl::StatusOr<double> MeasureHttpTurns(bool new_connections, int core, absl::Duration duration);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> HttpTurnsRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_HTTP_TURNS_H_
