import { packed } from '../hex.ts';

/**
 * The NAT's tables as typed rows: docs/gateway-contract.md section 3. The kernel's maps and {@link NatState} hold the same rows.
 *
 * Addresses are 16 bytes in network order (IPv4 mapped), ports numbers, times nanoseconds of the boot clock as bigint.
 *
 *   holder (nat_source) --newest--> block --next--> block --next--> ...        blocks of one (network, pool, CA)
 *          |        \--freeHead--> port --next--> port --next--> ... <--freeTail--   ports that may be used again, oldest first
 *          \--fresh, freshLeft: ports of the newest block that nobody has used yet
 *
 * A *reference* names a port within one holder: index of its address in the holder's list * 65536 + port; 0 is none (no block begins below
 * port 1024). A reference to a block is that of its first port.
 *
 * Property that holds between packets: `mappings + freeCount + freshLeft = 64 * blocks`, of each holder that isn't giving its blocks back.
 */

export const BLOCK_PORTS = 64;
/** Ports 0 to 1023 are in no block. */
export const FIRST_BLOCK = 16;
export const BLOCKS_END = 1024;
/** Addresses of one pool. */
export const POOL_ADDRESSES_MAX = 64;
/** External addresses one holder may use: the paired one, and those it overflowed to. */
export const HOLDER_ADDRESSES_MAX = 8;

/** States of {@link NatPort}. */
export const PortState = { FRESH: 0, FREE: 1, USED: 2 } as const;

/** Kinds of {@link NatSession}: by an address's mapping, or by a port forward. */
export const SessionKind = { MAPPING: 0, FORWARD: 1 } as const;

/** Bits of {@link NatSession.flags}: what was seen of a TCP connection, by direction. Other protocols have none. */
export const TcpSeen = { OUT_SYN: 1, IN_SYN: 2, OUT_ACK: 4, IN_ACK: 8, OUT_FIN: 16, IN_FIN: 32, RST: 64 } as const;

/** Bits of {@link NatSource.flags}. */
export const SourceFlag = {
  /** Stands in the queue of things to look at, since it has no mapping. */
  QUEUED: 1,
  /** Is about to give its blocks back: who takes a port takes the mark away. */
  RELEASING: 2,
  /** Gives its blocks back: no port may be taken from it. */
  DELETING: 4,
} as const;

/** An address on an external network. */
export interface NatAddress {
  readonly segment: number;
  readonly address: Uint8Array;
}

/** Addresses that holders of this pool are spread over. */
export interface NatPool {
  readonly addresses: readonly NatAddress[];
}

export interface FreeBlock {
  readonly block: number;
  /** Seconds of the boot clock: not granted before. */
  readonly freeAtS: number;
}

/** What of one address may be granted. */
export interface NatFree {
  /** The member's own slice, a bit a block: bit `block & 7` of byte `block >> 3`; 128 bytes. */
  readonly own: Uint8Array;
  /** In the order in which they will be granted. */
  readonly blocks: readonly FreeBlock[];
}

export interface NatPort {
  state: number;
  /** IP protocol that uses it, 0 unless used. */
  protocol: number;
  insidePort: number;
  /** Next free port of the holder, a reference. */
  next: number;
  /** Sessions of the mapping. */
  sessions: number;
  /** The holder's version at the last change of state or `next`. */
  version: number;
  freeAtBootNs: bigint;
}

/** A block that is granted, with the state of its 64 ports. */
export interface NatBlock {
  networkId: number;
  pool: number;
  ca: Uint8Array;
  epoch: bigint;
  grantedBootNs: bigint;
  /** The holder's block before this one, a reference. */
  next: number;
  addressIndex: number;
  /** The holder's, when it got the block: tells it from an earlier grant of the same block. */
  version: number;
  ports: NatPort[];
}

/** A holder of ports, without its addresses: what changes with each port. */
export interface NatSourceState {
  /** Counts changes, modulo 2^32. */
  version: number;
  freeHead: number;
  freeTail: number;
  freeCount: number;
  /** Next port of the newest block that nobody has used, a reference. */
  fresh: number;
  freshLeft: number;
  newest: number;
  blocks: number;
  /** Ports in use. */
  mappings: number;
  flags: number;
  addressCount: number;
  /** When the last mapping went. */
  idleBootNs: bigint;
}

export interface NatSource extends NatSourceState {
  /** The first is the paired address (RFC 4787 REQ-2). */
  addresses: NatAddress[];
}

export interface NatMapping {
  pool: number;
  segment: number;
  address: Uint8Array;
  externalPort: number;
  /** Tells it from an earlier mapping of the same key. */
  ticket: bigint;
}

