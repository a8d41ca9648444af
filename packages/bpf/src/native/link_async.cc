// Making a link beside the main thread. The kernel answers only after all packets on their way have passed (a grace period of 7 to 20 ms),
// and a process that binds a port has other things to do meanwhile.
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

constexpr char kOwnNetns[] = "/proc/thread-self/ns/net";

// A descriptor with an owner.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  void Set(int fd) { fd_ = fd; }
  void Release() { fd_ = -1; }

 private:
  int fd_;
};

bool IsSameFile(int one, int other) {
  struct stat a = {}, b = {};
  return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// One attach under way. It owns its descriptors: the program may be closed by the caller, and its number given away, before the pool's
// thread comes to it; and the link is closed, that is detached, if nobody is left to take it.
struct Attach {
  Attach(int program_fd, int netns_fd) : program(program_fd), netns(netns_fd) {}
  Fd program;
  Fd netns;
  Fd link;
  int ifindex = 0;
  enum bpf_attach_type type = {};
  uint32_t flags = 0;
  int error = 0;
  const char* syscall = "BPF_LINK_CREATE";
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
};

void CreateIn(Attach* attach) {
  struct bpf_link_create_opts options = {};
  options.sz = sizeof(options);
  options.flags = attach->flags;
  const int fd = bpf_link_create(attach->program.get(), attach->ifindex, attach->type, attach->flags == 0 ? nullptr : &options);
  if (fd < 0) attach->error = -fd;
  else attach->link.Set(fd);
}

// On a thread of libuv's pool, which others use too: it is left in the network namespace it was found in.
void Execute(napi_env, void* data) {
  auto* attach = static_cast<Attach*>(data);
  Fd own(open(kOwnNetns, O_RDONLY | O_CLOEXEC));
  if (own.get() < 0) {
    attach->error = errno;
    attach->syscall = "open";
    return;
  }
  if (IsSameFile(own.get(), attach->netns.get())) return CreateIn(attach);
  if (setns(attach->netns.get(), CLONE_NEWNET) != 0) {
    attach->error = errno;
    attach->syscall = "setns";
    return;
  }
  CreateIn(attach);
  if (setns(own.get(), CLONE_NEWNET) != 0) abort();
}

void Complete(napi_env raw, napi_status status, void* data) {
  std::unique_ptr<Attach> attach(static_cast<Attach*>(data));
  napi_delete_async_work(raw, attach->work);
  if (status == napi_cancelled) attach->error = ECANCELED;
  // While the environment ends, each of these calls may fail: then nobody learns of the link, and it goes with `attach`.
  try {
    Napi::Env env(raw);
    Napi::HandleScope scope(env);
    if (attach->error != 0) napi_reject_deferred(env, attach->deferred, ErrnoError(env, attach->error, attach->syscall).Value());
    else if (napi_resolve_deferred(env, attach->deferred, Napi::Number::New(env, attach->link.get())) == napi_ok) attach->link.Release();
  } catch (const Napi::Error&) {
  }
}

// createLinkAsync(programFd, ifindex, attachType, flags): Promise<fd>. The interface is one of the caller's network namespace.
Napi::Value CreateLinkAsync(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto number = [&](int i) { return info[i].As<Napi::Number>().Int32Value(); };
  const int program = fcntl(number(0), F_DUPFD_CLOEXEC, 0);
  if (program < 0) throw ErrnoError(env, errno, "BPF_LINK_CREATE");
  const int netns = open(kOwnNetns, O_RDONLY | O_CLOEXEC);
  const int opening = errno;
  auto attach = std::make_unique<Attach>(program, netns);
  if (netns < 0) throw ErrnoError(env, opening, "open");
  attach->ifindex = number(1);
  attach->type = static_cast<enum bpf_attach_type>(number(2));
  attach->flags = static_cast<uint32_t>(number(3));
  napi_value promise = nullptr;
  const napi_value name = Napi::String::New(env, "weft_bpf:attach");
  if (napi_create_async_work(env, nullptr, name, Execute, Complete, attach.get(), &attach->work) != napi_ok) {
    throw Napi::Error::New(env, "napi_create_async_work failed");
  }
  if (napi_create_promise(env, &attach->deferred, &promise) != napi_ok || napi_queue_async_work(env, attach->work) != napi_ok) {
    napi_delete_async_work(env, attach->work);
    throw Napi::Error::New(env, "napi_queue_async_work failed");
  }
  attach.release();
  return Napi::Value(env, promise);
}

}  // namespace

void RegisterLinkAsync(Napi::Env env, Napi::Object exports) {
  exports.Set("createLinkAsync", Napi::Function::New(env, CreateLinkAsync));
}

}  // namespace weft
