// TCP request and response between two native threads: round trips on one connection, or connect, request, response, close. Threads start in the
// network namespace of the thread that makes them, so a probe made inside inNetns() runs in that namespace.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "addon.h"
#include "errors.h"
#include "histogram.h"
#include "load_thread.h"

namespace weft {
namespace {

struct sockaddr_in Address(Napi::Object options) {
  struct sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(options.Get("port").As<Napi::Number>().Uint32Value()));
  inet_pton(AF_INET, options.Get("address").As<Napi::String>().Utf8Value().c_str(), &address.sin_addr);
  return address;
}

void NoDelay(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

// Sends back what it gets, on any number of connections.
class TcpEcho : public Napi::ObjectWrap<TcpEcho>, public LoadThread {
 public:
  static Napi::Function Define(Napi::Env env) { return DefineClass(env, "TcpEcho", {InstanceMethod<&TcpEcho::Stop>("stop")}); }

  // new TcpEcho({ address, port, cpu }, onDone)
  explicit TcpEcho(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TcpEcho>(info) {
    Napi::Object options = info[0].As<Napi::Object>();
    const struct sockaddr_in address = Address(options);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0) throw ErrnoError(info.Env(), errno, "socket");
    const int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, reinterpret_cast<const struct sockaddr*>(&address), sizeof(address)) < 0 || listen(listener, 1024) < 0) {
      const int error = errno;
      close(listener);
      throw ErrnoError(info.Env(), error, "bind or listen");
    }
    try {
      Start(info.Env(), listener, static_cast<int>(options.Get("cpu").As<Napi::Number>().Int32Value()), info[1].As<Napi::Function>());
    } catch (...) {
      close(listener);
      throw;
    }
    close(listener);
    Ref();
  }

