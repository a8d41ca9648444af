#include "errors.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

namespace weft {
namespace {

thread_local LogCapture* g_capture = nullptr;

int Print(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (g_capture == nullptr || level == LIBBPF_DEBUG) return 0;
  char* line = nullptr;
  const int length = vasprintf(&line, format, arguments);
  if (length >= 0) {
    g_capture->Append(line);
    free(line);
  }
  return length;
}

}  // namespace

LogCapture::LogCapture() : outer_(g_capture) { g_capture = this; }
LogCapture::~LogCapture() { g_capture = outer_; }

void InstallLibbpfLog() { libbpf_set_print(Print); }

std::string ErrnoName(int error) {
  if (error == 524) return "ENOTSUPP";  // the kernel's, unknown to libc
#if defined(__GLIBC__)
  const char* name = strerrorname_np(error);
  if (name != nullptr) return name;
#endif
  return "E" + std::to_string(error);
}

Napi::Error ErrnoError(Napi::Env env, int error, const std::string& syscall, const std::string& libbpf_log) {
  char words[128] = "";
  libbpf_strerror(error, words, sizeof(words));
  Napi::Error result = Napi::Error::New(env, syscall + ": " + words);
  result.Set("errno", Napi::Number::New(env, error));
  result.Set("errnoName", Napi::String::New(env, ErrnoName(error)));
  result.Set("syscall", Napi::String::New(env, syscall));
  if (!libbpf_log.empty()) result.Set("libbpfLog", Napi::String::New(env, libbpf_log));
  return result;
}

}  // namespace weft
