// Entry of the addon: each concern registers its functions.
#include "addon.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  weft::RegisterTap(env, exports);
  weft::RegisterPacketSocket(env, exports);
  weft::RegisterLinkInfo(env, exports);
  weft::RegisterLinkSet(env, exports);
  weft::RegisterFrameIo(env, exports);
  weft::RegisterFrameLog(env, exports);
  weft::RegisterFramePoller(env, exports);
  weft::RegisterNetns(env, exports);
  weft::RegisterGenerator(env, exports);
  weft::RegisterSink(env, exports);
  weft::RegisterTcpProbe(env, exports);
  weft::RegisterUdpEcho(env, exports);
  return exports;
}

NODE_API_MODULE(weft_tuntap, Init)
