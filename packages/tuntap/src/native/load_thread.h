// A native thread that makes or takes load, apart from the event loop, and reports once at its end.
#pragma once

#include <napi.h>
#include <pthread.h>

#include <atomic>

namespace weft {

class LoadThread {
 public:
  LoadThread() = default;
  LoadThread(const LoadThread&) = delete;
  LoadThread& operator=(const LoadThread&) = delete;
  virtual ~LoadThread();

 protected:
  // Duplicates `fd` and starts the thread, on `cpu` alone when it is not negative. `on_done` is called on the event loop with
  // Report(), after the thread has ended. Throws with errno.
  void Start(Napi::Env env, int fd, int cpu, Napi::Function on_done);
  // Asks the thread to end; wakes it if it sleeps. Any thread, any number of times.
  void RequestStop();

  // On the thread.
  virtual void Run() = 0;
  // On the event loop, after Run().
  virtual Napi::Value Report(Napi::Env env) = 0;
  virtual void OnDone() {}

  bool stopping() const { return stop_.load(std::memory_order_relaxed); }
  // Sleeps until `fd()` has one of `events`, a stop is asked or `timeout_ms` ran out. True if `fd()` has an event.
  bool Wait(short events, int timeout_ms);
  // Sleeps, and at last spins, until a time of the monotonic clock or a stop. Returns the time.
  uint64_t WaitUntil(uint64_t due);
  int fd() const { return fd_; }

 private:
  static void* Main(void* self);
  static void OnEnvironmentEnd(void* self);
  void Join();

  int fd_ = -1;
  int wake_fd_ = -1;
  bool joinable_ = false;
  napi_env hook_env_ = nullptr;
  pthread_t thread_ = {};
  std::atomic<bool> stop_{false};
  Napi::ThreadSafeFunction done_;
};

uint64_t MonotonicNs();

}  // namespace weft
