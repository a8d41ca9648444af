// A ring buffer map, read on the event loop.
//
// One wake-up hands over a batch: the poll is level-triggered, so what remains wakes the loop again after other handles had their turn.
// Records are copied out of the ring into memory of JavaScript's that each batch uses again; a batch that is too long for it gets its own.
#include <bpf/libbpf.h>
#include <errno.h>

#include <algorithm>
#include <vector>

#include "addon.h"
#include "errors.h"
#include "uv_poll.h"

namespace weft {
namespace {

// Records begin at multiples of so many bytes, so that JavaScript may read them as words.
constexpr size_t kAlignment = 8;

class RingBuffer : public Napi::ObjectWrap<RingBuffer> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "RingBuffer",
                       {InstanceMethod<&RingBuffer::Consume>("consume"), InstanceMethod<&RingBuffer::Rest>("rest"),
                        InstanceMethod<&RingBuffer::Wake>("wake"), InstanceMethod<&RingBuffer::Close>("close")});
  }

  // new RingBuffer(mapFd, onBatch: (count: number, bytes: Uint8Array) => void, bytes: Uint8Array, places: Uint32Array): record i stands in the given bytes from
  // places[2 i] on, places[2 i + 1] bytes long. A batch ends with the record that fills either.
  explicit RingBuffer(const Napi::CallbackInfo& info) : Napi::ObjectWrap<RingBuffer>(info), async_(info.Env(), "weft.RingBuffer") {
    callback_ = Napi::Persistent(info[1].As<Napi::Function>());
    shared_bytes_ = Napi::Persistent(info[2].As<Napi::Uint8Array>());
    shared_places_ = Napi::Persistent(info[3].As<Napi::Uint32Array>());
    room_bytes_ = shared_bytes_.Value().ByteLength();
    room_records_ = shared_places_.Value().ElementLength() / 2;
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
    const size_t at = (self->bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    self->bytes_.resize(at);
    self->bytes_.insert(self->bytes_.end(), bytes, bytes + size);
    self->places_.push_back(static_cast<uint32_t>(at));
    self->places_.push_back(static_cast<uint32_t>(size));
    // libbpf consumes this record all the same, and then stops.
    return self->count() >= self->room_records_ || self->bytes_.size() >= self->room_bytes_ ? -ECANCELED : 0;
  }

  size_t count() const { return places_.size() / 2; }

  static void OnReadable(void* owner, int) { static_cast<RingBuffer*>(owner)->ReadBatch(); }

  size_t Collect() {
    bytes_.clear();
    places_.clear();
    if (ring_ != nullptr) ring_buffer__consume(ring_);
    return count();
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
    Napi::Uint8Array bytes = shared_bytes_.Value();
    if (bytes_.size() > bytes.ByteLength()) bytes = Napi::Uint8Array::New(env, bytes_.size());
    std::copy(bytes_.begin(), bytes_.end(), bytes.Data());
    std::copy(places_.begin(), places_.end(), shared_places_.Value().Data());
    return {Napi::Number::New(env, static_cast<double>(count())), bytes};
  }

  // consume(): records handed over. Calls the callback like a wake-up, now.
  Napi::Value Consume(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const size_t read = Collect();
    if (read > 0) callback_.Call(Arguments(env));
    return Napi::Number::New(env, static_cast<double>(read));
  }

  // rest(): no wake-up until wake(), which comes at once if there are records then.
  Napi::Value Rest(const Napi::CallbackInfo& info) {
    if (ring_ != nullptr) poll_.Stop();
    return info.Env().Undefined();
  }

  Napi::Value Wake(const Napi::CallbackInfo& info) {
    const int error = ring_ == nullptr ? 0 : poll_.Start();
    if (error != 0) throw ErrnoError(info.Env(), -error, "uv_poll_start");
    return info.Env().Undefined();
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
  std::vector<uint32_t> places_;
  size_t room_bytes_ = 0;
  size_t room_records_ = 0;
  Napi::FunctionReference callback_;
  Napi::Reference<Napi::Uint8Array> shared_bytes_;
  Napi::Reference<Napi::Uint32Array> shared_places_;
  Napi::AsyncContext async_;
  UvPoll poll_;
};

}  // namespace

void RegisterRingBuffer(Napi::Env env, Napi::Object exports) { exports.Set("RingBuffer", RingBuffer::Define(env)); }

}  // namespace weft
