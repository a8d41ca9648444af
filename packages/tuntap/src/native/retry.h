// read(2) and write(2) of a descriptor of frames, without the errors that mean nothing.
//
// A packet socket keeps ENETDOWN from the last time its interface was down, and says it once, whatever the call and however long the
// interface has been up again. So ENETDOWN is believed when it is said twice.
#pragma once

#include <errno.h>
#include <unistd.h>

#include "packet_tag.h"

namespace weft {

template <typename Call>
ssize_t RetryStale(Call call) {
  bool asked_twice = false;
  for (;;) {
    const ssize_t result = call();
    if (result >= 0) return result;
    if (errno == EINTR) continue;
    if (errno != ENETDOWN || asked_twice) return result;
    asked_twice = true;
  }
}

inline ssize_t ReadFrame(int fd, void* data, size_t size) {
  return RetryStale([&] { return read(fd, data, size); });
}

// As ReadFrame; a frame of a packet socket has its VLAN tag put back where the wire had it.
inline ssize_t ReadFrame(int fd, const PacketKind& kind, void* data, size_t size) {
  if (!kind.is_packet_socket) return ReadFrame(fd, data, size);
  return RetryStale([&] { return ReadTagged(fd, kind, static_cast<uint8_t*>(data), size); });
}

inline ssize_t WriteFrame(int fd, const void* data, size_t size) {
  return RetryStale([&] { return write(fd, data, size); });
}

}  // namespace weft
