// SPDX-License-Identifier: Apache-2.0
//
// Histogram: counts of non-negative 64-bit values (latencies in nanoseconds, sizes in bytes) in
// fixed memory, with a bounded relative error. Use it wherever a mean would hide the tail.
//
//   Histogram latency;                        // one thread writes
//   latency.Record(end_ns - start_ns);
//   HistogramSnapshot seen = latency.Snapshot();   // any thread reads
//   seen.Merge(other.Snapshot());
//   int64_t p99_ns = seen.Percentile(99);
//
// The buckets are log-linear as in HdrHistogram (hdrhistogram.org): each power of two is cut into
// 64 buckets of equal width, so that a bucket is never wider than 1/64 of its lower bound and
// values below 128 are exact.

#ifndef WEFT_CORE_HISTOGRAM_H_
#define WEFT_CORE_HISTOGRAM_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace weft {

// Where a value is counted. All functions are pure.
struct HistogramBuckets {
  static constexpr int kSubBucketBits = 6;
  static constexpr size_t kCount = (size_t{63} - kSubBucketBits + 1) << kSubBucketBits;

  // The bucket of `value`, which must not be negative; in [0, kCount).
  static constexpr size_t IndexOf(int64_t value) {
    constexpr uint64_t kSubBuckets = uint64_t{1} << kSubBucketBits;
    const uint64_t v = static_cast<uint64_t>(value);
    const int shift = std::bit_width(v | kSubBuckets) - 1 - kSubBucketBits;
    return (static_cast<size_t>(shift) << kSubBucketBits) + static_cast<size_t>(v >> shift);
  }

  // The least value that is counted in bucket `index`.
  static constexpr int64_t LowerBound(size_t index) {
    const int shift = ShiftOf(index);
    return static_cast<int64_t>((index - (static_cast<size_t>(shift) << kSubBucketBits)) << shift);
  }

  // How many values share bucket `index`.
  static constexpr int64_t Width(size_t index) { return int64_t{1} << ShiftOf(index); }

 private:
  static constexpr int ShiftOf(size_t index) {
    const int octave = static_cast<int>(index >> kSubBucketBits);
    return octave > 1 ? octave - 1 : 0;
  }
};

// What a histogram held at one moment; a plain value. Snapshots of several writers merge into one.
class HistogramSnapshot {
 public:
  HistogramSnapshot() : buckets_(HistogramBuckets::kCount) {}

  uint64_t count() const { return count_; }
  // The sum of all values; stays at the largest uint64_t once it would pass it.
  uint64_t sum() const { return sum_; }
  // Exact extremes; 0 when empty.
  int64_t min() const { return count_ == 0 ? 0 : min_; }
  int64_t max() const { return count_ == 0 ? 0 : max_; }
  double mean() const;

  // The value that `percent` (0..100, values outside are taken as the nearer end) of all values do
  // not exceed, by the nearest-rank definition: off by at most 1/128 of itself, exact at 0 and 100.
  // 0 when empty.
  int64_t Percentile(double percent) const;

  // How many values are below `bound`. Exact if `bound` is the lower bound of a bucket (every power
  // of two is, and so is 1.5 times one); otherwise values in the bucket of `bound` are left out.
  uint64_t CountBelow(int64_t bound) const;

  // How many values are in bucket `index` of HistogramBuckets.
  uint64_t CountAt(size_t index) const { return buckets_[index]; }

  // Adds everything that `other` counted.
  void Merge(const HistogramSnapshot& other);

 private:
  friend class Histogram;

  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  int64_t min_ = std::numeric_limits<int64_t>::max();
  int64_t max_ = 0;
};

// About 29 KiB. One thread calls Record; any thread may call Snapshot at the same time.
class Histogram {
 public:
  Histogram() = default;
  Histogram(const Histogram&) = delete;
  Histogram& operator=(const Histogram&) = delete;

  // Counts `value`; a negative one (a clock that stepped back) counts as 0. Never fails, allocates
  // or waits.
  void Record(int64_t value) {
    value = value < 0 ? 0 : value;
    if (value < min_.load(std::memory_order_relaxed)) min_.store(value, std::memory_order_relaxed);
    if (value > max_.load(std::memory_order_relaxed)) max_.store(value, std::memory_order_relaxed);
    uint64_t sum;
    if (__builtin_add_overflow(sum_.load(std::memory_order_relaxed), static_cast<uint64_t>(value),
                               &sum)) {
      sum = std::numeric_limits<uint64_t>::max();
    }
    sum_.store(sum, std::memory_order_relaxed);
    // Released last: a reader that sees this count also sees extremes that enclose the value.
    std::atomic<uint64_t>& bucket = buckets_[HistogramBuckets::IndexOf(value)];
    bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  // What has been recorded so far. While the writer runs, `sum` may already include values that
  // `count` does not; successive snapshots never go backwards.
  HistogramSnapshot Snapshot() const;

 private:
  std::atomic<uint64_t> sum_{0};
  std::atomic<int64_t> min_{std::numeric_limits<int64_t>::max()};
  std::atomic<int64_t> max_{0};
  std::atomic<uint64_t> buckets_[HistogramBuckets::kCount] = {};
};

}  // namespace weft

#endif  // WEFT_CORE_HISTOGRAM_H_
