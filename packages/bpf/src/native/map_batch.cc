// Maps, many entries a call. Types without batch operations are served one by one, in here, so that the cost stays one call of JavaScript.
#include <bpf/bpf.h>
#include <errno.h>

#include <algorithm>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

// What the kernel says of a map type or of a kernel without batches. EINVAL is also said for bad flags, which the single operation repeats.
bool LacksBatch(int error) { return error == EINVAL || error == EOPNOTSUPP || error == 524 /* ENOTSUPP */; }

int Fd(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

// updateBatch(fd, keys, values, count, keyBytes, valueBytes, flags): entries written. On an error the entries before it are written; the error
// carries their number as `done`.
Napi::Value UpdateBatch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = Fd(info);
  const uint8_t* keys = info[1].As<Napi::Uint8Array>().Data();
  const uint8_t* values = info[2].As<Napi::Uint8Array>().Data();
  const uint32_t total = info[3].As<Napi::Number>().Uint32Value();
  const size_t key_bytes = info[4].As<Napi::Number>().Uint32Value();
  const size_t value_bytes = info[5].As<Napi::Number>().Uint32Value();
  const uint64_t flags = info[6].As<Napi::Number>().Uint32Value();

  uint32_t done = total;
  int error = 0;
  struct bpf_map_batch_opts options = {};
  options.sz = sizeof(options);
  options.elem_flags = flags;
  if (bpf_map_update_batch(fd, keys, values, &done, &options) != 0) {
    error = errno;
    if (LacksBatch(error)) {
      error = 0;
      for (done = 0; done < total; done++) {
        if (bpf_map_update_elem(fd, keys + done * key_bytes, values + done * value_bytes, flags) == 0) continue;
        error = errno;
        break;
      }
    }
  }
  if (error == 0) return Napi::Number::New(env, total);
  Napi::Error thrown = ErrnoError(env, error, "BPF_MAP_UPDATE_BATCH");
  thrown.Set("done", Napi::Number::New(env, std::min(done, total)));
  throw thrown;
}

// deleteBatch(fd, keys, count, keyBytes): how many were there. One by one, since the kernel's batch stops at a missing key, and a missing key
// is no error here.
Napi::Value DeleteBatch(const Napi::CallbackInfo& info) {
  const int fd = Fd(info);
  const uint8_t* keys = info[1].As<Napi::Uint8Array>().Data();
  const uint32_t total = info[2].As<Napi::Number>().Uint32Value();
  const size_t key_bytes = info[3].As<Napi::Number>().Uint32Value();
  uint32_t deleted = 0;
  for (uint32_t i = 0; i < total; i++) {
    if (bpf_map_delete_elem(fd, keys + i * key_bytes) == 0) {
      deleted++;
    } else if (errno != ENOENT) {
      throw ErrnoError(info.Env(), errno, "BPF_MAP_DELETE_ELEM");
    }
  }
  return Napi::Number::New(info.Env(), deleted);
}

// lookupBatch(fd, cursor, isFirst, keys, values, room): { count, status }, status 'more', 'end', 'small' (a bucket does not fit `room`) or
// 'unsupported'. `cursor` is the kernel's own and is rewritten.
Napi::Value LookupBatch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Uint8Array cursor = info[1].As<Napi::Uint8Array>();
  uint32_t count = info[5].As<Napi::Number>().Uint32Value();
  void* from = info[2].As<Napi::Boolean>().Value() ? nullptr : cursor.Data();
  void* keys = info[3].As<Napi::Uint8Array>().Data();
  void* values = info[4].As<Napi::Uint8Array>().Data();
  const int failed = bpf_map_lookup_batch(Fd(info), from, cursor.Data(), keys, values, &count, nullptr);
  const char* status = "more";
  if (failed != 0) {
    if (errno == ENOENT) {
      status = "end";
    } else if (errno == ENOSPC) {
      status = "small";
      count = 0;
    } else if (LacksBatch(errno)) {
      status = "unsupported";
      count = 0;
    } else {
      throw ErrnoError(env, errno, "BPF_MAP_LOOKUP_BATCH");
    }
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("count", Napi::Number::New(env, count));
  result.Set("status", Napi::String::New(env, status));
  return result;
}

}  // namespace

void RegisterMapBatch(Napi::Env env, Napi::Object exports) {
  exports.Set("updateBatch", Napi::Function::New(env, UpdateBatch));
  exports.Set("deleteBatch", Napi::Function::New(env, DeleteBatch));
  exports.Set("lookupBatch", Napi::Function::New(env, LookupBatch));
}

}  // namespace weft
