// Layouts of structs and places of global variables, read from an object's BTF.
#pragma once

#include <bpf/btf.h>
#include <napi.h>

namespace weft {

// { size, fields: [{ name, offset, size, bitOffset?, bitSize? }] }, or null when there is no struct or union of that name. Members of
// anonymous structs and unions appear with their own names.
Napi::Value StructLayout(Napi::Env env, const struct btf* btf, const char* name);

// [{ section, name, offset, size }] of the variables in data sections (.rodata, .data, .bss and their named kinds).
Napi::Array GlobalVariables(Napi::Env env, const struct btf* btf);

// The value of an enumerator of any enum, or -1.
int64_t EnumeratorValue(const struct btf* btf, const char* name);

}  // namespace weft
