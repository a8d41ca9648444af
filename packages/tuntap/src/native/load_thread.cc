#include "load_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "errors.h"

namespace weft {

namespace {
constexpr uint64_t kSpinBelowNs = 60000;  // sleeping costs about this much on a busy machine
}  // namespace

uint64_t MonotonicNs() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

LoadThread::~LoadThread() { Join(); }

void LoadThread::Start(Napi::Env env, int fd, int cpu, Napi::Function on_done) {
  fd_ = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (fd_ < 0) throw ErrnoError(env, errno, "F_DUPFD_CLOEXEC");
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) {
    const int error = errno;
    Join();
    throw ErrnoError(env, error, "eventfd");
  }
  done_ = Napi::ThreadSafeFunction::New(env, on_done, "weft.LoadThread", 0, 1);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
    pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
  }
  const int error = pthread_create(&thread_, &attributes, Main, this);
  pthread_attr_destroy(&attributes);
  if (error != 0) {
    done_.Release();
    Join();
    throw ErrnoError(env, error, cpu >= 0 ? "pthread_create on CPU " + std::to_string(cpu) : "pthread_create");
  }
  joinable_ = true;
  // Hooks run last in, first out: this one joins the thread before the environment takes `done_` away.
  hook_env_ = env;
  napi_add_env_cleanup_hook(env, OnEnvironmentEnd, this);
}

void LoadThread::RequestStop() {
  stop_.store(true, std::memory_order_relaxed);
  const uint64_t one = 1;
  if (wake_fd_ >= 0 && write(wake_fd_, &one, sizeof(one)) < 0) return;  // full counter: already awake
}

bool LoadThread::Wait(short events, int timeout_ms) {
  struct pollfd polled[2] = {{fd_, events, 0}, {wake_fd_, POLLIN, 0}};
  return poll(polled, 2, timeout_ms) > 0 && polled[0].revents != 0;
}

uint64_t LoadThread::WaitUntil(uint64_t due) {
  for (;;) {
    const uint64_t now = MonotonicNs();
    if (now >= due || stopping()) return now;
    if (due - now <= kSpinBelowNs) continue;
    // In slices, so that a stop is seen.
    const uint64_t sleep_ns = due - now - kSpinBelowNs;
    const struct timespec nap = {0, static_cast<long>(sleep_ns < 50000000 ? sleep_ns : 50000000)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
  }
}

void* LoadThread::Main(void* argument) {
  auto* self = static_cast<LoadThread*>(argument);
  // Signals belong to the event loop's thread.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  self->Run();
  auto deliver = [](Napi::Env env, Napi::Function on_done, LoadThread* thread) {
    thread->Join();
    on_done.Call({thread->Report(env)});
    thread->OnDone();
  };
  // `done_` is copied: `self` may be gone once the call is queued.
  Napi::ThreadSafeFunction done = self->done_;
  done.NonBlockingCall(self, deliver);
  done.Release();
  return nullptr;
}

void LoadThread::OnEnvironmentEnd(void* argument) {
  auto* self = static_cast<LoadThread*>(argument);
  self->hook_env_ = nullptr;
  self->Join();
}

void LoadThread::Join() {
  if (joinable_) {
    RequestStop();
    pthread_join(thread_, nullptr);
    joinable_ = false;
  }
  if (hook_env_ != nullptr) napi_remove_env_cleanup_hook(hook_env_, OnEnvironmentEnd, this);
  hook_env_ = nullptr;
  if (fd_ >= 0) close(fd_);
  if (wake_fd_ >= 0) close(wake_fd_);
  fd_ = wake_fd_ = -1;
}

}  // namespace weft
