// Raw packet sockets, for ports that are not TAPs (a veth end of a container).
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"
#include "errors.h"

#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24
#endif

namespace weft {
namespace {

// openPacket(interfaceName, vnetHeaderBytes): { fd, name, ifindex }. vnetHeaderBytes is 0, 10 or 12.
Napi::Value OpenPacket(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  const int header_bytes = info[1].As<Napi::Number>().Int32Value();
  const unsigned ifindex = if_nametoindex(name.c_str());
  if (ifindex == 0) throw ErrnoError(env, errno, "if_nametoindex");

  // Protocol 0 receives nothing until bind() names one, so no frame of another interface slips in before.
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw ErrnoError(env, errno, "socket AF_PACKET");
  auto fail = [&](const char* call) {
    const int error = errno;
    close(fd);
    return ErrnoError(env, error, call);
  };
  const int on = 1;
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0) throw fail("PACKET_IGNORE_OUTGOING");
  if (header_bytes == 10 && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0) throw fail("PACKET_VNET_HDR");
  if (header_bytes == 12 && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR_SZ, &header_bytes, sizeof(header_bytes)) < 0) throw fail("PACKET_VNET_HDR_SZ");
  struct sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(ifindex);
  if (bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof(address)) < 0) throw fail("bind AF_PACKET");

  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, fd));
  result.Set("name", Napi::String::New(env, name));
  result.Set("ifindex", Napi::Number::New(env, ifindex));
  return result;
}

}  // namespace

void RegisterPacketSocket(Napi::Env env, Napi::Object exports) { exports.Set("openPacket", Napi::Function::New(env, OpenPacket)); }

}  // namespace weft
