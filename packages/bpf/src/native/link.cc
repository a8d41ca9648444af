// Links, and what all descriptors of BPF share: pins.
#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

// createLink(programFd, ifindex, attachType, flags): fd
Napi::Value CreateLink(const Napi::CallbackInfo& info) {
  auto number = [&](int i) { return info[i].As<Napi::Number>().Int32Value(); };
  struct bpf_link_create_opts options = {};
  options.sz = sizeof(options);
  options.flags = static_cast<__u32>(number(3));
  const int fd = bpf_link_create(number(0), number(1), static_cast<enum bpf_attach_type>(number(2)), options.flags == 0 ? nullptr : &options);
  if (fd < 0) throw ErrnoError(info.Env(), -fd, "BPF_LINK_CREATE");
  return Napi::Number::New(info.Env(), fd);
}

// updateLink(linkFd, programFd): replaces the program in one step.
Napi::Value UpdateLink(const Napi::CallbackInfo& info) {
  if (bpf_link_update(info[0].As<Napi::Number>().Int32Value(), info[1].As<Napi::Number>().Int32Value(), nullptr) != 0) {
    throw ErrnoError(info.Env(), errno, "BPF_LINK_UPDATE");
  }
  return info.Env().Undefined();
}

Napi::Value DetachLink(const Napi::CallbackInfo& info) {
  if (bpf_link_detach(info[0].As<Napi::Number>().Int32Value()) != 0) throw ErrnoError(info.Env(), errno, "BPF_LINK_DETACH");
  return info.Env().Undefined();
}

// linkInfo(fd): { type, id, programId, ifindex, attachType }; the last two are those of tcx links.
Napi::Value LinkInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  // struct bpf_link_info of a kernel newer than the headers this is built with: type, id, prog_id, then a union aligned to 8, which
  // for tcx holds ifindex and attach_type.
  uint32_t words[64] = {};
  __u32 size = sizeof(words);
  if (bpf_obj_get_info_by_fd(info[0].As<Napi::Number>().Int32Value(), words, &size) != 0) throw ErrnoError(env, errno, "BPF_OBJ_GET_INFO_BY_FD");
  Napi::Object result = Napi::Object::New(env);
  auto set = [&](const char* name, uint32_t value) { result.Set(name, Napi::Number::New(env, value)); };
  set("type", words[0]);
  set("id", words[1]);
  set("programId", words[2]);
  set("ifindex", words[4]);
  set("attachType", words[5]);
  return result;
}

Napi::Value Pin(const Napi::CallbackInfo& info) {
  const std::string path = info[1].As<Napi::String>();
  if (bpf_obj_pin(info[0].As<Napi::Number>().Int32Value(), path.c_str()) != 0) throw ErrnoError(info.Env(), errno, "BPF_OBJ_PIN");
  return info.Env().Undefined();
}

// openPin(path): { fd, kind: 'map' | 'prog' | 'link' | '' }
Napi::Value OpenPin(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = info[0].As<Napi::String>();
  const int fd = bpf_obj_get(path.c_str());
  if (fd < 0) throw ErrnoError(env, -fd, "BPF_OBJ_GET");
  char target[PATH_MAX] = "";
  const ssize_t length = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof(target) - 1);
  if (length > 0) target[length] = '\0';
  const char* kind = "";
  for (const char* known : {"map", "prog", "link"}) {
    if (strstr(target, known) != nullptr) kind = known;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, fd));
  result.Set("kind", Napi::String::New(env, kind));
  return result;
}

Napi::Value CloseFd(const Napi::CallbackInfo& info) {
  if (close(info[0].As<Napi::Number>().Int32Value()) < 0 && errno != EINTR) throw ErrnoError(info.Env(), errno, "close");
  return info.Env().Undefined();
}

}  // namespace

void RegisterLink(Napi::Env env, Napi::Object exports) {
  exports.Set("createLink", Napi::Function::New(env, CreateLink));
  exports.Set("updateLink", Napi::Function::New(env, UpdateLink));
  exports.Set("detachLink", Napi::Function::New(env, DetachLink));
  exports.Set("linkInfo", Napi::Function::New(env, LinkInfo));
  exports.Set("pin", Napi::Function::New(env, Pin));
  exports.Set("openPin", Napi::Function::New(env, OpenPin));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd));
}

}  // namespace weft
