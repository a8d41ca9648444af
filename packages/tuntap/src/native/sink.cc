// Takes every frame an interface hands out, and counts.
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <mutex>
#include <vector>

#include "addon.h"
#include "errors.h"
#include "histogram.h"
#include "load_thread.h"
#include "retry.h"
#include "sequence_tracker.h"

namespace weft {
namespace {

struct SinkStats {
  uint64_t frames = 0, bytes = 0, largest_frame = 0, matched = 0, matched_bytes = 0, short_frames = 0;
  uint64_t first_ns = 0, last_ns = 0, max_gap_ns = 0, max_gap_after = 0;
  int error = 0;
  SequenceTracker sequence;
  Histogram latency;
};

class Sink : public Napi::ObjectWrap<Sink>, public LoadThread {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Sink", {InstanceMethod<&Sink::Stop>("stop"), InstanceMethod<&Sink::Stats>("stats")});
  }

  // new Sink({ fd, cpu, headerBytes, matchOffset, matchBytes, sequenceOffset }, onDone); a negative number means "none". Offsets count
  // from the Ethernet header; headerBytes (virtio-net header) are in front of it and in no count.
  explicit Sink(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Sink>(info) {
    Napi::Object options = info[0].As<Napi::Object>();
    auto number = [&](const char* name) { return options.Get(name).As<Napi::Number>().Int64Value(); };
    header_bytes_ = static_cast<size_t>(number("headerBytes"));
    match_offset_ = static_cast<size_t>(number("matchOffset"));
    Napi::Uint8Array match = options.Get("matchBytes").As<Napi::Uint8Array>();
    match_.assign(match.Data(), match.Data() + match.ByteLength());
    sequence_offset_ = number("sequenceOffset");
    spin_ = options.Get("spin").ToBoolean().Value();
    Start(info.Env(), static_cast<int>(number("fd")), static_cast<int>(number("cpu")), info[1].As<Napi::Function>());
    Ref();
  }

 private:
  void Run() override {
    std::vector<uint8_t> buffer(kMaxFrameBytes);
    while (!stopping()) {
      if (!spin_ && !Wait(POLLIN, 1000)) continue;
      // The lock is taken once a wake-up, not once a frame; stats() waits for at most one round.
      std::lock_guard<std::mutex> lock(mutex_);
      for (int i = 0; i < 256; i++) {
        const ssize_t got = ReadFrame(fd(), buffer.data(), buffer.size());
        if (got < 0) {
          if (errno == EAGAIN) break;
          stats_.error = errno;
          return;
        }
        Count(buffer.data(), static_cast<size_t>(got));
      }
    }
  }

  void Count(const uint8_t* data, size_t size) {
    if (size < header_bytes_) {
      stats_.short_frames++;
      return;
    }
    data += header_bytes_;
    size -= header_bytes_;
    stats_.frames++;
    stats_.bytes += size;
    stats_.largest_frame = std::max<uint64_t>(stats_.largest_frame, size);
    if (!Matches(data, size)) return;
    stats_.matched++;
    stats_.matched_bytes += size;
    CountArrival(data, size);
  }

  bool Matches(const uint8_t* data, size_t size) const {
    if (match_.empty()) return true;
    return size >= match_offset_ + match_.size() && memcmp(data + match_offset_, match_.data(), match_.size()) == 0;
  }

  void CountArrival(const uint8_t* data, size_t size) {
    const uint64_t now = MonotonicNs();
    if (stats_.first_ns == 0) stats_.first_ns = now;
    if (stats_.last_ns != 0 && now - stats_.last_ns > stats_.max_gap_ns) {
      stats_.max_gap_ns = now - stats_.last_ns;
      stats_.max_gap_after = stats_.sequence.last();
    }
    stats_.last_ns = now;
    uint64_t words[2];
    if (sequence_offset_ < 0 || size < static_cast<size_t>(sequence_offset_) + sizeof(words)) return;
    memcpy(words, data + sequence_offset_, sizeof(words));
    stats_.sequence.Add(be64toh(words[0]));
    const uint64_t sent = be64toh(words[1]);
    stats_.latency.Add(now > sent ? now - sent : 0);
  }

  Napi::Value Report(Napi::Env env) override {
    std::lock_guard<std::mutex> lock(mutex_);
    Napi::Object result = Napi::Object::New(env);
    auto set = [&](const char* name, double value) { result.Set(name, Napi::Number::New(env, value)); };
    set("frames", static_cast<double>(stats_.frames));
    set("bytes", static_cast<double>(stats_.bytes));
    set("largestFrame", static_cast<double>(stats_.largest_frame));
    set("matched", static_cast<double>(stats_.matched));
    set("matchedBytes", static_cast<double>(stats_.matched_bytes));
    set("shortFrames", static_cast<double>(stats_.short_frames));
    set("spanNs", static_cast<double>(stats_.last_ns - stats_.first_ns));
    set("maxGapNs", static_cast<double>(stats_.max_gap_ns));
    if (stats_.error != 0) result.Set("error", Napi::String::New(env, ErrnoName(stats_.error)));
    if (sequence_offset_ >= 0) {
      const SequenceTracker& sequence = stats_.sequence;
      set("sequenced", static_cast<double>(sequence.unique() + sequence.duplicates()));
      set("firstSequence", static_cast<double>(sequence.first()));
      set("lastSequence", static_cast<double>(sequence.last()));
      set("highestSequence", static_cast<double>(sequence.highest()));
      set("lost", static_cast<double>(sequence.lost()));
      set("duplicates", static_cast<double>(sequence.duplicates()));
      set("reordered", static_cast<double>(sequence.reordered()));
      set("maxGapAfterSequence", static_cast<double>(stats_.max_gap_after));
      set("latencyMeanNs", stats_.latency.mean());
      set("latencyP50Ns", static_cast<double>(stats_.latency.Quantile(0.50)));
      set("latencyP90Ns", static_cast<double>(stats_.latency.Quantile(0.90)));
      set("latencyP99Ns", static_cast<double>(stats_.latency.Quantile(0.99)));
      set("latencyMaxNs", static_cast<double>(stats_.latency.max()));
    }
    return result;
  }

  void OnDone() override { Unref(); }

  Napi::Value Stop(const Napi::CallbackInfo& info) {
    RequestStop();
    return info.Env().Undefined();
  }

  Napi::Value Stats(const Napi::CallbackInfo& info) { return Report(info.Env()); }

  size_t header_bytes_ = 0;
  size_t match_offset_ = 0;
  std::vector<uint8_t> match_;
  int64_t sequence_offset_ = -1;
  bool spin_ = false;
  std::mutex mutex_;
  SinkStats stats_;
};

}  // namespace

void RegisterSink(Napi::Env env, Napi::Object exports) { exports.Set("Sink", Sink::Define(env)); }

}  // namespace weft
