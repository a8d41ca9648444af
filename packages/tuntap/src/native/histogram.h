// Latencies in logarithmic buckets: 32 to each power of two, so a percentile is right to about 3 %.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <array>

namespace weft {

class Histogram {
 public:
  void Add(uint64_t value) {
    buckets_[BucketOf(value)]++;
    count_++;
    sum_ += static_cast<double>(value);
    max_ = std::max(max_, value);
  }

  uint64_t count() const { return count_; }
  uint64_t max() const { return max_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

  // Lower bound of the bucket in which the `fraction` quantile lies.
  uint64_t Quantile(double fraction) const {
    uint64_t left = static_cast<uint64_t>(fraction * static_cast<double>(count_));
    for (size_t i = 0; i < buckets_.size(); i++) {
      if (left < buckets_[i]) return LowerBound(i);
      left -= buckets_[i];
    }
    return max_;
  }

  // Calls `visit` with the lower bound and the count of each bucket that has any, in ascending order.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (size_t i = 0; i < buckets_.size(); i++) {
      if (buckets_[i] > 0) visit(LowerBound(i), buckets_[i]);
    }
  }

 private:
  static constexpr int kBits = 5;
  static size_t BucketOf(uint64_t value) {
    if (value < (1u << kBits)) return value;
    const int shift = 63 - __builtin_clzll(value) - kBits;
    return (static_cast<size_t>(shift + 1) << kBits) + ((value >> shift) & ((1u << kBits) - 1));
  }
  static uint64_t LowerBound(size_t bucket) {
    if (bucket < (1u << kBits)) return bucket;
    const int shift = static_cast<int>(bucket >> kBits) - 1;
    return ((uint64_t{1} << kBits) | (bucket & ((1u << kBits) - 1))) << shift;
  }

  std::array<uint64_t, (64 - kBits + 1) << kBits> buckets_ = {};
  uint64_t count_ = 0, max_ = 0;
  double sum_ = 0;
};

}  // namespace weft
