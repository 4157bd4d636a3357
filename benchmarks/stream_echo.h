// SPDX-License-Identifier: Apache-2.0
//
// Round trips over byte streams of weft's TCP, between two processes that are pinned to a core each
// and never sleep, over net_virtio_user and net_vhost.

#ifndef WEFT_BENCHMARKS_STREAM_ECHO_H_
#define WEFT_BENCHMARKS_STREAM_ECHO_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "weft/benchmarks/floors/floors.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

// The median round trip of 64 bytes, in microseconds.
absl::StatusOr<double> MeasureStreamEcho(const floors::Options& options);

// What a program that calls it must be able to run.
absl::Span<const PeerRole> StreamEchoRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_STREAM_ECHO_H_
