// Errors that cross into JavaScript: an Error with `errno`, `errnoName` and `syscall`; TypeScript turns it into a TunTapError.
#pragma once

#include <napi.h>
#include <string.h>

#include <string>

namespace weft {

inline std::string ErrnoName(int error) {
#if defined(__GLIBC__)
  const char* name = strerrorname_np(error);
  if (name != nullptr) return name;
#endif
  return "E" + std::to_string(error);
}

inline Napi::Error ErrnoError(Napi::Env env, int error, const std::string& syscall) {
  Napi::Error result = Napi::Error::New(env, syscall + ": " + strerror(error));
  result.Set("errno", Napi::Number::New(env, error));
  result.Set("errnoName", Napi::String::New(env, ErrnoName(error)));
  result.Set("syscall", Napi::String::New(env, syscall));
  return result;
}

}  // namespace weft
