// The file system of pins.
#include <errno.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

constexpr long kBpfFsMagic = 0xcafe4a11;

// isBpffs(path): false also when there is no such path.
Napi::Value IsBpffs(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  struct statfs stats = {};
  const bool is = statfs(path.c_str(), &stats) == 0 && static_cast<uint32_t>(stats.f_type) == static_cast<uint32_t>(kBpfFsMagic);
  return Napi::Boolean::New(info.Env(), is);
}

Napi::Value MountBpffs(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  if (mount("bpf", path.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) throw ErrnoError(info.Env(), errno, "mount");
  return info.Env().Undefined();
}

Napi::Value Unmount(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  if (umount2(path.c_str(), MNT_DETACH) != 0) throw ErrnoError(info.Env(), errno, "umount");
  return info.Env().Undefined();
}

}  // namespace

void RegisterBpffs(Napi::Env env, Napi::Object exports) {
  exports.Set("isBpffs", Napi::Function::New(env, IsBpffs));
  exports.Set("mountBpffs", Napi::Function::New(env, MountBpffs));
  exports.Set("unmount", Napi::Function::New(env, Unmount));
}

}  // namespace weft
