// How long a turn on a processor the kernel gives this process's threads (kernel 6.12 and later).
#include <dirent.h>
#include <linux/types.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "addon.h"

namespace weft {
namespace {

// struct sched_attr of linux/sched/types.h, which not all C libraries go along with.
struct Attributes {
  __u32 size;
  __u32 policy;
  __u64 flags;
  __s32 nice;
  __u32 priority;
  __u64 runtime;
  __u64 deadline;
  __u64 period;
  __u32 util_min;
  __u32 util_max;
};

constexpr __u64 kResetOnFork = 1;

// lengthenTurns(factor): of all threads there are, once; later ones, and child processes, have the kernel's own length. Returns how many have longer ones: none where the kernel tells of no length,
// or refuses.
Napi::Value LengthenTurns(const Napi::CallbackInfo& info) {
  const uint32_t factor = info[0].As<Napi::Number>().Uint32Value();
  uint32_t longer = 0;
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return Napi::Number::New(info.Env(), longer);
  for (const struct dirent* entry; (entry = readdir(tasks)) != nullptr;) {
    const long thread = strtol(entry->d_name, nullptr, 10);
    struct Attributes now = {};
    if (thread <= 0 || syscall(SYS_sched_getattr, thread, &now, sizeof(now), 0) != 0) continue;
    if ((now.policy != SCHED_OTHER && now.policy != SCHED_BATCH) || now.runtime == 0) continue;
    if (now.flags & kResetOnFork) {
      longer++;
      continue;
    }
    now.size = sizeof(now);
    now.flags = kResetOnFork;
    now.runtime *= factor;
    if (syscall(SYS_sched_setattr, thread, &now, 0) == 0) longer++;
  }
  closedir(tasks);
  return Napi::Number::New(info.Env(), longer);
}

}  // namespace

void RegisterSched(Napi::Env env, Napi::Object exports) { exports.Set("lengthenTurns", Napi::Function::New(env, LengthenTurns)); }

}  // namespace weft
