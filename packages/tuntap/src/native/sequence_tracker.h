// Which numbers of a sequence arrived, in bounded memory.
//
//   ... forgotten ... | window of kWindow numbers, one bit each | highest + 1, not seen yet ...
//
// Lost = numbers between the first and the highest that never came. A number that comes more than kWindow late counts as a duplicate,
// since its bit is forgotten.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <vector>

namespace weft {

class SequenceTracker {
 public:
  void Add(uint64_t sequence) {
    if (unique_ == 0) {
      first_ = lowest_ = highest_ = last_ = sequence;
      unique_ = 1;
      Mark(sequence);
      return;
    }
    last_ = sequence;
    if (sequence > highest_) {
      const uint64_t forget = std::min(sequence - highest_, kWindow);
      for (uint64_t i = 1; i <= forget; i++) Clear(sequence - forget + i);
      highest_ = sequence;
    } else if (highest_ - sequence >= kWindow || Has(sequence)) {
      duplicates_++;
      return;
    } else {
      reordered_++;
      lowest_ = std::min(lowest_, sequence);
    }
    Mark(sequence);
    unique_++;
  }

  uint64_t first() const { return first_; }
  uint64_t last() const { return last_; }
  uint64_t highest() const { return highest_; }
  uint64_t unique() const { return unique_; }
  uint64_t duplicates() const { return duplicates_; }
  uint64_t reordered() const { return reordered_; }
  uint64_t lost() const { return unique_ == 0 ? 0 : highest_ - lowest_ + 1 - unique_; }

 private:
  static constexpr uint64_t kWindow = uint64_t{1} << 20;
  bool Has(uint64_t n) const { return (bits_[n % kWindow / 64] >> (n % 64)) & 1; }
  void Mark(uint64_t n) { bits_[n % kWindow / 64] |= uint64_t{1} << (n % 64); }
  void Clear(uint64_t n) { bits_[n % kWindow / 64] &= ~(uint64_t{1} << (n % 64)); }

  std::vector<uint64_t> bits_ = std::vector<uint64_t>(kWindow / 64);
  uint64_t first_ = 0, lowest_ = 0, highest_ = 0, last_ = 0, unique_ = 0, duplicates_ = 0, reordered_ = 0;
};

}  // namespace weft
