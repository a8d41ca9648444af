// Maps, one entry at a time. TypeScript has checked the sizes of keys and values: the kernel reads and writes as many bytes as the map says.
#include <bpf/bpf.h>
#include <errno.h>

#include "addon.h"
#include "errors.h"

namespace weft {
namespace {

int Fd(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

// mapInfo(fd)
Napi::Value MapInfo(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  struct bpf_map_info map = {};
  __u32 size = sizeof(map);
  if (bpf_obj_get_info_by_fd(Fd(info), &map, &size) != 0) throw ErrnoError(env, errno, "BPF_OBJ_GET_INFO_BY_FD");
  Napi::Object result = Napi::Object::New(env);
  auto set = [&](const char* name, uint32_t value) { result.Set(name, Napi::Number::New(env, value)); };
  result.Set("name", Napi::String::New(env, map.name));
  set("type", map.type);
  set("id", map.id);
  set("keySize", map.key_size);
  set("valueSize", map.value_size);
  set("maxEntries", map.max_entries);
  set("flags", map.map_flags);
  return result;
}

// mapLookup(fd, key, valueBytes): Uint8Array | null
Napi::Value MapLookup(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Uint8Array value = Napi::Uint8Array::New(env, info[2].As<Napi::Number>().Uint32Value());
  if (bpf_map_lookup_elem(Fd(info), info[1].As<Napi::Uint8Array>().Data(), value.Data()) == 0) return value;
  if (errno == ENOENT) return env.Null();
  throw ErrnoError(env, errno, "BPF_MAP_LOOKUP_ELEM");
}

// mapUpdate(fd, key, value, flags)
Napi::Value MapUpdate(const Napi::CallbackInfo& info) {
  const uint64_t flags = info[3].As<Napi::Number>().Uint32Value();
  if (bpf_map_update_elem(Fd(info), info[1].As<Napi::Uint8Array>().Data(), info[2].As<Napi::Uint8Array>().Data(), flags) != 0) {
    throw ErrnoError(info.Env(), errno, "BPF_MAP_UPDATE_ELEM");
  }
  return info.Env().Undefined();
}

// mapDelete(fd, key): whether it was there
Napi::Value MapDelete(const Napi::CallbackInfo& info) {
  if (bpf_map_delete_elem(Fd(info), info[1].As<Napi::Uint8Array>().Data()) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno == ENOENT) return Napi::Boolean::New(info.Env(), false);
  throw ErrnoError(info.Env(), errno, "BPF_MAP_DELETE_ELEM");
}

// mapNextKey(fd, key | null, keyBytes): Uint8Array | null
Napi::Value MapNextKey(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Napi::Uint8Array next = Napi::Uint8Array::New(env, info[2].As<Napi::Number>().Uint32Value());
  const void* key = info[1].IsNull() ? nullptr : info[1].As<Napi::Uint8Array>().Data();
  if (bpf_map_get_next_key(Fd(info), key, next.Data()) == 0) return next;
  if (errno == ENOENT) return env.Null();
  throw ErrnoError(env, errno, "BPF_MAP_GET_NEXT_KEY");
}

Napi::Value MapFreeze(const Napi::CallbackInfo& info) {
  if (bpf_map_freeze(Fd(info)) != 0) throw ErrnoError(info.Env(), errno, "BPF_MAP_FREEZE");
  return info.Env().Undefined();
}

// createMap(type, name, keySize, valueSize, maxEntries, flags): fd
Napi::Value CreateMap(const Napi::CallbackInfo& info) {
  auto number = [&](int i) { return info[i].As<Napi::Number>().Uint32Value(); };
  const std::string name = info[1].As<Napi::String>();
  struct bpf_map_create_opts options = {};
  options.sz = sizeof(options);
  options.map_flags = number(5);
  const int fd = bpf_map_create(static_cast<enum bpf_map_type>(number(0)), name.c_str(), number(2), number(3), number(4), &options);
  if (fd < 0) throw ErrnoError(info.Env(), -fd, "BPF_MAP_CREATE");
  return Napi::Number::New(info.Env(), fd);
}

}  // namespace

void RegisterMap(Napi::Env env, Napi::Object exports) {
  exports.Set("mapInfo", Napi::Function::New(env, MapInfo));
  exports.Set("mapLookup", Napi::Function::New(env, MapLookup));
  exports.Set("mapUpdate", Napi::Function::New(env, MapUpdate));
  exports.Set("mapDelete", Napi::Function::New(env, MapDelete));
  exports.Set("mapNextKey", Napi::Function::New(env, MapNextKey));
  exports.Set("mapFreeze", Napi::Function::New(env, MapFreeze));
  exports.Set("createMap", Napi::Function::New(env, CreateMap));
}

}  // namespace weft
