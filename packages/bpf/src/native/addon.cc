// Entry of the addon: each concern registers its functions. Maps, programs and links are plain descriptors here; TypeScript owns them.
#include "addon.h"

#include "errors.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  weft::InstallLibbpfLog();
  weft::RegisterObject(env, exports);
  weft::RegisterMap(env, exports);
  weft::RegisterMapBatch(env, exports);
  weft::RegisterProgram(env, exports);
  weft::RegisterAttach(env, exports);
  weft::RegisterLink(env, exports);
  weft::RegisterLinkAsync(env, exports);
  weft::RegisterRingBuffer(env, exports);
  weft::RegisterBpffs(env, exports);
  weft::RegisterProbe(env, exports);
  weft::RegisterSched(env, exports);
  return exports;
}

NODE_API_MODULE(weft_bpf, Init)
