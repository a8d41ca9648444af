// Programs: facts and test runs.
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include <vector>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

// programInfo(fd)
Napi::Value ProgramInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  struct bpf_prog_info program = {};
  __u32 size = sizeof(program);
  if (bpf_obj_get_info_by_fd(info[0].As<Napi::Number>().Int32Value(), &program, &size) != 0) throw ErrnoError(env, errno, "BPF_OBJ_GET_INFO_BY_FD");
  Napi::Object result = Napi::Object::New(env);
  auto set = [&](const char* name, double value) { result.Set(name, Napi::Number::New(env, value)); };
  result.Set("name", Napi::String::New(env, program.name));
  set("type", program.type);
  set("id", program.id);
  set("verifiedInstructions", program.verified_insns);
  set("jitedBytes", program.jited_prog_len);
  set("runCount", static_cast<double>(program.run_cnt));
  set("runTimeNs", static_cast<double>(program.run_time_ns));
  return result;
}

// testRun(fd, data, context | null, repeat, dataOutBytes): { retval, data, context?, durationNs }
Napi::Value TestRun(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Uint8Array data = info[1].As<Napi::Uint8Array>();
  std::vector<uint8_t> data_out(info[4].As<Napi::Number>().Uint32Value());
  std::vector<uint8_t> context_out;

  struct bpf_test_run_opts options = {};
  options.sz = sizeof(options);
  options.data_in = data.Data();
  options.data_size_in = static_cast<__u32>(data.ByteLength());
  options.data_out = data_out.data();
  options.data_size_out = static_cast<__u32>(data_out.size());
  options.repeat = info[3].As<Napi::Number>().Int32Value();
  if (!info[2].IsNull()) {
    Napi::Uint8Array context = info[2].As<Napi::Uint8Array>();
    context_out.resize(context.ByteLength());
    options.ctx_in = context.Data();
    options.ctx_size_in = static_cast<__u32>(context.ByteLength());
    options.ctx_out = context_out.data();
    options.ctx_size_out = static_cast<__u32>(context_out.size());
  }
  if (bpf_prog_test_run_opts(info[0].As<Napi::Number>().Int32Value(), &options) != 0) throw ErrnoError(env, errno, "BPF_PROG_TEST_RUN");

  auto bytes = [&](const std::vector<uint8_t>& source, size_t size) {
    Napi::Uint8Array copy = Napi::Uint8Array::New(env, size);
    memcpy(copy.Data(), source.data(), size);
    return copy;
  };
  Napi::Object result = Napi::Object::New(env);
  result.Set("retval", Napi::Number::New(env, static_cast<int32_t>(options.retval)));
  result.Set("durationNs", Napi::Number::New(env, options.duration));
  result.Set("data", bytes(data_out, options.data_size_out));
  if (!info[2].IsNull()) result.Set("context", bytes(context_out, options.ctx_size_out));
  return result;
}

}  // namespace

void RegisterProgram(Napi::Env env, Napi::Object exports) {
  exports.Set("programInfo", Napi::Function::New(env, ProgramInfo));
  exports.Set("testRun", Napi::Function::New(env, TestRun));
}

}  // namespace weft
