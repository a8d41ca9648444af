// Errors that cross into JavaScript: an Error with `errno`, `errnoName`, `syscall` and libbpf's own words; TypeScript turns it into a
// BpfError.
#pragma once

#include <napi.h>

#include <string>

namespace weft {

// Collects what libbpf says on this thread while it lives; libbpf says nothing elsewhere.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  const std::string& text() const { return text_; }
  void Append(const char* text) { text_ += text; }

 private:
  std::string text_;
  LogCapture* outer_;
};

void InstallLibbpfLog();

std::string ErrnoName(int error);
// `error` is a positive errno, or one of libbpf's own codes (4000 and up).
Napi::Error ErrnoError(Napi::Env env, int error, const std::string& syscall, const std::string& libbpf_log = "");

}  // namespace weft
