// Sends datagrams back to where they came from, in a native thread that runs in the network namespace of the thread that made it.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "addon.h"
#include "errors.h"
#include "load_thread.h"

namespace weft {
namespace {

class UdpEcho : public Napi::ObjectWrap<UdpEcho>, public LoadThread {
 public:
  static Napi::Function Define(Napi::Env env) { return DefineClass(env, "UdpEcho", {InstanceMethod<&UdpEcho::Stop>("stop")}); }

  // new UdpEcho({ address, port, cpu }, onDone)
  explicit UdpEcho(const Napi::CallbackInfo& info) : Napi::ObjectWrap<UdpEcho>(info) {
    Napi::Object options = info[0].As<Napi::Object>();
    struct sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options.Get("port").As<Napi::Number>().Uint32Value()));
    inet_pton(AF_INET, options.Get("address").As<Napi::String>().Utf8Value().c_str(), &address.sin_addr);
    const int bound = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bound < 0) throw ErrnoError(info.Env(), errno, "socket");
    // What comes while the thread waits for a CPU is not lost here.
    const int room = 8 << 20;
    setsockopt(bound, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    try {
      if (bind(bound, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) < 0) throw ErrnoError(info.Env(), errno, "bind");
      Start(info.Env(), bound, static_cast<int>(options.Get("cpu").As<Napi::Number>().Int32Value()), info[1].As<Napi::Function>());
    } catch (...) {
      close(bound);
      throw;
    }
    close(bound);
    Ref();
  }

 private:
  void Run() override {
    std::vector<char> buffer(65536);
    while (!stopping()) {
      struct sockaddr_in from = {};
      socklen_t length = sizeof(from);
      const ssize_t size = recvfrom(fd(), buffer.data(), buffer.size(), 0, reinterpret_cast<struct sockaddr*>(&from), &length);
      if (size >= 0) {
        if (sendto(fd(), buffer.data(), static_cast<size_t>(size), 0, reinterpret_cast<struct sockaddr*>(&from), length) >= 0) echoed_++;
      } else if (errno == EAGAIN) {
        Wait(POLLIN, 1000);
      }
    }
  }

  Napi::Value Report(Napi::Env env) override { return Napi::Number::New(env, static_cast<double>(echoed_)); }
  void OnDone() override { Unref(); }
  Napi::Value Stop(const Napi::CallbackInfo& info) {
    RequestStop();
    return info.Env().Undefined();
  }

  uint64_t echoed_ = 0;
};

}  // namespace

void RegisterUdpEcho(Napi::Env env, Napi::Object exports) { exports.Set("UdpEcho", UdpEcho::Define(env)); }

}  // namespace weft
