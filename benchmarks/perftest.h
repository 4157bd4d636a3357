// SPDX-License-Identifier: Apache-2.0
//
// perftest's programs (ib_send_lat, ib_read_bw, ...), which measure the bare verbs: what people who
// know RDMA hold figures against. Both ends are processes of this machine, each on a core.

#ifndef WEFT_BENCHMARKS_PERFTEST_H_
#define WEFT_BENCHMARKS_PERFTEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "weft/benchmarks/peer_process.h"

namespace weft::benchmarks {

// One of the two ends: where perftest opens its device.
struct PerftestEnd {
  std::string device;
  int port = 1;
  int gid_index = 0;
  std::string ip;
  int core = 0;
};

struct Perftest {
  std::string program;                 // "ib_send_lat"
  std::vector<std::string> arguments;  // of both ends, beside where they are: {"-c", "UD"}
};

// Which of the figures that perftest prints.
enum class PerftestFigure {
  kTypicalUs,       // t_typical: the median. Of ib_send_lat and ib_write_lat half the round trip.
  kBytesPerSecond,  // BW average
  kMessagesPerSecond,
};

// Unimplemented when it is not installed, with what to install.
absl::StatusOr<double> MeasurePerftest(const Perftest& test, PerftestFigure figure,
                                       const PerftestEnd& server, const PerftestEnd& client,
                                       absl::Duration timeout);

// What is in the output of such a program.
absl::StatusOr<double> ParsePerftest(absl::string_view output, PerftestFigure figure);

// What a program that calls these must be able to run.
absl::Span<const PeerRole> PerftestRoles();

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_PERFTEST_H_
