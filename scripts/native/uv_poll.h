// One libuv poll handle on one file descriptor, safe against the end of its environment (a worker that terminates).
//
// libuv is declared here rather than included: its functions are part of every Node.js, its headers are not part of Node-API's.
// Handles are allocated by uv_handle_size(), so no struct layout is assumed.
#pragma once

#include <node_api.h>

namespace weft {

struct UvPollState;

class UvPoll {
 public:
  // `status` is 0 when the descriptor is readable, else a negative errno (libuv has stopped polling then; Start() resumes).
  using Callback = void (*)(void* owner, int status);

  UvPoll() = default;
  UvPoll(const UvPoll&) = delete;
  UvPoll& operator=(const UvPoll&) = delete;
  ~UvPoll() { Close(); }

  // Each returns 0 or a negative errno.
  int Open(napi_env env, int fd, Callback callback, void* owner);
  int Start();
  int Stop();
  // Idempotent. No callback comes after it; the descriptor may be closed at once.
  void Close();
  bool IsOpen() const { return state_ != nullptr; }

 private:
  friend struct UvPollState;
  UvPollState* state_ = nullptr;
};

}  // namespace weft
