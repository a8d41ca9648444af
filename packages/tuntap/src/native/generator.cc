// Sends prepared frames as fast as the interface takes them, or at a rate.
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <map>
#include <vector>

#include "addon.h"
#include "errors.h"
#include "load_thread.h"
#include "retry.h"

namespace weft {
namespace {

class Generator : public Napi::ObjectWrap<Generator>, public LoadThread {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Generator", {InstanceMethod<&Generator::Stop>("stop"), InstanceMethod<&Generator::Sent>("sent")});
  }

  // new Generator({ fd, cpu, frames, count, durationNs, ratePerSecond, sequenceOffset }, onDone); a negative number means "none".
  // sequenceOffset counts from the first byte of the frame as given.
  explicit Generator(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Generator>(info) {
    Napi::Object options = info[0].As<Napi::Object>();
    auto number = [&](const char* name) { return options.Get(name).As<Napi::Number>().DoubleValue(); };
    Napi::Array frames = options.Get("frames").As<Napi::Array>();
    for (uint32_t i = 0; i < frames.Length(); i++) {
      Napi::Uint8Array frame = frames.Get(i).As<Napi::Uint8Array>();
      frames_.emplace_back(frame.Data(), frame.Data() + frame.ByteLength());
    }
    count_ = number("count");
    duration_ns_ = number("durationNs");
    rate_ = number("ratePerSecond");
    sequence_offset_ = static_cast<int64_t>(number("sequenceOffset"));
    Start(info.Env(), static_cast<int>(number("fd")), static_cast<int>(number("cpu")), info[1].As<Napi::Function>());
    Ref();
  }

 private:
  void Run() override {
    const uint64_t start = MonotonicNs();
    uint64_t now = start;
    for (uint64_t attempt = 0; !stopping() && (count_ < 0 || attempt < count_); attempt++) {
      // The clock is read for each frame only where its time matters.
      if (rate_ > 0) {
        now = WaitUntil(start + static_cast<uint64_t>(static_cast<double>(attempt) * 1e9 / rate_));
        if (stopping()) break;
      } else if (sequence_offset_ >= 0 || (attempt & 31) == 0) {
        now = MonotonicNs();
      }
      if (duration_ns_ >= 0 && static_cast<double>(now - start) >= duration_ns_) break;
      std::vector<uint8_t>& frame = frames_[attempt % frames_.size()];
      if (sequence_offset_ >= 0) Stamp(frame, attempt, now);
      if (!Send(frame)) break;
    }
    elapsed_ns_ = MonotonicNs() - start;
  }

  void Stamp(std::vector<uint8_t>& frame, uint64_t sequence, uint64_t now) {
    const uint64_t words[2] = {htobe64(sequence), htobe64(now)};
    memcpy(frame.data() + sequence_offset_, words, sizeof(words));
  }

  // False when the interface is gone for good.
  bool Send(const std::vector<uint8_t>& frame) {
    for (;;) {
      if (WriteFrame(fd(), frame.data(), frame.size()) >= 0) {
        sent_.fetch_add(1, std::memory_order_relaxed);
        bytes_ += frame.size();
        return true;
      }
      if (errno == EAGAIN) {
        if (stopping()) return true;
        Wait(POLLOUT, 100);
        continue;
      }
      const int error = errno;
      errors_[error]++;
      return error != EBADFD && error != EBADF && error != ENODEV && error != ENXIO;
    }
  }

  Napi::Value Report(Napi::Env env) override {
    Napi::Object errors = Napi::Object::New(env);
    for (const auto& [error, count] : errors_) errors.Set(ErrnoName(error), Napi::Number::New(env, static_cast<double>(count)));
    Napi::Object result = Napi::Object::New(env);
    result.Set("sent", Napi::Number::New(env, static_cast<double>(sent_.load())));
    result.Set("bytes", Napi::Number::New(env, static_cast<double>(bytes_)));
    result.Set("errors", errors);
    result.Set("elapsedNs", Napi::Number::New(env, static_cast<double>(elapsed_ns_)));
    return result;
  }

  void OnDone() override { Unref(); }

  Napi::Value Stop(const Napi::CallbackInfo& info) {
    RequestStop();
    return info.Env().Undefined();
  }

  Napi::Value Sent(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(sent_.load())); }

  std::vector<std::vector<uint8_t>> frames_;
  double count_ = -1;
  double duration_ns_ = -1;
  double rate_ = -1;
  int64_t sequence_offset_ = -1;
  std::atomic<uint64_t> sent_{0};
  uint64_t bytes_ = 0;
  uint64_t elapsed_ns_ = 0;
  std::map<int, uint64_t> errors_;
};

}  // namespace

void RegisterGenerator(Napi::Env env, Napi::Object exports) { exports.Set("Generator", Generator::Define(env)); }

}  // namespace weft
