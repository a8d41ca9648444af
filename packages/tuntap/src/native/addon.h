#pragma once

#include <napi.h>

namespace weft {

void RegisterTap(Napi::Env env, Napi::Object exports);
void RegisterPacketSocket(Napi::Env env, Napi::Object exports);
void RegisterLinkInfo(Napi::Env env, Napi::Object exports);
void RegisterLinkSet(Napi::Env env, Napi::Object exports);
void RegisterFrameIo(Napi::Env env, Napi::Object exports);
void RegisterFrameLog(Napi::Env env, Napi::Object exports);
void RegisterFramePoller(Napi::Env env, Napi::Object exports);
void RegisterNetns(Napi::Env env, Napi::Object exports);
void RegisterGenerator(Napi::Env env, Napi::Object exports);
void RegisterSink(Napi::Env env, Napi::Object exports);
void RegisterTcpProbe(Napi::Env env, Napi::Object exports);
void RegisterUdpEcho(Napi::Env env, Napi::Object exports);

// A frame of 64 KiB of GSO payload, its headers and a virtio-net header fit; without BIG TCP the kernel hands out nothing larger.
constexpr size_t kMaxFrameBytes = 66 * 1024;

}  // namespace weft
