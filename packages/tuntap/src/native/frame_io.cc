// One frame at a time, and batches of writes.
#include <errno.h>
#include <string.h>

#include <memory>

#include "addon.h"
#include "errors.h"
#include "retry.h"

namespace weft {
namespace {

// readFrame(fd, maxBytes): Uint8Array | null, null when nothing waits.
Napi::Value ReadOne(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  static thread_local std::unique_ptr<uint8_t[]> scratch(new uint8_t[kMaxFrameBytes]);
  size_t size = info[1].As<Napi::Number>().Uint32Value();
  if (size > kMaxFrameBytes) size = kMaxFrameBytes;
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const ssize_t got = ReadFrame(fd, PacketKindOf(fd), scratch.get(), size);
  if (got < 0) {
    if (errno == EAGAIN) return env.Null();
    throw ErrnoError(env, errno, "read");
  }
  Napi::Uint8Array frame = Napi::Uint8Array::New(env, static_cast<size_t>(got));
  memcpy(frame.Data(), scratch.get(), static_cast<size_t>(got));
  return frame;
}

Napi::Value WriteOne(const Napi::CallbackInfo& info) {
  Napi::Uint8Array frame = info[1].As<Napi::Uint8Array>();
  if (WriteFrame(info[0].As<Napi::Number>().Int32Value(), frame.Data(), frame.ByteLength()) < 0) throw ErrnoError(info.Env(), errno, "write");
  return info.Env().Undefined();
}

// writeFrames(fd, frames): how many were written; fewer than given when the queue is full. Throws only if the first frame fails
// otherwise, so that no count is lost: the caller meets the error on its next call.
Napi::Value WriteMany(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  Napi::Array frames = info[1].As<Napi::Array>();
  const uint32_t count = frames.Length();
  for (uint32_t i = 0; i < count; i++) {
    Napi::HandleScope scope(env);
    Napi::Value value = frames.Get(i);
    if (!value.IsTypedArray()) throw Napi::TypeError::New(env, "Cannot write frame " + std::to_string(i) + ": must be a Uint8Array");
    Napi::Uint8Array frame = value.As<Napi::Uint8Array>();
    if (WriteFrame(fd, frame.Data(), frame.ByteLength()) >= 0) continue;
    if (i > 0 || errno == EAGAIN || errno == ENOBUFS) return Napi::Number::New(env, i);
    throw ErrnoError(env, errno, "write");
  }
  return Napi::Number::New(env, count);
}

}  // namespace

void RegisterFrameIo(Napi::Env env, Napi::Object exports) {
  exports.Set("readFrame", Napi::Function::New(env, ReadOne));
  exports.Set("writeFrame", Napi::Function::New(env, WriteOne));
  exports.Set("writeFrames", Napi::Function::New(env, WriteMany));
}

}  // namespace weft
