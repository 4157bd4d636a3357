// SPDX-License-Identifier: Apache-2.0
//
// What a server does at present: how many requests it is sent a second, and how long it takes for
// one, over the last second that has ended. For people who look, not for decisions.
#ifndef WEFT_ROUTER_SERVER_RATES_H_
#define WEFT_ROUTER_SERVER_RATES_H_

#include <cstdint>

namespace weft::router {

class ServerRates {
 public:
  static constexpr int64_t kPeriodNs = 1'000'000'000;

  // The server has said how long it took for a request. 0: it did not execute it, or was done
  // before its clock went on.
  void Served(uint32_t service_ns) {
    if (service_ns == 0) return;
    service_ns_ += service_ns;
    ++served_;
  }

  // To be called more often than once a second. `forwarded`: requests ever sent to the server.
  void Update(uint64_t forwarded, int64_t now_ns) {
    if (since_ns_ == 0) {
      since_ns_ = now_ns;
      forwarded_ = forwarded;
    }
    const int64_t passed_ns = now_ns - since_ns_;
    if (passed_ns < kPeriodNs) return;
    requests_per_s_ =
        static_cast<double>(forwarded - forwarded_) * 1e9 / static_cast<double>(passed_ns);
    service_us_ =
        served_ == 0 ? 0 : static_cast<double>(service_ns_) / 1e3 / static_cast<double>(served_);
    since_ns_ = now_ns;
    forwarded_ = forwarded;
    service_ns_ = 0;
    served_ = 0;
  }

  double requests_per_s() const { return requests_per_s_; }
  // The mean, from a request's arrival at the server to its end; 0: none took any time.
  double service_us() const { return service_us_; }

 private:
  int64_t since_ns_ = 0;  // the period; 0: there was none yet
  uint64_t forwarded_ = 0;
  uint64_t service_ns_ = 0;
  uint64_t served_ = 0;
  double requests_per_s_ = 0;
  double service_us_ = 0;
};

}  // namespace weft::router

#endif  // WEFT_ROUTER_SERVER_RATES_H_
