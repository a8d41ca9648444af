// Network namespaces of the calling thread.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

// openNetns(path): fd
Napi::Value OpenNetns(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "open " + path);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value SetNetns(const Napi::CallbackInfo& info) {
  if (setns(info[0].As<Napi::Number>().Int32Value(), CLONE_NEWNET) < 0) throw ErrnoError(info.Env(), errno, "setns");
  return info.Env().Undefined();
}

}  // namespace

void RegisterNetns(Napi::Env env, Napi::Object exports) {
  exports.Set("openNetns", Napi::Function::New(env, OpenNetns));
  exports.Set("setNetns", Napi::Function::New(env, SetNetns));
}

}  // namespace weft
