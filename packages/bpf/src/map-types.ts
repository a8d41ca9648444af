/** Names of `enum bpf_map_type` (linux/bpf.h), by number. */
const names = [
  'unspec',
  'hash',
  'array',
  'prog_array',
  'perf_event_array',
  'percpu_hash',
  'percpu_array',
  'stack_trace',
  'cgroup_array',
  'lru_hash',
  'lru_percpu_hash',
  'lpm_trie',
  'array_of_maps',
  'hash_of_maps',
  'devmap',
  'sockmap',
  'cpumap',
  'xskmap',
  'sockhash',
  'cgroup_storage',
  'reuseport_sockarray',
  'percpu_cgroup_storage',
  'queue',
  'stack',
  'sk_storage',
  'devmap_hash',
  'struct_ops',
  'ringbuf',
  'inode_storage',
  'task_storage',
  'bloom_filter',
  'user_ringbuf',
  'cgrp_storage',
  'arena',
] as const;

/** A map type, `BPF_MAP_TYPE_*` in lower case, or `type <n>` for one newer than this list. */
export type MapType = (typeof names)[number] | `type ${number}`;

export function mapTypeName(type: number): MapType {
  return names[type] ?? `type ${type}`;
}

export function mapTypeNumber(type: MapType): number {
  const index = names.indexOf(type as (typeof names)[number]);
  return index >= 0 ? index : Number(type.slice('type '.length));
}

/** Whether user space sees one value for each CPU. */
export function isPerCpu(type: MapType): boolean {
  return type === 'percpu_hash' || type === 'percpu_array' || type === 'lru_percpu_hash' || type === 'percpu_cgroup_storage';
}
