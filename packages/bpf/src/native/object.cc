// One BPF object file: opened, configured, loaded by libbpf.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <vector>

#include "addon.h"
#include "btf_layout.h"
#include "errors.h"

namespace weft {
namespace {

// A log that overflows fails the load (ENOSPC), so it is large; the pages are only taken when written.
constexpr size_t kLogBytes = 16 << 20;

// The verifier gives up with EAGAIN when a signal waits for the thread, as a profiler's does every millisecond. Signals that come meanwhile are taken afterwards.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

class Object : public Napi::ObjectWrap<Object> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Object",
                       {InstanceMethod<&Object::Maps>("maps"), InstanceMethod<&Object::Programs>("programs"),
                        InstanceMethod<&Object::Variables>("variables"), InstanceMethod<&Object::SetVariable>("setVariable"),
                        InstanceMethod<&Object::SetMaxEntries>("setMaxEntries"), InstanceMethod<&Object::ReuseMap>("reuseMap"),
                        InstanceMethod<&Object::SetAutoload>("setAutoload"), InstanceMethod<&Object::Load>("load"),
                        InstanceMethod<&Object::MapFd>("mapFd"), InstanceMethod<&Object::ProgramFd>("programFd"),
                        InstanceMethod<&Object::Layout>("structLayout"), InstanceMethod<&Object::Close>("close")});
  }

  // new Object(pathOrBytes, name, verifierLogLevel)
  explicit Object(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Object>(info), log_(static_cast<char*>(malloc(kLogBytes)), free) {
    Napi::Env env = info.Env();
    if (log_ == nullptr) throw ErrnoError(env, ENOMEM, "malloc");
    log_.get()[0] = '\0';
    const std::string name = info[1].As<Napi::String>();
    struct bpf_object_open_opts options = {};
    options.sz = sizeof(options);
    options.object_name = name.c_str();
    options.kernel_log_buf = log_.get();
    options.kernel_log_size = kLogBytes;
    options.kernel_log_level = info[2].As<Napi::Number>().Uint32Value();
    LogCapture capture;
    if (info[0].IsString()) {
      const std::string path = info[0].As<Napi::String>();
      object_ = bpf_object__open_file(path.c_str(), &options);
    } else {
      Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
      object_ = bpf_object__open_mem(bytes.Data(), bytes.ByteLength(), &options);
    }
    if (object_ == nullptr) throw ErrnoError(env, errno, "bpf_object__open", capture.text());
  }

  ~Object() override { bpf_object__close(object_); }

 private:
  Napi::Value Maps(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Array result = Napi::Array::New(env);
    struct bpf_map* map;
    bpf_object__for_each_map(map, Opened(env)) {
      Napi::Object entry = Napi::Object::New(env);
      auto set = [&](const char* name, uint32_t value) { entry.Set(name, Napi::Number::New(env, value)); };
      entry.Set("name", Napi::String::New(env, bpf_map__name(map)));
      set("type", bpf_map__type(map));
      set("keySize", bpf_map__key_size(map));
      set("valueSize", bpf_map__value_size(map));
      set("maxEntries", bpf_map__max_entries(map));
      set("flags", bpf_map__map_flags(map));
      entry.Set("internal", Napi::Boolean::New(env, bpf_map__is_internal(map)));
      result.Set(result.Length(), entry);
    }
    return result;
  }

  Napi::Value Programs(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    Napi::Array result = Napi::Array::New(env);
    struct bpf_program* program;
    bpf_object__for_each_program(program, Opened(env)) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("name", Napi::String::New(env, bpf_program__name(program)));
      entry.Set("section", Napi::String::New(env, bpf_program__section_name(program)));
      entry.Set("type", Napi::Number::New(env, bpf_program__type(program)));
      result.Set(result.Length(), entry);
    }
    return result;
  }

  Napi::Value Variables(const Napi::CallbackInfo& info) { return GlobalVariables(info.Env(), bpf_object__btf(Opened(info.Env()))); }

  // setVariable(section, offset, bytes)
  Napi::Value SetVariable(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    const size_t offset = info[1].As<Napi::Number>().Uint32Value();
    Napi::Uint8Array bytes = info[2].As<Napi::Uint8Array>();
    size_t size = 0;
    struct bpf_map* map = FindMap(info);
    const auto* data = static_cast<const uint8_t*>(bpf_map__initial_value(map, &size));
    if (data == nullptr || offset + bytes.ByteLength() > size) throw ErrnoError(env, EINVAL, "bpf_map__initial_value");
    std::vector<uint8_t> changed(data, data + size);
    memcpy(changed.data() + offset, bytes.Data(), bytes.ByteLength());
    return Check(env, bpf_map__set_initial_value(map, changed.data(), size), "bpf_map__set_initial_value");
  }

  Napi::Value SetMaxEntries(const Napi::CallbackInfo& info) {
    return Check(info.Env(), bpf_map__set_max_entries(FindMap(info), info[1].As<Napi::Number>().Uint32Value()), "bpf_map__set_max_entries");
  }

  Napi::Value ReuseMap(const Napi::CallbackInfo& info) {
    return Check(info.Env(), bpf_map__reuse_fd(FindMap(info), info[1].As<Napi::Number>().Int32Value()), "bpf_map__reuse_fd");
  }

  Napi::Value SetAutoload(const Napi::CallbackInfo& info) {
    return Check(info.Env(), bpf_program__set_autoload(FindProgram(info), info[1].As<Napi::Boolean>().Value()), "bpf_program__set_autoload");
  }

  // Returns the kernel's log, empty unless a log level was asked. Errors carry it as `verifierLog`.
  Napi::Value Load(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    LogCapture capture;
    struct bpf_object* opened = Opened(env);
    const int error = [opened] {
      const SignalsBlocked blocked;
      return bpf_object__load(opened);
    }();
    if (error == 0) return Napi::String::New(env, log_.get());
    Napi::Error thrown = ErrnoError(env, -error, "bpf_object__load", capture.text());
    thrown.Set("verifierLog", Napi::String::New(env, log_.get()));
    throw thrown;
  }

  // A descriptor of the caller's own.
  Napi::Value MapFd(const Napi::CallbackInfo& info) { return Duplicate(info.Env(), bpf_map__fd(FindMap(info))); }
  Napi::Value ProgramFd(const Napi::CallbackInfo& info) { return Duplicate(info.Env(), bpf_program__fd(FindProgram(info))); }

  Napi::Value Layout(const Napi::CallbackInfo& info) {
    const std::string name = info[0].As<Napi::String>();
    return StructLayout(info.Env(), bpf_object__btf(Opened(info.Env())), name.c_str());
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    bpf_object__close(object_);
    object_ = nullptr;
    return info.Env().Undefined();
  }

  struct bpf_object* Opened(Napi::Env env) {
    if (object_ == nullptr) throw ErrnoError(env, EBADF, "bpf_object");
    return object_;
  }

  struct bpf_map* FindMap(const Napi::CallbackInfo& info) {
    const std::string name = info[0].As<Napi::String>();
    struct bpf_map* map = bpf_object__find_map_by_name(Opened(info.Env()), name.c_str());
    if (map == nullptr) throw ErrnoError(info.Env(), ENOENT, "bpf_object__find_map_by_name");
    return map;
  }

  struct bpf_program* FindProgram(const Napi::CallbackInfo& info) {
    const std::string name = info[0].As<Napi::String>();
    struct bpf_program* program = bpf_object__find_program_by_name(Opened(info.Env()), name.c_str());
    if (program == nullptr) throw ErrnoError(info.Env(), ENOENT, "bpf_object__find_program_by_name");
    return program;
  }

  static Napi::Value Check(Napi::Env env, int error, const char* call) {
    if (error != 0) throw ErrnoError(env, -error, call);
    return env.Undefined();
  }

  static Napi::Value Duplicate(Napi::Env env, int fd) {
    const int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) throw ErrnoError(env, fd < 0 ? EBADF : errno, "F_DUPFD_CLOEXEC");
    return Napi::Number::New(env, copy);
  }

  struct bpf_object* object_ = nullptr;
  std::unique_ptr<char, void (*)(void*)> log_;
};

}  // namespace

void RegisterObject(Napi::Env env, Napi::Object exports) { exports.Set("Object", Object::Define(env)); }

}  // namespace weft
