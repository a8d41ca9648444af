// What the kernel knows of an interface, asked by rtnetlink: right in every network namespace, where /sys shows the one it was
// mounted in.
#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

template <typename Visit>
void ForEachAttribute(const void* first, int length, Visit visit) {
  for (auto* attribute = static_cast<const struct rtattr*>(first); RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length)) {
    visit(attribute->rta_type & NLA_TYPE_MASK, RTA_DATA(attribute), static_cast<int>(RTA_PAYLOAD(attribute)));
  }
}

void SetTunData(Napi::Object result, const void* data, int length) {
  Napi::Env env = result.Env();
  auto set_flag = [&](const char* name, const void* value) { result.Set(name, Napi::Boolean::New(env, *static_cast<const uint8_t*>(value) != 0)); };
  auto set_number = [&](const char* name, const void* value) {
    uint32_t number;
    memcpy(&number, value, sizeof(number));
    result.Set(name, Napi::Number::New(env, number));
  };
  ForEachAttribute(data, length, [&](int type, const void* value, int) {
    switch (type) {
      case IFLA_TUN_OWNER: return set_number("owner", value);
      case IFLA_TUN_GROUP: return set_number("group", value);
      case IFLA_TUN_TYPE: return (void)result.Set("mode", *static_cast<const uint8_t*>(value) == IFF_TAP ? "tap" : "tun");
      case IFLA_TUN_VNET_HDR: return set_flag("vnetHdr", value);
      case IFLA_TUN_PERSIST: return set_flag("persistent", value);
      case IFLA_TUN_MULTI_QUEUE: return set_flag("multiQueue", value);
      case IFLA_TUN_NUM_QUEUES: return set_number("queueCount", value);
      default: return;
    }
  });
}

void SetLinkInfo(Napi::Object result, const void* info, int length) {
  const char* kind = "";
  const void* data = nullptr;
  int data_length = 0;
  ForEachAttribute(info, length, [&](int type, const void* value, int size) {
    if (type == IFLA_INFO_KIND) kind = static_cast<const char*>(value);
    if (type == IFLA_INFO_DATA) data = value, data_length = size;
  });
  result.Set("kind", Napi::String::New(result.Env(), kind));
  if (data != nullptr && strcmp(kind, "tun") == 0) SetTunData(result, data, data_length);
}

// linkInfo(name): { ifindex, up, carrier, mtu, mac, kind, ...tun data } | null when no such interface. mac: empty where there is none.
Napi::Value LinkInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string name = info[0].As<Napi::String>();
  struct {
    struct nlmsghdr header;
    struct ifinfomsg message;
    char attributes[64];
  } request = {};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.message));
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  auto* attribute = reinterpret_cast<struct rtattr*>(reinterpret_cast<char*>(&request) + NLMSG_ALIGN(request.header.nlmsg_len));
  attribute->rta_type = IFLA_IFNAME;
  attribute->rta_len = RTA_LENGTH(name.size() + 1);
  memcpy(RTA_DATA(attribute), name.c_str(), name.size() + 1);
  request.header.nlmsg_len = NLMSG_ALIGN(request.header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);

  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) throw ErrnoError(env, errno, "socket NETLINK_ROUTE");
  alignas(struct nlmsghdr) char reply[32768];
  const ssize_t sent = send(fd, &request, request.header.nlmsg_len, 0);
  const ssize_t got = sent < 0 ? -1 : recv(fd, reply, sizeof(reply), 0);
  const int error = errno;
  close(fd);
  if (got < 0) throw ErrnoError(env, error, "RTM_GETLINK");

  auto* header = reinterpret_cast<struct nlmsghdr*>(reply);
  if (!NLMSG_OK(header, static_cast<size_t>(got))) throw ErrnoError(env, EPROTO, "RTM_GETLINK");
  if (header->nlmsg_type == NLMSG_ERROR) {
    const int refused = -static_cast<struct nlmsgerr*>(NLMSG_DATA(header))->error;
    if (refused == ENODEV) return env.Null();
    throw ErrnoError(env, refused, "RTM_GETLINK");
  }
  auto* message = static_cast<struct ifinfomsg*>(NLMSG_DATA(header));
  Napi::Object result = Napi::Object::New(env);
  result.Set("ifindex", Napi::Number::New(env, message->ifi_index));
  result.Set("up", Napi::Boolean::New(env, (message->ifi_flags & 1 /* IFF_UP */) != 0));
  result.Set("carrier", Napi::Boolean::New(env, (message->ifi_flags & (1 << 16) /* IFF_LOWER_UP */) != 0));
  result.Set("mtu", Napi::Number::New(env, 0));
  result.Set("mac", Napi::Uint8Array::New(env, 0));
  result.Set("kind", Napi::String::New(env, ""));
  ForEachAttribute(IFLA_RTA(message), static_cast<int>(IFLA_PAYLOAD(header)), [&](int type, const void* value, int size) {
    if (type == IFLA_LINKINFO) SetLinkInfo(result, value, size);
    if (type == IFLA_MTU) result.Set("mtu", Napi::Number::New(env, *static_cast<const uint32_t*>(value)));
    if (type == IFLA_ADDRESS) {
      Napi::Uint8Array mac = Napi::Uint8Array::New(env, size);
      memcpy(mac.Data(), value, size);
      result.Set("mac", mac);
    }
  });
  return result;
}

}  // namespace

void RegisterLinkInfo(Napi::Env env, Napi::Object exports) { exports.Set("linkInfo", Napi::Function::New(env, LinkInfo)); }

}  // namespace weft