 private:
  void Run() override {
    std::vector<struct pollfd> polled = {{fd(), POLLIN, 0}};
    std::vector<char> buffer(65536);
    while (!stopping()) {
      if (poll(polled.data(), polled.size(), 50) <= 0) continue;
      for (size_t i = polled.size(); i-- > 1;) {
        if (polled[i].revents == 0) continue;
        const ssize_t length = recv(polled[i].fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (length > 0 && send(polled[i].fd, buffer.data(), static_cast<size_t>(length), MSG_NOSIGNAL) == length) continue;
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        close(polled[i].fd);
        polled[i] = polled.back();
        polled.pop_back();
      }
      if (polled[0].revents == 0) continue;
      for (int connection; (connection = accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
        NoDelay(connection);
        polled.push_back({connection, POLLIN, 0});
      }
    }
    for (size_t i = 1; i < polled.size(); i++) close(polled[i].fd);
  }

  Napi::Value Report(Napi::Env env) override { return env.Undefined(); }
  void OnDone() override { Unref(); }
  Napi::Value Stop(const Napi::CallbackInfo& info) {
    RequestStop();
    return info.Env().Undefined();
  }
};

class TcpProbe : public Napi::ObjectWrap<TcpProbe>, public LoadThread {
 public:
  static Napi::Function Define(Napi::Env env) { return DefineClass(env, "TcpProbe", {InstanceMethod<&TcpProbe::Stop>("stop")}); }

  // new TcpProbe({ address, port, source, cpu, durationNs, connectEach, orderly, ratePerSecond, count }, onDone); a negative number means "none".
  explicit TcpProbe(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TcpProbe>(info) {
    Napi::Object options = info[0].As<Napi::Object>();
    address_ = Address(options);
    const std::string source = options.Get("source").As<Napi::String>().Utf8Value();
    if (!source.empty()) {
      source_.sin_family = AF_INET;
      inet_pton(AF_INET, source.c_str(), &source_.sin_addr);
    }
    duration_ns_ = options.Get("durationNs").As<Napi::Number>().DoubleValue();
    rate_ = options.Get("ratePerSecond").As<Napi::Number>().DoubleValue();
    count_ = options.Get("count").As<Napi::Number>().DoubleValue();
    orderly_ = options.Get("orderly").As<Napi::Boolean>().Value();
    connect_each_ = options.Get("connectEach").As<Napi::Boolean>().Value();
    const int spare = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (spare < 0) throw ErrnoError(info.Env(), errno, "socket");
    try {
      Start(info.Env(), spare, static_cast<int>(options.Get("cpu").As<Napi::Number>().Int32Value()), info[1].As<Napi::Function>());
    } catch (...) {
      close(spare);
      throw;
    }
    close(spare);
    Ref();
  }

 private:
  void Run() override {
    const uint64_t start = MonotonicNs();
    int connection = connect_each_ ? -1 : Connect();
    uint64_t before = start;
    for (uint64_t turn = 0; !stopping() && (count_ < 0 || static_cast<double>(turn) < count_); turn++) {
      if (rate_ > 0) before = WaitUntil(start + static_cast<uint64_t>(static_cast<double>(turn) * 1e9 / rate_));
      if (stopping() || static_cast<double>(before - start) >= duration_ns_) break;
      if (connect_each_) connection = Connect();
      const bool done = connection >= 0 && Exchange(connection);
      const int error = errno;
      if (connect_each_ && connection >= 0) {
        if (!orderly_) {
          // A reset, so that a million connections leave no TIME_WAIT behind.
          const struct linger now = {1, 0};
          setsockopt(connection, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        }
        close(connection);
        connection = -1;
      }
      const uint64_t after = MonotonicNs();
      if (done) {
        histogram_.Add(after - before);
      } else {
        failed_++;
        errors_[error]++;
        if (!connect_each_) break;
      }
      before = after;
    }
    if (connection >= 0) close(connection);
    elapsed_ns_ = MonotonicNs() - start;
  }

  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    const struct timeval limit = {2, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    NoDelay(fd);
    if (source_.sin_family != 0) {
      // The port is chosen when the destination is known: else each address has its ports for one connection at a time only.
      const int one = 1;
      setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
      if (bind(fd, reinterpret_cast<const struct sockaddr*>(&source_), sizeof(source_)) < 0) return Abandon(fd);
    }
    if (connect(fd, reinterpret_cast<const struct sockaddr*>(&address_), sizeof(address_)) == 0) return fd;
    return Abandon(fd);
  }

  static int Abandon(int fd) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }

  bool Exchange(int fd) {
    char byte = 'w';
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) return false;
    const ssize_t length = recv(fd, &byte, 1, 0);
    if (length == 0) errno = ECONNRESET;
    return length == 1;
  }

  Napi::Value Report(Napi::Env env) override {
    auto number = [&](double value) { return Napi::Number::New(env, value); };
    Napi::Object errors = Napi::Object::New(env);
    for (const auto& [error, count] : errors_) errors.Set(ErrnoName(error), number(static_cast<double>(count)));
    Napi::Object result = Napi::Object::New(env);
    result.Set("transactions", number(static_cast<double>(histogram_.count())));
    result.Set("failed", number(static_cast<double>(failed_)));
    result.Set("errors", errors);
    result.Set("elapsedNs", number(static_cast<double>(elapsed_ns_)));
    result.Set("p50Ns", number(static_cast<double>(histogram_.Quantile(0.5))));
    result.Set("p99Ns", number(static_cast<double>(histogram_.Quantile(0.99))));
    result.Set("maxNs", number(static_cast<double>(histogram_.max())));
    Napi::Array histogram = Napi::Array::New(env);
    histogram_.ForEach([&](uint64_t ns, uint64_t count) {
      Napi::Array bucket = Napi::Array::New(env, 2);
      bucket.Set(uint32_t{0}, number(static_cast<double>(ns)));
      bucket.Set(uint32_t{1}, number(static_cast<double>(count)));
      histogram.Set(histogram.Length(), bucket);
    });
    result.Set("histogram", histogram);
    return result;
  }
  void OnDone() override { Unref(); }
  Napi::Value Stop(const Napi::CallbackInfo& info) {
    RequestStop();
    return info.Env().Undefined();
  }

  struct sockaddr_in address_ = {};
  struct sockaddr_in source_ = {};
  double duration_ns_ = 0;
  double rate_ = -1;
  double count_ = -1;
  bool orderly_ = false;
  bool connect_each_ = false;
  Histogram histogram_;
  uint64_t failed_ = 0;
  uint64_t elapsed_ns_ = 0;
  std::map<int, uint64_t> errors_;
};

}  // namespace

void RegisterTcpProbe(Napi::Env env, Napi::Object exports) {
  exports.Set("TcpEcho", TcpEcho::Define(env));
  exports.Set("TcpProbe", TcpProbe::Define(env));
}

}  // namespace weft
