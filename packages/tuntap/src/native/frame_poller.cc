// Batched reads driven by the event loop.
//
//   buffer  | frame 0 | frame 1 | frame 2 | ... room for one largest frame must be left |      (one ArrayBuffer, reused)
//   spans   | offset 0, length 0 | offset 1, length 1 | ...                                    (Uint32Array, reused)
//
// One wake-up reads at most one batch: the poll is level-triggered, so what remains wakes the loop again after other handles had
// their turn.
#include <errno.h>

#include "addon.h"
#include "errors.h"
#include "retry.h"
#include "uv_poll.h"

namespace weft {
namespace {

class FramePoller : public Napi::ObjectWrap<FramePoller> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FramePoller",
                       {InstanceMethod<&FramePoller::Resume>("resume"), InstanceMethod<&FramePoller::Pause>("pause"),
                        InstanceMethod<&FramePoller::Close>("close")});
  }

  // new FramePoller(fd, buffer: Uint8Array, spans: Uint32Array, onBatch: (count, error | undefined) => void)
  explicit FramePoller(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FramePoller>(info), async_(info.Env(), "weft.FramePoller") {
    fd_ = info[0].As<Napi::Number>().Int32Value();
    kind_ = PacketKindOf(fd_);
    Napi::Uint8Array buffer = info[1].As<Napi::Uint8Array>();
    Napi::Uint32Array spans = info[2].As<Napi::Uint32Array>();
    data_ = buffer.Data();
    size_ = buffer.ByteLength();
    spans_data_ = spans.Data();
    batch_size_ = spans.ElementLength() / 2;
    buffer_ = Napi::Persistent(buffer.As<Napi::Object>());
    spans_ = Napi::Persistent(spans.As<Napi::Object>());
    callback_ = Napi::Persistent(info[3].As<Napi::Function>());
    const int error = poll_.Open(info.Env(), fd_, OnReadable, this);
    if (error != 0) throw ErrnoError(info.Env(), -error, "uv_poll_init");
    // An open poller is not collected, as any handle of the loop.
    Ref();
  }

 private:
  Napi::Value Resume(const Napi::CallbackInfo& info) {
    running_ = true;
    const int error = poll_.Start();
    if (error != 0) throw ErrnoError(info.Env(), -error, "uv_poll_start");
    return info.Env().Undefined();
  }

  Napi::Value Pause(const Napi::CallbackInfo& info) {
    running_ = false;
    poll_.Stop();
    return info.Env().Undefined();
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    running_ = false;
    if (poll_.IsOpen()) {
      poll_.Close();
      Unref();
    }
    return info.Env().Undefined();
  }

  static void OnReadable(void* owner, int status) { static_cast<FramePoller*>(owner)->ReadBatch(status); }

  void ReadBatch(int status) {
    size_t offset = 0;
    uint32_t count = 0;
    int error = 0;
    while (count < batch_size_ && size_ - offset >= kMaxFrameBytes) {
      const ssize_t got = ReadFrame(fd_, kind_, data_ + offset, kMaxFrameBytes);
      if (got < 0) {
        if (errno != EAGAIN) error = errno;
        break;
      }
      if (got == 0) break;
      spans_data_[2 * count] = static_cast<uint32_t>(offset);
      spans_data_[2 * count + 1] = static_cast<uint32_t>(got);
      count++;
      offset += (static_cast<size_t>(got) + 7) & ~size_t{7};
    }
    // libuv stops a handle that reports an error, and what a packet socket reports of its interface going down is over by now.
    if (status < 0 && error == 0 && running_ && poll_.Start() != 0) error = EBADF;
    if (count == 0 && error == 0) return;
    if (error != 0) poll_.Stop();
    Deliver(count, error);
  }

  void Deliver(uint32_t count, int error) {
    Napi::Env env = Env();
    Napi::HandleScope scope(env);
    napi_value arguments[2] = {Napi::Number::New(env, count), env.Undefined()};
    if (error != 0) arguments[1] = ErrnoError(env, error, "read").Value();
    try {
      callback_.MakeCallback(env.Global(), 2, arguments, async_);
    } catch (const Napi::Error& thrown) {
      napi_fatal_exception(env, thrown.Value());
    }
  }

  int fd_ = -1;
  PacketKind kind_;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  uint32_t* spans_data_ = nullptr;
  uint32_t batch_size_ = 0;
  bool running_ = false;
  Napi::ObjectReference buffer_;
  Napi::ObjectReference spans_;
  Napi::FunctionReference callback_;
  Napi::AsyncContext async_;
  UvPoll poll_;
};

}  // namespace

void RegisterFramePoller(Napi::Env env, Napi::Object exports) {
  exports.Set("FramePoller", FramePoller::Define(env));
  exports.Set("maxFrameBytes", Napi::Number::New(env, kMaxFrameBytes));
}

}  // namespace weft
