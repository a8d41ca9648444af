// When numbered frames passed an interface, both ways, by the kernel's clock: how long this thread waited for a processor is in none of its times.
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <vector>

#include "addon.h"
#include "errors.h"
#include "load_thread.h"

namespace weft {
namespace {

constexpr int kRoomBytes = 64 << 20;
constexpr size_t kBatch = 64;
// Of a frame only its head is read.
constexpr size_t kHeadBytes = 256;

class FrameLog : public Napi::ObjectWrap<FrameLog>, public LoadThread {
 public:
  static Napi::Function Define(Napi::Env env) { return DefineClass(env, "FrameLog", {InstanceMethod<&FrameLog::Stop>("stop")}); }

  // new FrameLog({ interfaceName, cpu, matchBytes, inOffset, outOffset, sequenceOffset }, onDone): frames that arrived with matchBytes at inOffset, and frames that
  // left with them at outOffset. Offsets count from the Ethernet header. In the network namespace of the thread that makes it.
  explicit FrameLog(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FrameLog>(info) {
    Napi::Env env = info.Env();
    Napi::Object options = info[0].As<Napi::Object>();
    auto number = [&](const char* name) { return options.Get(name).As<Napi::Number>().Int64Value(); };
    in_offset_ = static_cast<size_t>(number("inOffset"));
    out_offset_ = static_cast<size_t>(number("outOffset"));
    sequence_offset_ = static_cast<size_t>(number("sequenceOffset"));
    Napi::Uint8Array match = options.Get("matchBytes").As<Napi::Uint8Array>();
    match_.assign(match.Data(), match.Data() + match.ByteLength());
    const int opened = Open(env, options.Get("interfaceName").As<Napi::String>().Utf8Value());
    try {
      Start(env, opened, static_cast<int>(number("cpu")), info[1].As<Napi::Function>());
    } catch (...) {
      close(opened);
      throw;
    }
    close(opened);
    Ref();
  }

 private:
  struct Seen {
    uint64_t sequence;
    double at_ms;
    bool out;
  };

  static int Open(Napi::Env env, const std::string& name) {
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
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0) throw fail("SO_TIMESTAMPNS");
    // Beyond net.core.rmem_max only CAP_NET_ADMIN may go.
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kRoomBytes, sizeof(kRoomBytes)) < 0) throw fail("SO_RCVBUFFORCE");
    struct sockaddr_ll address = {};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(ifindex);
    if (bind(fd, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) < 0) throw fail("bind AF_PACKET");
    return fd;
  }

  struct Slot {
    uint8_t head[kHeadBytes];
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec))];
    struct sockaddr_ll from;
    struct iovec span;
  };

  void Run() override {
    std::vector<Slot> slots(kBatch);
    while (!stopping()) {
      Wait(POLLIN, 1000);
      while (Take(slots)) {
      }
    }
    while (Take(slots)) {
    }
    struct tpacket_stats counted = {};
    socklen_t length = sizeof(counted);
    if (getsockopt(fd(), SOL_PACKET, PACKET_STATISTICS, &counted, &length) == 0) missed_ = counted.tp_drops;
  }

  // One batch. False when there was none.
  bool Take(std::vector<Slot>& slots) {
    struct mmsghdr messages[kBatch] = {};
    for (size_t i = 0; i < kBatch; i++) {
      slots[i].span = {slots[i].head, kHeadBytes};
      struct msghdr& header = messages[i].msg_hdr;
      header.msg_iov = &slots[i].span;
      header.msg_iovlen = 1;
      header.msg_control = slots[i].control;
      header.msg_controllen = sizeof(slots[i].control);
      header.msg_name = &slots[i].from;
      header.msg_namelen = sizeof(slots[i].from);
    }
    const int got = recvmmsg(fd(), messages, kBatch, 0, nullptr);
    for (int i = 0; i < got; i++) Note(slots[i].head, messages[i].msg_len, slots[i].from.sll_pkttype == PACKET_OUTGOING, messages[i].msg_hdr);
    return got > 0;
  }

  void Note(const uint8_t* head, size_t size, bool out, struct msghdr& header) {
    const size_t at = out ? out_offset_ : in_offset_;
    size = size < kHeadBytes ? size : kHeadBytes;
    if (size < at + match_.size() || memcmp(head + at, match_.data(), match_.size()) != 0) return;
    uint64_t sequence;
    if (size < sequence_offset_ + sizeof(sequence)) return;
    memcpy(&sequence, head + sequence_offset_, sizeof(sequence));
    for (struct cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
      if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPNS) continue;
      struct timespec stamp;
      memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
      seen_.push_back({be64toh(sequence), static_cast<double>(stamp.tv_sec) * 1e3 + static_cast<double>(stamp.tv_nsec) / 1e6, out});
    }
  }

  Napi::Value Report(Napi::Env env) override {
    const size_t count = seen_.size();
    Napi::Float64Array sequences = Napi::Float64Array::New(env, count), times = Napi::Float64Array::New(env, count);
    Napi::Uint8Array out = Napi::Uint8Array::New(env, count);
    for (size_t i = 0; i < count; i++) {
      sequences[i] = static_cast<double>(seen_[i].sequence);
      times[i] = seen_[i].at_ms;
      out[i] = seen_[i].out ? 1 : 0;
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("sequences", sequences);
    result.Set("timesMs", times);
    result.Set("out", out);
    result.Set("missed", Napi::Number::New(env, static_cast<double>(missed_)));
    return result;
  }

  void OnDone() override { Unref(); }
  Napi::Value Stop(const Napi::CallbackInfo& info) {
    RequestStop();
    return info.Env().Undefined();
  }

  size_t in_offset_ = 0, out_offset_ = 0, sequence_offset_ = 0;
  std::vector<uint8_t> match_;
  std::vector<Seen> seen_;
  uint64_t missed_ = 0;
};

}  // namespace

void RegisterFrameLog(Napi::Env env, Napi::Object exports) { exports.Set("FrameLog", FrameLog::Define(env)); }

}  // namespace weft
