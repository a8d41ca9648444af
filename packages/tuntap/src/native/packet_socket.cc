// Raw packet sockets, for ports that are not TAPs (a veth end of a container).
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "addon.h"
#include "errors.h"
#include "packet_tag.h"

namespace weft {
namespace {

// openPacket(interfaceName, vnetHeaderBytes, receiveBufferBytes, filter): { fd, name, ifindex }. vnetHeaderBytes is 0, 10 or 12;
// receiveBufferBytes absent or 0 leaves the system's default; filter, absent or empty for none, is a Uint32Array of (code, jt, jf, k)
// for each instruction; sendOnly, absent for false, asks for no frames at all.
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
  if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) < 0) throw fail("PACKET_AUXDATA");
  const int buffer_bytes = info[2].IsNumber() ? info[2].As<Napi::Number>().Int32Value() : 0;
  // Beyond net.core.rmem_max only CAP_NET_ADMIN may go.
  if (buffer_bytes > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_bytes, sizeof(buffer_bytes)) < 0 &&
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes)) < 0)
    throw fail("SO_RCVBUF");
  if (info[3].IsTypedArray() && info[3].As<Napi::Uint32Array>().ElementLength() > 0) {
    Napi::Uint32Array filter = info[3].As<Napi::Uint32Array>();
    std::vector<struct sock_filter> code(filter.ElementLength() / 4);
    for (size_t i = 0; i < code.size(); i++) {
      code[i].code = static_cast<uint16_t>(filter[4 * i]);
      code[i].jt = static_cast<uint8_t>(filter[4 * i + 1]);
      code[i].jf = static_cast<uint8_t>(filter[4 * i + 2]);
      code[i].k = filter[4 * i + 3];
    }
    const struct sock_fprog program = {static_cast<unsigned short>(code.size()), code.data()};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0) throw fail("SO_ATTACH_FILTER");
  }
  struct sockaddr_ll address = {};
  address.sll_family = AF_PACKET;
  // Without a protocol the kernel hooks nothing into the interface's receive path; what is sent takes its protocol from the frame.
  const bool send_only = info[4].IsBoolean() && info[4].As<Napi::Boolean>().Value();
  address.sll_protocol = send_only ? 0 : htons(ETH_P_ALL);
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
