import type { GatewayTableName } from '@weft/forwarding';

// Keys and values of the gateway's maps: docs/gateway-contract.md section 3. A test compares each with the BTF of the compiled programs.

/** How a field stands in memory. `prefix`: the bits of a longest-prefix key, which count the 32 bits of the number before. */
export type FieldKind = 'u8' | 'u32' | 'be16' | 'be32' | 'u64' | 'mac' | 'address' | 'prefix';

/** Name in the row, how it stands, and where. */
export type Field = readonly [name: string, kind: FieldKind, offset: number];

export interface MapShape {
  readonly map: string;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly key: readonly Field[];
  /** A single nameless field: the value is that number. */
  readonly value: readonly Field[];
}

/** The key of a longest-prefix map: a number, and a prefix under it. */
const prefixOf = (number: string): readonly Field[] => [
  ['prefixLength', 'prefix', 0],
  [number, 'be32', 4],
  ['prefix', 'address', 8],
];
const NETWORK_PREFIX = prefixOf('networkId');
const SEGMENT_PREFIX = prefixOf('segment');
const SEGMENT_ADDRESS: readonly Field[] = [
  ['segment', 'u32', 0],
  ['address', 'address', 4],
];

export const GATEWAY_MAPS: Readonly<Record<GatewayTableName, MapShape>> = {
  external: {
    map: 'map_external',
    keyBytes: 4,
    valueBytes: 16,
    key: [['ifindex', 'u32', 0]],
    value: [
      ['segment', 'u32', 0],
      ['mtuBytes', 'u32', 4],
      ['mac', 'mac', 8],
    ],
  },
  segment: {
    map: 'map_segment',
    keyBytes: 4,
    valueBytes: 48,
    key: [['segment', 'u32', 0]],
    value: [
      ['ifindex', 'u32', 0],
      ['mtuBytes', 'u32', 4],
      ['mac', 'mac', 8],
      ['address4', 'address', 16],
      ['address6', 'address', 32],
    ],
  },
  external_route: {
    map: 'map_external_route',
    keyBytes: 24,
    valueBytes: 16,
    key: SEGMENT_PREFIX,
    value: [['nextHop', 'address', 0]],
  },
  gateway_shard: {
    map: 'map_gateway_shard',
    keyBytes: 4,
    valueBytes: 48,
    key: [['shard', 'u32', 0]],
    value: [
      ['epoch', 'u64', 0],
      ['deadlineBootNs', 'u64', 8],
      ['handoverUntilBootNs', 'u64', 16],
      ['handoverPa', 'address', 24],
      ['handoverMac', 'mac', 40],
    ],
  },
  gateway_network: {
    map: 'map_gateway_network',
    keyBytes: 4,
    valueBytes: 96,
    key: [['networkId', 'u32', 0]],
    value: [
      ['shard', 'u32', 0],
      ['segment', 'u32', 4],
      ['vsid', 'u32', 8],
      ['mode', 'u32', 12],
      ['flags', 'u32', 16],
      ['pool', 'u32', 20],
      ['gateway4', 'address', 24],
      ['gateway6', 'address', 40],
      ['nptInside', 'address', 56],
      ['nptOutside', 'address', 72],
      ['nptBits', 'u32', 88],
      ['mtuBytes', 'u32', 92],
    ],
  },
  external_address: {
    map: 'map_external_address',
    keyBytes: 20,
    valueBytes: 32,
    key: SEGMENT_ADDRESS,
    value: [
      ['shard', 'u32', 0],
      ['kind', 'u32', 4],
      ['networkId', 'u32', 8],
      ['ca', 'address', 16],
    ],
  },
  external_prefix: {
    map: 'map_external_prefix',
    keyBytes: 24,
    valueBytes: 8,
    key: SEGMENT_PREFIX,
    value: [
      ['networkId', 'u32', 0],
      ['kind', 'u32', 4],
    ],
  },
  port_forward: {
    map: 'map_port_forward',
    keyBytes: 24,
    valueBytes: 24,
    key: [...SEGMENT_ADDRESS, ['port', 'be16', 20], ['protocol', 'u8', 22]],
    value: [
      ['networkId', 'u32', 0],
      ['port', 'be16', 4],
      ['ca', 'address', 8],
    ],
  },
  peering: {
    map: 'map_peering',
    keyBytes: 24,
    valueBytes: 8,
    key: NETWORK_PREFIX,
    value: [
      ['networkId', 'u32', 0],
      ['flags', 'u32', 4],
    ],
  },
  source_rule: {
    map: 'map_source_rule',
    keyBytes: 24,
    valueBytes: 24,
    key: NETWORK_PREFIX,
    value: [
      ['kind', 'u32', 0],
      ['pool', 'u32', 4],
      ['address', 'address', 8],
    ],
  },
  peer_gateway: {
    map: 'map_peer_gateway',
    keyBytes: 16,
    valueBytes: 4,
    key: [['pa', 'address', 0]],
    value: [['', 'u32', 0]],
  },
};

/** `struct weft_probe_reply` */
export const PROBE_REPLY = { nonce: 0, bootNs: 8, count: 16, shards: 24 } as const;
export const PROBE_REPLY_BYTES = 152;
/** `struct weft_probe_shard` */
export const PROBE_SHARD = { shard: 0, flags: 4, epoch: 8 } as const;
export const PROBE_SHARD_BYTES = 16;
/** `struct weft_traffic`, of each CPU */
export const TRAFFIC = { packets: 0, bytes: 8 } as const;

/** Slots of the map of programs, in the order in which they are filled: who is called comes before who calls. */
export const GATEWAY_PROGRAMS = [
  ['gateway_error', 2],
  ['gateway_in', 1],
  ['to_gateway', 0],
] as const;
