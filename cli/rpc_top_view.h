// SPDX-License-Identifier: Apache-2.0
//
// The lines that `weft rpc top` shows, of what a program told one after the other. Nothing here
// knows of terminals.
//
//   TopView view;
//   view.Add(*FetchTopSample(address, 100));   // again and again
//   for (const std::string& line : view.Methods(80)) std::puts(line.c_str());
#ifndef WEFT_CLI_RPC_TOP_VIEW_H_
#define WEFT_CLI_RPC_TOP_VIEW_H_

#include <cstddef>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "weft/cli/rpc_top_sample.h"

namespace weft::cli {

// What methods and sessions are sorted by. By name, the least is first, by numbers the greatest.
enum class TopOrder { kRate, kErrors, kInFlight, kLatency, kName };

const char* NameOf(TopOrder order);
// The one after it, and after the last the first.
TopOrder NextOf(TopOrder order);

class TopView {
 public:
  // A program that has started anew begins anew.
  void Add(TopSample sample);

  void SetOrder(TopOrder order) { order_ = order; }
  TopOrder order() const { return order_; }

  // Before the first Add(), all are empty. Rates are those between the last two samples; latencies
  // are of the calls that ended in the last 10 s or, where there are none, in brackets, since
  // start. Names are cut so that lines have `width` characters at most, if that is possible.
  std::string Program() const;  // "kv_server: running for 3m4s, pid 17, linux, 2 workers"
  std::string Totals() const;   // "1.2k served/s, ..."
  // The first line names the columns. Without methods or sessions there are no lines.
  std::vector<std::string> Methods(size_t width) const;
  std::vector<std::string> Sessions(size_t width) const;
  // What went wrong when the program was asked last, "" if nothing.
  std::string Trouble() const;

 private:
  // How much a second of what has grown since the sample before.
  double Rate(double now, double before) const;
  const TopSample& now() const { return samples_.back(); }
  const TopSample& before() const;
  // Of a method's calls that ended in the last 10 s.
  std::map<double, double> RecentBuckets(const std::string& key) const;

  TopOrder order_ = TopOrder::kRate;
  std::deque<TopSample> samples_;  // of the last 10 s and the one before them
};

// The greatest latency in ns that the `part` (0 to 1) of the calls do not exceed; 0 without calls.
double QuantileOf(const std::map<double, double>& buckets, double part);

// "0", "3.2", "1.21k", "45.6M".
std::string RateText(double per_second);
// "850ns", "12.3us", "4.00ms", "1.20s"; "-" for 0.
std::string TimeText(double ns);

}  // namespace weft::cli

#endif  // WEFT_CLI_RPC_TOP_VIEW_H_
