import { hex } from './hex.ts';

/**
 * The tables a forwarding decision reads: values as docs/datapath-contract.md section 2 defines them.
 *
 * Addresses are 16 bytes in network order (IPv4 mapped), MAC addresses 6 bytes. Times are nanoseconds of the boot clock as bigint.
 */

/** Kinds of {@link Target}. Zero denies. */
export const TargetKind = { DENY: 0, LOCAL: 1, PEER: 2, SHARD: 3, REDIRECT: 4, GATEWAY: 5 } as const;
export type TargetKind = (typeof TargetKind)[keyof typeof TargetKind];

/** Bits of {@link Target.flags}. */
export const TargetFlag = { VETH: 1 } as const;

/** Kinds of {@link RouteEntry}. Zero denies. */
export const RouteKind = { DENY: 0, ON_LINK: 1, NEXT_HOP: 2, BLACKHOLE: 3 } as const;
export type RouteKind = (typeof RouteKind)[keyof typeof RouteKind];

/** Bits of {@link PortEntry.flags}. */
export const PortFlag = { READY: 1, VETH: 2 } as const;

/** Bits of a speaker's flags. */
export const SpeakerFlag = { HOST: 1, GATEWAY: 2 } as const;

/** A device of this host that belongs to a port. */
export interface PortEntry {
  readonly networkId: number;
  readonly vsid: number;
  /** Largest IP packet in bytes that the tenant may send. */
  readonly mtuBytes: number;
  readonly flags: number;
  readonly mac: Uint8Array;
}

/** A virtual subnet; an all-zero gateway means none of that family. */
export interface SubnetEntry {
  readonly networkId: number;
  readonly flags: number;
  readonly gateway4: Uint8Array;
  readonly gateway6: Uint8Array;
}

/** Where a CA or MAC lives; one shape for the tables `lookup` and `l2`. */
export interface Target {
  readonly mac: Uint8Array;
  readonly kind: TargetKind;
  readonly flags: number;
  readonly vsid: number;
  /** Device index for LOCAL, shard id for SHARD and GATEWAY, else 0. */
  readonly ifindexOrShard: number;
  readonly pa: Uint8Array;
  readonly prevPa: Uint8Array;
  readonly prevUntilBootNs: bigint;
  readonly generation: bigint;
}

/** A customer route's action. */
export interface RouteEntry {
  readonly kind: RouteKind;
  readonly vsid: number;
  readonly nextHop: Uint8Array;
}

/** A gateway shard's owner. */
export interface ShardEntry {
  readonly epoch: bigint;
  readonly pa: Uint8Array;
  readonly prevPa: Uint8Array;
  readonly prevUntilBootNs: bigint;
}

/** Keys and values by table name. `prefixLength` counts bits of the 16-byte address (0..128; an IPv4 /24 is 120). */
export interface TableRow {
  readonly port: { readonly key: { readonly ifindex: number }; readonly value: PortEntry };
  readonly subnet: { readonly key: { readonly vsid: number }; readonly value: SubnetEntry };
  readonly lookup: { readonly key: { readonly networkId: number; readonly ca: Uint8Array }; readonly value: Target };
  readonly l2: { readonly key: { readonly vsid: number; readonly mac: Uint8Array }; readonly value: Target };
  readonly route: {
    readonly key: { readonly networkId: number; readonly prefix: Uint8Array; readonly prefixLength: number };
    readonly value: RouteEntry;
  };
  readonly speaker: { readonly key: { readonly pa: Uint8Array; readonly networkId: number }; readonly value: number };
  readonly shard: { readonly key: { readonly id: number }; readonly value: ShardEntry };
}

export type TableName = keyof TableRow;

/** One row as stored: table, key and value. */
export type TableEntry = {
  [N in TableName]: { readonly table: N; readonly key: TableRow[N]['key']; readonly value: TableRow[N]['value'] };
}[TableName];

/** One change: `put` replaces or adds, `delete` removes (no error when absent). */
export type TableChange =
  | ({ readonly op: 'put' } & TableEntry)
  | { [N in TableName]: { readonly op: 'delete'; readonly table: N; readonly key: TableRow[N]['key'] } }[TableName];

/** What a decision reads. Implementations: {@link MemoryTables}, and views of the kernel's maps. */
export interface ForwardingTables {
  port(ifindex: number): PortEntry | undefined;
  subnet(vsid: number): SubnetEntry | undefined;
  lookup(networkId: number, ca: Uint8Array): Target | undefined;
  l2(vsid: number, mac: Uint8Array): Target | undefined;
  /** The longest customer route of the network that covers `address`. */
  route(networkId: number, address: Uint8Array): RouteEntry | undefined;
  speaker(pa: Uint8Array, networkId: number): number | undefined;
  shard(id: number): ShardEntry | undefined;
}

/** A text key, unique within its table: the identity of a row for maps and diffs. */
export function rowKey(row: { readonly table: TableName; readonly key: TableRow[TableName]['key'] }): string {
  const key = row.key as Record<string, unknown>;
  const parts = Object.values(key).map((part) => (part instanceof Uint8Array ? hex(part) : String(part)));
  return `${row.table}/${parts.join('/')}`;
}
