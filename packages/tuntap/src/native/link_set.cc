// Settings of an interface by rtnetlink: what `ip link set` does, without a process for it.
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

constexpr uint8_t kIpv6AddressGenerationNone = 1;  // IN6_ADDR_GEN_MODE_NONE, linux/if_link.h

// A netlink message that grows by attributes.
struct LinkRequest {
  struct nlmsghdr header;
  struct ifinfomsg message;
  char attributes[256];

  struct rtattr* Append(int type, const void* data, size_t size) {
    auto* attribute = reinterpret_cast<struct rtattr*>(reinterpret_cast<char*>(this) + NLMSG_ALIGN(header.nlmsg_len));
    attribute->rta_type = static_cast<unsigned short>(type);
    attribute->rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
    if (size > 0) memcpy(RTA_DATA(attribute), data, size);
    header.nlmsg_len = NLMSG_ALIGN(header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    return attribute;
  }

  void Close(struct rtattr* nest) {
    nest->rta_len = static_cast<unsigned short>(reinterpret_cast<char*>(this) + header.nlmsg_len - reinterpret_cast<char*>(nest));
  }
};

void SetFlag(struct ifinfomsg* message, unsigned flag, bool on) {
  message->ifi_change |= flag;
  if (on) message->ifi_flags |= flag;
}

// setLink(name, { up?, arp?, mtu?, group?, ipv6AddressGeneration? })
Napi::Value SetLink(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  const Napi::Object wanted = info[1].As<Napi::Object>();
  if (name.empty() || name.size() >= IFNAMSIZ) throw ErrnoError(env, EINVAL, "RTM_NEWLINK");
  LinkRequest request = {};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.message));
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.Append(IFLA_IFNAME, name.c_str(), name.size() + 1);
  if (wanted.Has("up")) SetFlag(&request.message, IFF_UP, wanted.Get("up").ToBoolean());
  if (wanted.Has("arp")) SetFlag(&request.message, IFF_NOARP, !wanted.Get("arp").ToBoolean());
  for (const auto& [key, type] : {std::pair<const char*, int>{"mtu", IFLA_MTU}, {"group", IFLA_GROUP}}) {
    if (!wanted.Has(key)) continue;
    const uint32_t value = wanted.Get(key).As<Napi::Number>().Uint32Value();
    request.Append(type, &value, sizeof(value));
  }
  if (wanted.Has("ipv6AddressGeneration") && !wanted.Get("ipv6AddressGeneration").ToBoolean()) {
    auto* families = request.Append(IFLA_AF_SPEC, nullptr, 0);
    auto* ipv6 = request.Append(AF_INET6, nullptr, 0);
    request.Append(IFLA_INET6_ADDR_GEN_MODE, &kIpv6AddressGenerationNone, sizeof(kIpv6AddressGenerationNone));
    request.Close(ipv6);
    request.Close(families);
  }

  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) throw ErrnoError(env, errno, "socket NETLINK_ROUTE");
  alignas(struct nlmsghdr) char reply[4096];
  const ssize_t sent = send(fd, &request, request.header.nlmsg_len, 0);
  const ssize_t got = sent < 0 ? -1 : recv(fd, reply, sizeof(reply), 0);
  const int error = errno;
  close(fd);
  if (got < 0) throw ErrnoError(env, error, "RTM_NEWLINK");
  auto* header = reinterpret_cast<struct nlmsghdr*>(reply);
  if (!NLMSG_OK(header, static_cast<size_t>(got)) || header->nlmsg_type != NLMSG_ERROR) throw ErrnoError(env, EPROTO, "RTM_NEWLINK");
  const int refused = -static_cast<struct nlmsgerr*>(NLMSG_DATA(header))->error;
  if (refused != 0) throw ErrnoError(env, refused, "RTM_NEWLINK");
  return env.Undefined();
}

}  // namespace

void RegisterLinkSet(Napi::Env env, Napi::Object exports) { exports.Set("setLink", Napi::Function::New(env, SetLink)); }

}  // namespace weft
