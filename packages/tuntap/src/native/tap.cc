// TAP and TUN devices: open, flags, offloads, persistence.
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

// Closes on every way out that does not release it.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

// 0 on failure, as if_nametoindex: the name may be gone already.
unsigned IndexOf(const char* name) { return if_nametoindex(name); }

// Opening a device that is up gives it a carrier, but the kernel starts its queue later, from a work queue: what is sent to it before then is
// dropped. Asking for the link's state does that work at once (ethtool_op_get_link() calls linkwatch_sync_dev(), from Linux 6.8 on; on earlier
// ones this changes nothing). Best effort: without it the device is open all the same.
void StartQueue(const char* name) {
  ScopedFd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socket_fd.get() < 0) return;
  struct ethtool_value state = {ETHTOOL_GLINK, 0};
  struct ifreq request = {};
  snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
  request.ifr_data = reinterpret_cast<char*>(&state);
  ioctl(socket_fd.get(), SIOCETHTOOL, &request);
}

// openTun(name, flags, vnetHeaderBytes, offloads): { fd, name, ifindex }. vnetHeaderBytes 0 leaves the size alone.
Napi::Value OpenTun(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  const uint32_t flags = info[1].As<Napi::Number>().Uint32Value();
  const int header_bytes = info[2].As<Napi::Number>().Int32Value();
  const uint32_t offloads = info[3].As<Napi::Number>().Uint32Value();

  ScopedFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw ErrnoError(env, errno, "open /dev/net/tun");
  struct ifreq request = {};
  snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name.c_str());
  request.ifr_flags = static_cast<short>(flags);
  if (ioctl(fd.get(), TUNSETIFF, &request) < 0) throw ErrnoError(env, errno, "TUNSETIFF");
  if (header_bytes != 0 && ioctl(fd.get(), TUNSETVNETHDRSZ, &header_bytes) < 0) throw ErrnoError(env, errno, "TUNSETVNETHDRSZ");
  // Offloads stay with a persistent device, so "none" is said too.
  if (ioctl(fd.get(), TUNSETOFFLOAD, static_cast<unsigned long>(offloads)) < 0) throw ErrnoError(env, errno, "TUNSETOFFLOAD");

  StartQueue(request.ifr_name);

  Napi::Object result = Napi::Object::New(env);
  result.Set("name", Napi::String::New(env, request.ifr_name));
  result.Set("ifindex", Napi::Number::New(env, IndexOf(request.ifr_name)));
  result.Set("fd", Napi::Number::New(env, fd.release()));
  return result;
}

// tunIoctl(fd, request, argument): the settings whose argument is an integer.
Napi::Value TunIoctl(const Napi::CallbackInfo& info) {
  static const struct {
    const char* name;
    unsigned long request;
  } kKnown[] = {{"TUNSETPERSIST", TUNSETPERSIST}, {"TUNSETOFFLOAD", TUNSETOFFLOAD}, {"TUNSETOWNER", TUNSETOWNER}, {"TUNSETGROUP", TUNSETGROUP}};
  const std::string name = info[1].As<Napi::String>();
  for (const auto& known : kKnown) {
    if (name != known.name) continue;
    const unsigned long argument = info[2].As<Napi::Number>().Uint32Value();
    if (ioctl(info[0].As<Napi::Number>().Int32Value(), known.request, argument) < 0) throw ErrnoError(info.Env(), errno, name);
    return info.Env().Undefined();
  }
  throw ErrnoError(info.Env(), EINVAL, name);
}

Napi::Value CloseFd(const Napi::CallbackInfo& info) {
  if (close(info[0].As<Napi::Number>().Int32Value()) < 0 && errno != EINTR) throw ErrnoError(info.Env(), errno, "close");
  return info.Env().Undefined();
}

}  // namespace

void RegisterTap(Napi::Env env, Napi::Object exports) {
  exports.Set("openTun", Napi::Function::New(env, OpenTun));
  exports.Set("tunIoctl", Napi::Function::New(env, TunIoctl));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd));
}

}  // namespace weft
