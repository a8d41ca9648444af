// The clsact way of attaching to tc, for kernels without tcx links: not tied to a descriptor, so it stays until detached.
#include <bpf/libbpf.h>
#include <errno.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

struct bpf_tc_hook HookOf(const Napi::CallbackInfo& info, int first) {
  struct bpf_tc_hook hook = {};
  hook.sz = sizeof(hook);
  hook.ifindex = info[first].As<Napi::Number>().Int32Value();
  hook.attach_point = info[first + 1].As<Napi::Boolean>().Value() ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  return hook;
}

struct bpf_tc_opts OptionsOf(const Napi::CallbackInfo& info, int first) {
  struct bpf_tc_opts options = {};
  options.sz = sizeof(options);
  options.handle = info[first].As<Napi::Number>().Uint32Value();
  options.priority = info[first + 1].As<Napi::Number>().Uint32Value();
  return options;
}

// attachClsact(programFd, ifindex, isIngress, handle, priority): program id. Replaces what is there under the same handle and priority.
Napi::Value AttachClsact(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  struct bpf_tc_hook hook = HookOf(info, 1);
  struct bpf_tc_opts options = OptionsOf(info, 3);
  LogCapture capture;
  int error = bpf_tc_hook_create(&hook);
  if (error != 0 && error != -EEXIST) throw ErrnoError(env, -error, "clsact", capture.text());
  options.prog_fd = info[0].As<Napi::Number>().Int32Value();
  options.flags = BPF_TC_F_REPLACE;
  error = bpf_tc_attach(&hook, &options);
  if (error != 0) throw ErrnoError(env, -error, "bpf_tc_attach", capture.text());
  return Napi::Number::New(env, options.prog_id);
}

// detachClsact(ifindex, isIngress, handle, priority): whether something was there. The qdisc stays: others may use it.
Napi::Value DetachClsact(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  struct bpf_tc_hook hook = HookOf(info, 0);
  struct bpf_tc_opts options = OptionsOf(info, 2);
  LogCapture capture;
  const int error = bpf_tc_detach(&hook, &options);
  if (error == 0) return Napi::Boolean::New(env, true);
  // EINVAL: the interface has no clsact qdisc.
  if (error == -ENOENT || error == -EINVAL) return Napi::Boolean::New(env, false);
  throw ErrnoError(env, -error, "bpf_tc_detach", capture.text());
}

// queryClsact(ifindex, isIngress, handle, priority): program id, or 0
Napi::Value QueryClsact(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  struct bpf_tc_hook hook = HookOf(info, 0);
  struct bpf_tc_opts options = OptionsOf(info, 2);
  LogCapture capture;
  const int error = bpf_tc_query(&hook, &options);
  if (error == 0) return Napi::Number::New(env, options.prog_id);
  if (error == -ENOENT || error == -EINVAL) return Napi::Number::New(env, 0);
  throw ErrnoError(env, -error, "bpf_tc_query", capture.text());
}

}  // namespace

void RegisterAttach(Napi::Env env, Napi::Object exports) {
  exports.Set("attachClsact", Napi::Function::New(env, AttachClsact));
  exports.Set("detachClsact", Napi::Function::New(env, DetachClsact));
  exports.Set("queryClsact", Napi::Function::New(env, QueryClsact));
}

}  // namespace weft
