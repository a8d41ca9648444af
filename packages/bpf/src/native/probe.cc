// What this kernel can do, asked of the kernel itself.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <unistd.h>

#include "addon.h"
#include "btf_layout.h"
#include "errors.h"

namespace weft {
namespace {

// probeTcx(): 0 if tcx links can be made, else the errno that says why not. Attaches nothing: the interface named does not exist, which a
// kernel that knows the attach type says (ENODEV), and one that does not never gets to say (EINVAL).
Napi::Value ProbeTcx(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const struct bpf_insn instructions[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  LogCapture capture;
  const int program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "weft_probe", "GPL", instructions, 2, nullptr);
  if (program < 0) return Napi::Number::New(env, -program);
  const int link = bpf_link_create(program, INT_MAX, static_cast<enum bpf_attach_type>(46) /* BPF_TCX_INGRESS */, nullptr);
  close(program);
  if (link >= 0) close(link);
  return Napi::Number::New(env, link >= 0 || link == -ENODEV ? 0 : -link);
}

// kernelEnumerators(names): { [name]: value | -1 } from the kernel's own BTF; null without one. Takes tens of milliseconds.
Napi::Value KernelEnumerators(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  LogCapture capture;
  struct btf* btf = btf__load_vmlinux_btf();
  if (btf == nullptr) return env.Null();
  Napi::Array names = info[0].As<Napi::Array>();
  Napi::Object result = Napi::Object::New(env);
  for (uint32_t i = 0; i < names.Length(); i++) {
    const std::string name = names.Get(i).As<Napi::String>();
    result.Set(name, Napi::Number::New(env, static_cast<double>(EnumeratorValue(btf, name.c_str()))));
  }
  btf__free(btf);
  return result;
}

Napi::Value LibbpfVersion(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), libbpf_version_string()); }

}  // namespace

void RegisterProbe(Napi::Env env, Napi::Object exports) {
  exports.Set("probeTcx", Napi::Function::New(env, ProbeTcx));
  exports.Set("kernelEnumerators", Napi::Function::New(env, KernelEnumerators));
  exports.Set("libbpfVersion", Napi::Function::New(env, LibbpfVersion));
}

}  // namespace weft
