#include "uv_poll.h"

#include <errno.h>
#include <stdlib.h>

extern "C" {
struct uv_loop_s;
// Values of libuv 1.x, part of its stable ABI.
#define WEFT_UV_POLL 8
#define WEFT_UV_READABLE 1
size_t uv_handle_size(int type);
int uv_poll_init(struct uv_loop_s* loop, void* handle, int fd);
int uv_poll_start(void* handle, int events, void (*callback)(void* handle, int status, int events));
int uv_poll_stop(void* handle);
void uv_close(void* handle, void (*callback)(void* handle));
void* uv_handle_get_data(const void* handle);
void uv_handle_set_data(void* handle, void* data);
}

namespace weft {

struct UvPollState {
  void* handle = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
  UvPoll* poll = nullptr;  // null once closed
  UvPoll::Callback callback = nullptr;
  void* owner = nullptr;

  static void OnEvent(void* handle, int status, int) {
    auto* state = static_cast<UvPollState*>(uv_handle_get_data(handle));
    if (state->poll != nullptr) state->callback(state->owner, status);
  }

  static void OnClosed(void* handle) {
    auto* state = static_cast<UvPollState*>(uv_handle_get_data(handle));
    if (state->hook != nullptr) napi_remove_async_cleanup_hook(state->hook);
    free(handle);
    delete state;
  }

  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* argument) {
    auto* state = static_cast<UvPollState*>(argument);
    if (state->poll != nullptr) state->poll->Close();
  }
};

int UvPoll::Open(napi_env env, int fd, Callback callback, void* owner) {
  struct uv_loop_s* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return -ENOSYS;
  void* handle = calloc(1, uv_handle_size(WEFT_UV_POLL));
  if (handle == nullptr) return -ENOMEM;
  int error = uv_poll_init(loop, handle, fd);
  if (error != 0) {
    free(handle);
    return error;
  }
  state_ = new UvPollState;
  state_->handle = handle;
  state_->poll = this;
  state_->callback = callback;
  state_->owner = owner;
  uv_handle_set_data(handle, state_);
  napi_add_async_cleanup_hook(env, UvPollState::OnEnvironmentEnd, state_, &state_->hook);
  return 0;
}

int UvPoll::Start() { return state_ == nullptr ? -EBADF : uv_poll_start(state_->handle, WEFT_UV_READABLE, UvPollState::OnEvent); }

int UvPoll::Stop() { return state_ == nullptr ? 0 : uv_poll_stop(state_->handle); }

void UvPoll::Close() {
  if (state_ == nullptr) return;
  UvPollState* state = state_;
  state_ = nullptr;
  state->poll = nullptr;
  uv_close(state->handle, UvPollState::OnClosed);
}

}  // namespace weft
