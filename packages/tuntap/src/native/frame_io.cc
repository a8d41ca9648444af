// One frame at a time, and batches of writes.
#include <errno.h>
#include <unistd.h>

#include <memory>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

ssize_t ReadRetrying(int fd, void* data, size_t size) {
  ssize_t got;
  do {
    got = read(fd, data, size);
  } while (got < 0 && errno == EINTR);
  return got;
}

ssize_t WriteRetrying(int fd, const void* data, size_t size) {
  ssize_t put;
  do {
    put = write(fd, data, size);
  } while (put < 0 && errno == EINTR);
  return put;
}

// readFrame(fd, maxBytes): Uint8Array | null, null when nothing waits.
Napi::Value ReadFrame(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  static thread_local std::unique_ptr<uint8_t[]> scratch(new uint8_t[kMaxFrameBytes]);
  size_t size = info[1].As<Napi::Number>().Uint32Value();
  if (size > kMaxFrameBytes) size = kMaxFrameBytes;
  const ssize_t got = ReadRetrying(info[0].As<Napi::Number>().Int32Value(), scratch.get(), size);
  if (got < 0) {
    if (errno == EAGAIN) return env.Null();
    throw ErrnoError(env, errno, "read");
  }
  Napi::Uint8Array frame = Napi::Uint8Array::New(env, static_cast<size_t>(got));
  memcpy(frame.Data(), scratch.get(), static_cast<size_t>(got));
  return frame;
}

Napi::Value WriteFrame(const Napi::CallbackInfo& info) {
  Napi::Uint8Array frame = info[1].As<Napi::Uint8Array>();
  if (WriteRetrying(info[0].As<Napi::Number>().Int32Value(), frame.Data(), frame.ByteLength()) < 0) throw ErrnoError(info.Env(), errno, "write");
  return info.Env().Undefined();
}

// writeFrames(fd, frames): how many were written; fewer than given when the queue is full. Throws only if the first frame fails
// otherwise, so that no count is lost: the caller meets the error on its next call.
Napi::Value WriteFrames(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>().Int32Value();
  Napi::Array frames = info[1].As<Napi::Array>();
  const uint32_t count = frames.Length();
  for (uint32_t i = 0; i < count; i++) {
    Napi::HandleScope scope(env);
    Napi::Value value = frames.Get(i);
    if (!value.IsTypedArray()) throw Napi::TypeError::New(env, "Cannot write frame " + std::to_string(i) + ": must be a Uint8Array");
    Napi::Uint8Array frame = value.As<Napi::Uint8Array>();
    if (WriteRetrying(fd, frame.Data(), frame.ByteLength()) >= 0) continue;
    if (i > 0 || errno == EAGAIN || errno == ENOBUFS) return Napi::Number::New(env, i);
    throw ErrnoError(env, errno, "write");
  }
  return Napi::Number::New(env, count);
}

}  // namespace

void RegisterFrameIo(Napi::Env env, Napi::Object exports) {
  exports.Set("readFrame", Napi::Function::New(env, ReadFrame));
  exports.Set("writeFrame", Napi::Function::New(env, WriteFrame));
  exports.Set("writeFrames", Napi::Function::New(env, WriteFrames));
}

}  // namespace weft
