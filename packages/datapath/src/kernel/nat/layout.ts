import type { NatTable } from '@weft/forwarding';

// Offsets of the NAT's keys, values and events in the kernel's maps (packages/datapath/bpf/lib/nat_types.h). A test compares each with the BTF of
// the compiled programs.

/** Per table: its map, and the bytes of key and value. */
export const NAT_MAP_LAYOUT: Readonly<Record<NatTable, { readonly map: string; readonly keyBytes: number; readonly valueBytes: number }>> =
  {
    pool: { map: 'map_nat_pool', keyBytes: 4, valueBytes: 1284 },
    free: { map: 'map_nat_free', keyBytes: 20, valueBytes: 8336 },
    block: { map: 'map_nat_block', keyBytes: 24, valueBytes: 1592 },
    source: { map: 'map_nat_source', keyBytes: 24, valueBytes: 248 },
    mapping: { map: 'map_nat_mapping', keyBytes: 24, valueBytes: 48 },
    session: { map: 'map_nat_session', keyBytes: 44, valueBytes: 64 },
    reverse: { map: 'map_nat_reverse', keyBytes: 44, valueBytes: 24 },
    quota: { map: 'map_gateway_quota', keyBytes: 4, valueBytes: 16 },
    usage: { map: 'map_nat_usage', keyBytes: 4, valueBytes: 32 },
    rate: { map: 'map_nat_rate', keyBytes: 4, valueBytes: 16 },
    share: { map: 'map_nat_share', keyBytes: 4, valueBytes: 8 },
  };

/** `struct nat_address`, also the key of `free`. */
export const NAT_ADDRESS = { segment: 0, address: 4 } as const;
export const NAT_ADDRESS_BYTES = 20;
/** `struct nat_pool` */
export const NAT_POOL = { count: 0, addresses: 4 } as const;
/** `struct nat_free` */
export const NAT_FREE = { lock: 0, head: 4, count: 8, own: 16, ring: 144 } as const;
export const NAT_RING_ENTRIES = 1024;
/** `struct nat_free_block` */
export const NAT_FREE_BLOCK = { freeAtS: 0, block: 4 } as const;
export const NAT_FREE_BLOCK_BYTES = 8;
/** `struct nat_port` */
export const NAT_PORT = { state: 0, protocol: 1, insidePort: 2, next: 4, sessions: 8, version: 12, freeAtBootNs: 16 } as const;
export const NAT_PORT_BYTES = 24;
/** `struct nat_block_key` */
export const NAT_BLOCK_KEY = { segment: 0, address: 4, block: 20 } as const;
/** `struct nat_block_head` */
export const NAT_BLOCK_HEAD = {
  networkId: 0,
  pool: 4,
  ca: 8,
  epoch: 24,
  grantedBootNs: 32,
  next: 40,
  addressIndex: 44,
  version: 48,
} as const;
export const NAT_BLOCK_HEAD_BYTES = 56;
/** `struct nat_source_key` */
export const NAT_SOURCE_KEY = { networkId: 0, pool: 4, ca: 8 } as const;
/** `struct nat_source_state` */
export const NAT_SOURCE_STATE = {
  version: 0,
  freeHead: 4,
  freeTail: 8,
  freeCount: 12,
  fresh: 16,
  freshLeft: 20,
  newest: 24,
  blocks: 28,
  mappings: 32,
  flags: 36,
  addressCount: 40,
  idleBootNs: 48,
} as const;
export const NAT_SOURCE_STATE_BYTES = 56;
/** `struct nat_source` */
export const NAT_SOURCE = { lock: 0, self: 8, state: 32, addresses: 88 } as const;
/** `struct nat_mapping_key` */
export const NAT_MAPPING_KEY = { networkId: 0, ca: 4, port: 20, protocol: 22 } as const;
/** `struct nat_mapping` */
export const NAT_MAPPING = {
  selfNetworkId: 0,
  selfCa: 4,
  selfPort: 8,
  selfProtocol: 10,
  pool: 12,
  segment: 16,
  address: 20,
  externalPort: 36,
  ticket: 40,
} as const;
/** `struct nat_session_key` */
export const NAT_SESSION_KEY = { segment: 0, address: 4, remote: 20, externalPort: 36, remotePort: 38, protocol: 40 } as const;
/** `struct nat_session` */
export const NAT_SESSION = {
  self: 0,
  networkId: 8,
  insidePort: 12,
  kind: 14,
  retiring: 15,
  ca: 16,
  flags: 32,
  revision: 36,
  expiresBootNs: 40,
  toldBootNs: 48,
  ticket: 56,
} as const;
/** `struct nat_reverse_key` */
export const NAT_REVERSE_KEY = { networkId: 0, ca: 4, remote: 20, port: 36, remotePort: 38, protocol: 40 } as const;
/** `struct nat_reverse` */
export const NAT_REVERSE = { segment: 0, address: 4, externalPort: 20 } as const;
/** `struct nat_quota` */
export const NAT_QUOTA = { blocks: 0, blocksPerSource: 4, sessions: 8, newFlowsPerSecond: 12 } as const;
/** `struct nat_rate` */
export const NAT_RATE = { dueBootNs: 0, denied: 8 } as const;
/** `struct nat_share` */
export const NAT_SHARE = { blocks: 0, keep: 4 } as const;
/** `struct nat_pressure` */
export const NAT_PRESSURE = { sessionsShare: 0 } as const;
export const NAT_PRESSURE_BYTES = 8;
/** `struct nat_usage` */
export const NAT_USAGE = { blocks: 0, sessions: 4, deniedBlocks: 8, deniedSessions: 16, exhausted: 24 } as const;
/** `struct nat_counters` */
export const NAT_COUNTERS = { serial: 0, eventsLost: 8, contended: 16 } as const;
/** `struct nat_queue_entry`; the key stands at `session` and `source` alike. */
export const NAT_QUEUE_ENTRY = { kind: 0, ticket: 8, key: 16 } as const;
export const NAT_QUEUE_ENTRY_BYTES = 64;
export const NAT_QUEUE_KIND = { session: 1, source: 2 } as const;
/** `struct nat_event_block`, `_mapping`, `_session` */
export const NAT_EVENT_BLOCK = { kind: 0, timeBootNs: 8, key: 16, block: 40, source: 96 } as const;
export const NAT_EVENT_MAPPING = {
  kind: 0,
  timeBootNs: 8,
  key: 16,
  mapping: 40,
  source: 88,
  reference: 144,
  linkReference: 148,
  port: 152,
  link: 176,
} as const;
export const NAT_EVENT_SESSION = { kind: 0, timeBootNs: 8, key: 16, session: 64 } as const;