export interface NatSession {
  networkId: number;
  ca: Uint8Array;
  insidePort: number;
  kind: number;
  flags: number;
  /** Counts what standbys were told of it. */
  revision: number;
  expiresBootNs: bigint;
  /** `expiresBootNs` as standbys know it. */
  toldBootNs: bigint;
  /** Tells it from an earlier session of the same key. */
  ticket: bigint;
}

/** Where answers of a session by a port forward leave from. */
export interface NatReverse {
  segment: number;
  address: Uint8Array;
  externalPort: number;
}

/** Limits of a network, given by the agent. No row: nothing new at all. */
export interface GatewayQuota {
  readonly blocks: number;
  readonly blocksPerSource: number;
  readonly sessions: number;
  /** As many may come at once; 0: no limit. */
  readonly newFlowsPerSecond: number;
}

/** Of a pool whose networks' quotas add up to more than it has. */
export interface NatShare {
  /** What a network may count on. */
  readonly blocks: number;
  /** Who has that much takes none of the last so many blocks of an address. */
  readonly keep: number;
}

/** New flows of a network that has such a limit, as a leaky bucket that holds one second's. */
export interface NatRate {
  /** When the flows that were let in would all have come, at the limit. */
  dueBootNs: bigint;
  denied: bigint;
}

/** What a network uses, and how often it was refused. */
export interface NatUsage {
  blocks: number;
  sessions: number;
  deniedBlocks: bigint;
  deniedSessions: bigint;
  exhausted: bigint;
}

/** Keys and values by table. */
export interface NatRows {
  readonly pool: { readonly key: { readonly pool: number }; readonly value: NatPool };
  readonly free: { readonly key: NatAddress; readonly value: NatFree };
  readonly block: { readonly key: NatAddress & { readonly block: number }; readonly value: NatBlock };
  readonly source: {
    readonly key: { readonly networkId: number; readonly pool: number; readonly ca: Uint8Array };
    readonly value: NatSource;
  };
  readonly mapping: {
    readonly key: { readonly networkId: number; readonly ca: Uint8Array; readonly port: number; readonly protocol: number };
    readonly value: NatMapping;
  };
  readonly session: {
    readonly key: NatAddress & {
      readonly remote: Uint8Array;
      readonly externalPort: number;
      readonly remotePort: number;
      readonly protocol: number;
    };
    readonly value: NatSession;
  };
  readonly reverse: {
    readonly key: {
      readonly networkId: number;
      readonly ca: Uint8Array;
      readonly remote: Uint8Array;
      readonly port: number;
      readonly remotePort: number;
      readonly protocol: number;
    };
    readonly value: NatReverse;
  };
  readonly quota: { readonly key: { readonly networkId: number }; readonly value: GatewayQuota };
  readonly usage: { readonly key: { readonly networkId: number }; readonly value: NatUsage };
  readonly rate: { readonly key: { readonly networkId: number }; readonly value: NatRate };
  readonly share: { readonly key: { readonly pool: number }; readonly value: NatShare };
}

export type NatTable = keyof NatRows;
export type NatKey<T extends NatTable> = NatRows[T]['key'];
export type NatValue<T extends NatTable> = NatRows[T]['value'];

/** One row as stored. */
export interface NatRowOf<T extends NatTable> {
  readonly table: T;
  readonly key: NatKey<T>;
  readonly value: NatValue<T>;
}
export type NatRow = { [T in NatTable]: NatRowOf<T> }[NatTable];

/** A reference to a port of a holder's address. */
export function portReference(addressIndex: number, port: number): number {
  return addressIndex * 0x1_0000 + port;
}

export function referencePort(reference: number): number {
  return reference & 0xffff;
}

export function referenceIndex(reference: number): number {
  return reference >>> 16;
}

export function emptyPort(): NatPort {
  return { state: PortState.FRESH, protocol: 0, insidePort: 0, next: 0, sessions: 0, version: 0, freeAtBootNs: 0n };
}

/** A key as text, unique within its table, not for people; the fields in the order of the kernel's struct. */
export const NAT_KEY_TEXT: { readonly [T in NatTable]: (key: NatKey<T>) => string } = {
  pool: (key) => String(key.pool),
  free: (key) => `${key.segment}/${packed(key.address)}`,
  block: (key) => `${key.segment}/${packed(key.address)}/${key.block}`,
  source: (key) => `${key.networkId}/${key.pool}/${packed(key.ca)}`,
  mapping: (key) => `${key.networkId}/${packed(key.ca)}/${key.port}/${key.protocol}`,
  session: (key) => `${key.segment}/${packed(key.address)}/${packed(key.remote)}/${key.externalPort}/${key.remotePort}/${key.protocol}`,
  reverse: (key) => `${key.networkId}/${packed(key.ca)}/${packed(key.remote)}/${key.port}/${key.remotePort}/${key.protocol}`,
  quota: (key) => String(key.networkId),
  usage: (key) => String(key.networkId),
  rate: (key) => String(key.networkId),
  share: (key) => String(key.pool),
};
