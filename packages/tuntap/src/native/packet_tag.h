// VLAN tags of packet sockets.
//
// The kernel takes the outer tag off every frame before a packet socket sees it, and tells of it in an ancillary message
// (PACKET_AUXDATA, packet(7)). Whoever decides about frames must see it, so it is put back:
//
//   virtio-net header (0, 10 or 12) | destination, source (12) | TPID, TCI (4) | type and the rest
#pragma once

#include <linux/if_packet.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24
#endif

namespace weft {

// struct virtio_net_hdr (linux/virtio_net.h is no C++): flags 0, csum_start 6 to 7 in host order.
constexpr size_t kVnetHeaderBytes = 10, kCsumStartOffset = 6;
constexpr uint8_t kNeedsCsum = 1;

// What reading from a descriptor needs to know of it.
struct PacketKind {
  bool is_packet_socket = false;
  size_t header_bytes = 0;
};

inline PacketKind PacketKindOf(int fd) {
  PacketKind kind;
  int value = 0;
  socklen_t length = sizeof(value);
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &length) < 0 || value != AF_PACKET) return kind;
  kind.is_packet_socket = true;
  length = sizeof(value);
  if (getsockopt(fd, SOL_PACKET, PACKET_VNET_HDR_SZ, &value, &length) == 0 && value > 0) {
    kind.header_bytes = static_cast<size_t>(value);
    return kind;
  }
  length = sizeof(value);
  if (getsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &value, &length) == 0 && value > 0) kind.header_bytes = kVnetHeaderBytes;
  return kind;
}

inline ssize_t ReadTagged(int fd, const PacketKind& kind, uint8_t* data, size_t size) {
  constexpr size_t kTagBytes = 4, kAddressBytes = 12;
  union {
    char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct cmsghdr align;
  } control;
  struct iovec span = {data, size};
  struct msghdr message = {};
  message.msg_iov = &span;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);
  ssize_t got = recvmsg(fd, &message, 0);
  if (got < 0) return got;
  for (struct cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_PACKET || part->cmsg_type != PACKET_AUXDATA) continue;
    struct tpacket_auxdata aux;
    memcpy(&aux, CMSG_DATA(part), sizeof(aux));
    const size_t at = kind.header_bytes + kAddressBytes;
    if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0 || static_cast<size_t>(got) < at) break;
    // A frame that fills the buffer loses its last bytes, as one that is longer.
    const size_t total = static_cast<size_t>(got) + kTagBytes > size ? size : static_cast<size_t>(got) + kTagBytes;
    if (total < at + kTagBytes) break;
    memmove(data + at + kTagBytes, data + at, total - at - kTagBytes);
    const uint16_t tpid = (aux.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? aux.tp_vlan_tpid : 0x8100;
    data[at] = static_cast<uint8_t>(tpid >> 8);
    data[at + 1] = static_cast<uint8_t>(tpid);
    data[at + 2] = static_cast<uint8_t>(aux.tp_vlan_tci >> 8);
    data[at + 3] = static_cast<uint8_t>(aux.tp_vlan_tci);
    if (kind.header_bytes >= kVnetHeaderBytes && (data[0] & kNeedsCsum) != 0) {
      uint16_t start;
      memcpy(&start, data + kCsumStartOffset, sizeof(start));
      start = static_cast<uint16_t>(start + kTagBytes);
      memcpy(data + kCsumStartOffset, &start, sizeof(start));
    }
    got = static_cast<ssize_t>(total);
    break;
  }
  return got;
}

}  // namespace weft
