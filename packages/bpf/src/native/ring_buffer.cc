// A ring buffer map, read on the event loop.
//
// One wake-up hands over at most kBatchRecords: the poll is level-triggered, so what remains wakes the loop again after other handles had
// their turn. Records are copied out of the ring into one ArrayBuffer a batch, which belongs to JavaScript.
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include <vector>

#include "addon.h"
#include "errors.h"
#include "uv_poll.h"

namespace weft {
namespace {

constexpr size_t kBatchRecords = 256;
constexpr size_t kBatchBytes = 256 * 1024;

class RingBuffer : public Napi::ObjectWrap<RingBuffer> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "RingBuffer", {InstanceMethod<&RingBuffer::Consume>("consume"), InstanceMethod<&RingBuffer::Close>("close")});
  }

  // new RingBuffer(mapFd, onBatch: (bytes: Uint8Array, lengths: number[]) => void); records follow each other without gaps.
  explicit RingBuffer(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RingBuffer>(info), async_(info.Env(), "weft.RingBuffer") {
    callback_ = Napi::Persistent(info[1].As<Napi::Function>());
    LogCapture capture;
    ring_ = ring_buffer__new(info[0].As<Napi::Number>().Int32Value(), OnRecord, this, nullptr);
    if (ring_ == nullptr) throw ErrnoError(info.Env(), errno, "ring_buffer__new", capture.text());
    int error = poll_.Open(info.Env(), ring_buffer__epoll_fd(ring_), OnReadable, this);
    if (error == 0) error = poll_.Start();
    if (error != 0) {
      Release();
      throw ErrnoError(info.Env(), -error, "uv_poll_init");
    }
    Ref();
  }

  ~RingBuffer() override { Release(); }

 private:
  static int OnRecord(void* owner, void* data, size_t size) {
    auto* self = static_cast<RingBuffer*>(owner);
    const auto* bytes = static_cast<const uint8_t*>(data);
    self->bytes_.insert(self->bytes_.end(), bytes, bytes + size);
    self->lengths_.push_back(static_cast<uint32_t>(size));
    // libbpf consumes this record all the same, and then stops.
    return self->lengths_.size() >= kBatchRecords || self->bytes_.size() >= kBatchBytes ? -ECANCELED : 0;
  }

  static void OnReadable(void* owner, int) { static_cast<RingBuffer*>(owner)->ReadBatch(); }

  size_t Collect() {
    bytes_.clear();
    lengths_.clear();
    if (ring_ != nullptr) ring_buffer__consume(ring_);
    return lengths_.size();
  }

  void ReadBatch() {
    if (Collect() == 0) return;
    Napi::Env env = Env();
    Napi::HandleScope scope(env);
    try {
      const std::vector<napi_value> arguments = Arguments(env);
      callback_.MakeCallback(env.Global(), arguments, async_);
    } catch (const Napi::Error& thrown) {
      napi_fatal_exception(env, thrown.Value());
    }
  }

  std::vector<napi_value> Arguments(Napi::Env env) {
    Napi::Uint8Array bytes = Napi::Uint8Array::New(env, bytes_.size());
    if (!bytes_.empty()) memcpy(bytes.Data(), bytes_.data(), bytes_.size());
    Napi::Array lengths = Napi::Array::New(env, lengths_.size());
    for (size_t i = 0; i < lengths_.size(); i++) lengths.Set(static_cast<uint32_t>(i), Napi::Number::New(env, lengths_[i]));
    return {bytes, lengths};
  }

  // consume(): records handed over. Calls the callback like a wake-up, now.
  Napi::Value Consume(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const size_t count = Collect();
    if (count > 0) callback_.Call(Arguments(env));
    return Napi::Number::New(env, static_cast<double>(count));
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (ring_ != nullptr) {
      Release();
      Unref();
    }
    return info.Env().Undefined();
  }

  void Release() {
    poll_.Close();
    ring_buffer__free(ring_);
    ring_ = nullptr;
  }

  struct ring_buffer* ring_ = nullptr;
  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> lengths_;
  Napi::FunctionReference callback_;
  Napi::AsyncContext async_;
  UvPoll poll_;
};

}  // namespace

void RegisterRingBuffer(Napi::Env env, Napi::Object exports) { exports.Set("RingBuffer", RingBuffer::Define(env)); }

}  // namespace weft
