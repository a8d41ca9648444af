#pragma once

#include <napi.h>

namespace weft {

void RegisterObject(Napi::Env env, Napi::Object exports);
void RegisterMap(Napi::Env env, Napi::Object exports);
void RegisterMapBatch(Napi::Env env, Napi::Object exports);
void RegisterProgram(Napi::Env env, Napi::Object exports);
void RegisterAttach(Napi::Env env, Napi::Object exports);
void RegisterLink(Napi::Env env, Napi::Object exports);
void RegisterLinkAsync(Napi::Env env, Napi::Object exports);
void RegisterRingBuffer(Napi::Env env, Napi::Object exports);
void RegisterBpffs(Napi::Env env, Napi::Object exports);
void RegisterProbe(Napi::Env env, Napi::Object exports);
void RegisterSched(Napi::Env env, Napi::Object exports);

}  // namespace weft
