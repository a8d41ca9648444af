#include "btf_layout.h"

#include <string.h>

#include <string>

namespace weft {
namespace {

const struct btf_type* SkipModifiers(const struct btf* btf, __u32 id) {
  const struct btf_type* type = btf__type_by_id(btf, id);
  while (type != nullptr && (btf_is_mod(type) || btf_is_typedef(type))) type = btf__type_by_id(btf, type->type);
  return type;
}

void AddFields(Napi::Array fields, const struct btf* btf, const struct btf_type* composite, __u32 base_bits) {
  Napi::Env env = fields.Env();
  const struct btf_member* member = btf_members(composite);
  for (__u16 i = 0; i < btf_vlen(composite); i++, member++) {
    const char* name = btf__name_by_offset(btf, member->name_off);
    const __u32 bits = base_bits + btf_member_bit_offset(composite, i);
    const __u32 bit_size = btf_member_bitfield_size(composite, i);
    const struct btf_type* type = SkipModifiers(btf, member->type);
    if (name[0] == '\0' && type != nullptr && btf_is_composite(type)) {
      AddFields(fields, btf, type, bits);
      continue;
    }
    Napi::Object field = Napi::Object::New(env);
    field.Set("name", Napi::String::New(env, name));
    field.Set("offset", Napi::Number::New(env, bits / 8));
    field.Set("size", Napi::Number::New(env, static_cast<double>(btf__resolve_size(btf, member->type))));
    if (bit_size != 0) {
      field.Set("bitOffset", Napi::Number::New(env, bits % 8));
      field.Set("bitSize", Napi::Number::New(env, bit_size));
    }
    fields.Set(fields.Length(), field);
  }
}

bool IsDataSection(const char* name) {
  for (const char* prefix : {".rodata", ".data", ".bss"}) {
    const size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) == 0 && (name[length] == '\0' || name[length] == '.')) return true;
  }
  return false;
}

}  // namespace

Napi::Value StructLayout(Napi::Env env, const struct btf* btf, const char* name) {
  if (btf == nullptr) return env.Null();
  __s32 id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);
  if (id < 0) id = btf__find_by_name_kind(btf, name, BTF_KIND_UNION);
  if (id < 0) return env.Null();
  const struct btf_type* type = btf__type_by_id(btf, static_cast<__u32>(id));
  Napi::Array fields = Napi::Array::New(env);
  AddFields(fields, btf, type, 0);
  Napi::Object result = Napi::Object::New(env);
  result.Set("size", Napi::Number::New(env, type->size));
  result.Set("fields", fields);
  return result;
}

Napi::Array GlobalVariables(Napi::Env env, const struct btf* btf) {
  Napi::Array result = Napi::Array::New(env);
  if (btf == nullptr) return result;
  for (__u32 id = 1; id < btf__type_cnt(btf); id++) {
    const struct btf_type* section = btf__type_by_id(btf, id);
    if (!btf_is_datasec(section)) continue;
    const char* section_name = btf__name_by_offset(btf, section->name_off);
    if (!IsDataSection(section_name)) continue;
    const struct btf_var_secinfo* place = btf_var_secinfos(section);
    for (__u16 i = 0; i < btf_vlen(section); i++, place++) {
      const struct btf_type* variable = btf__type_by_id(btf, place->type);
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("section", Napi::String::New(env, section_name));
      entry.Set("name", Napi::String::New(env, btf__name_by_offset(btf, variable->name_off)));
      entry.Set("offset", Napi::Number::New(env, place->offset));
      entry.Set("size", Napi::Number::New(env, place->size));
      result.Set(result.Length(), entry);
    }
  }
  return result;
}

int64_t EnumeratorValue(const struct btf* btf, const char* name) {
  for (__u32 id = 1; id < btf__type_cnt(btf); id++) {
    const struct btf_type* type = btf__type_by_id(btf, id);
    if (btf_is_enum(type)) {
      const struct btf_enum* value = btf_enum(type);
      for (__u16 i = 0; i < btf_vlen(type); i++, value++) {
        if (strcmp(btf__name_by_offset(btf, value->name_off), name) == 0) return value->val;
      }
    } else if (btf_is_enum64(type)) {
      const struct btf_enum64* value = btf_enum64(type);
      for (__u16 i = 0; i < btf_vlen(type); i++, value++) {
        if (strcmp(btf__name_by_offset(btf, value->name_off), name) == 0) return static_cast<int64_t>(btf_enum64_value(value));
      }
    }
  }
  return -1;
}

}  // namespace weft
