// SPDX-License-Identifier: Apache-2.0
//
// How long requests take to serve, in simulations. Each distribution has the mean 1.
//
//   absl::StatusOr<ServiceTimes> times = ServiceTimes::Parse("bimodal:0.9,0.5,5.5");
//   const double factor = times->Draw(random);
//
//   fixed                    always 1
//   exponential              M/M/... of the textbooks
//   bimodal:P,SHORT,LONG     SHORT with probability P, else LONG
//   trace:FILE               one of the numbers in a file, each as likely as the others
#ifndef WEFT_BENCHMARKS_SERVICE_TIMES_H_
#define WEFT_BENCHMARKS_SERVICE_TIMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "weft/core/prng.h"

namespace weft::benchmarks {

class ServiceTimes {
 public:
  // InvalidArgument for what is none of the above; NotFound for a file that cannot be read. Numbers
  // are multiplied so that the mean is 1.
  static absl::StatusOr<ServiceTimes> Parse(absl::string_view text);

  // Greater than 0.
  double Draw(Prng& random) const;

 private:
  enum class Kind { kExponential, kBimodal, kList };
  static absl::StatusOr<ServiceTimes> Bimodal(absl::string_view parameters);
  static absl::StatusOr<ServiceTimes> Trace(const std::string& path);

  Kind kind_ = Kind::kExponential;
  double short_probability_ = 1;
  double short_ = 1;
  double long_ = 1;
  std::vector<float> list_;
};

}  // namespace weft::benchmarks

#endif  // WEFT_BENCHMARKS_SERVICE_TIMES_H_
