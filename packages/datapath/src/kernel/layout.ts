import type { TableName } from '@weft/forwarding';

// Sizes and offsets of keys and values in the kernel's maps: docs/datapath-contract.md section 2. A test compares each with the BTF of
// the compiled programs.

/** Version of the layouts below, part of the pins' path: another layout never meets these maps. */
export const LAYOUT_VERSION = 1;

export const ADDRESS_BYTES = 16;
export const MAC_BYTES = 6;

/** Per table: its map, and the bytes of key and value. */
export const MAP_LAYOUT: Readonly<Record<TableName, { readonly map: string; readonly keyBytes: number; readonly valueBytes: number }>> = {
  port: { map: 'map_port', keyBytes: 4, valueBytes: 24 },
  subnet: { map: 'map_subnet', keyBytes: 4, valueBytes: 40 },
  lookup: { map: 'map_lookup', keyBytes: 20, valueBytes: 64 },
  l2: { map: 'map_l2', keyBytes: 12, valueBytes: 64 },
  route: { map: 'map_route', keyBytes: 24, valueBytes: 24 },
  speaker: { map: 'map_speaker', keyBytes: 20, valueBytes: 4 },
  shard: { map: 'map_shard', keyBytes: 4, valueBytes: 48 },
};

/** `struct weft_port` */
export const PORT = { networkId: 0, vsid: 4, mtu: 8, flags: 12, mac: 16 } as const;
/** `struct weft_subnet` */
export const SUBNET = { networkId: 0, flags: 4, gateway4: 8, gateway6: 24 } as const;
/** `struct weft_lookup_key` */
export const LOOKUP_KEY = { networkId: 0, ca: 4 } as const;
/** `struct weft_l2_key` */
export const L2_KEY = { vsid: 0, mac: 4 } as const;
/** `struct weft_target` */
export const TARGET = {
  mac: 0,
  kind: 6,
  flags: 7,
  vsid: 8,
  ifindexOrShard: 12,
  pa: 16,
  prevPa: 32,
  prevUntilBootNs: 48,
  generation: 56,
} as const;
/** `struct weft_route_key`; `networkId` is big-endian, and `prefixLength` counts its 32 bits too. */
export const ROUTE_KEY = { prefixLength: 0, networkId: 4, prefix: 8 } as const;
/** `struct weft_route` */
export const ROUTE = { kind: 0, vsid: 4, nextHop: 8 } as const;
/** `struct weft_speaker_key` */
export const SPEAKER_KEY = { pa: 0, networkId: 16 } as const;
/** `struct weft_shard` */
export const SHARD = { epoch: 0, pa: 8, prevPa: 24, prevUntilBootNs: 40 } as const;
/** `struct weft_drop_key` */
export const DROP_KEY = { ifindex: 0, vsid: 4, reason: 8 } as const;
/** `struct weft_drop` */
export const DROP = { packets: 0, bytes: 8, lastBootNs: 16, sampleLength: 24, sample: 28 } as const;
export const DROP_SAMPLE_BYTES = 64;
