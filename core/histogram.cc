// SPDX-License-Identifier: Apache-2.0

#include "weft/core/histogram.h"

#include <algorithm>
#include <cmath>

namespace weft {
namespace {

// The scheme's corners, checked where they are cheapest: at compile time.
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
static_assert(HistogramBuckets::IndexOf(0) == 0);
static_assert(HistogramBuckets::IndexOf(127) == 127 && HistogramBuckets::Width(127) == 1);
static_assert(HistogramBuckets::IndexOf(128) == 128 && HistogramBuckets::Width(128) == 2);
static_assert(HistogramBuckets::IndexOf(kLargest) == HistogramBuckets::kCount - 1);
static_assert(sizeof(Histogram) <= 30 * 1024);

uint64_t SaturatingAdd(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<uint64_t>::max() : sum;
}

}  // namespace

double HistogramSnapshot::mean() const {
  return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

int64_t HistogramSnapshot::Percentile(double percent) const {
  if (count_ == 0 || !(percent > 0)) return min();
  if (percent >= 100) return max_;
  const double exact_rank = percent / 100 * static_cast<double>(count_);
  const uint64_t rank =
      std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(exact_rank)), 1, count_);
  uint64_t seen = 0;
  for (size_t i = HistogramBuckets::IndexOf(min_); i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) {
      // The middle of the bucket halves the error that either end would have.
      const int64_t middle = HistogramBuckets::LowerBound(i) + (HistogramBuckets::Width(i) - 1) / 2;
      return std::clamp(middle, min_, max_);
    }
  }
  return max_;
}

uint64_t HistogramSnapshot::CountBelow(int64_t bound) const {
  if (bound <= 0) return 0;
  const size_t end = HistogramBuckets::IndexOf(bound);
  uint64_t count = 0;
  for (size_t i = 0; i < end; ++i) count += buckets_[i];
  return count;
}

void HistogramSnapshot::Merge(const HistogramSnapshot& other) {
  for (size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ = SaturatingAdd(sum_, other.sum_);
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

HistogramSnapshot Histogram::Snapshot() const {
  HistogramSnapshot snapshot;
  for (size_t i = 0; i < HistogramBuckets::kCount; ++i) {
    // Counting here, instead of in Record, keeps the count and the buckets consistent without a
    // lock.
    const uint64_t n = buckets_[i].load(std::memory_order_acquire);
    snapshot.buckets_[i] = n;
    snapshot.count_ += n;
  }
  if (snapshot.count_ == 0) return snapshot;
  snapshot.sum_ = sum_.load(std::memory_order_relaxed);
  snapshot.min_ = min_.load(std::memory_order_relaxed);
  snapshot.max_ = max_.load(std::memory_order_relaxed);
  return snapshot;
}

}  // namespace weft
