import { hex } from '../hex.ts';

/**
 * The tables of a gateway: values as docs/gateway-contract.md section 3 defines them. Addresses are 16 bytes in network order (IPv4 mapped), MAC
 * addresses 6 bytes, times nanoseconds of the boot clock. Zero denies.
 */

/** {@link GatewayNetworkEntry.mode}: how IPv4 leaves when no source rule says otherwise. */
export const GatewayMode = { DENY: 0, NAT: 1, FORWARD: 2, INSIDE: 3 } as const;
export type GatewayMode = (typeof GatewayMode)[keyof typeof GatewayMode];

/** Bits of {@link GatewayNetworkEntry.flags}: how IPv6 leaves when no source rule says otherwise; of several, NPTV6 wins, then FORWARD6. */
export const GatewayFlag = { NAT66: 1, NPTV6: 2, FORWARD6: 4 } as const;

/** {@link ExternalAddressEntry.kind} */
export const ExternalAddressKind = { DENY: 0, POOL: 1, STATIC: 2, RESERVED: 3 } as const;
export type ExternalAddressKind = (typeof ExternalAddressKind)[keyof typeof ExternalAddressKind];

/** {@link ExternalPrefixEntry.kind} */
export const ExternalPrefixKind = { DENY: 0, FORWARD: 1, NPT: 2 } as const;
export type ExternalPrefixKind = (typeof ExternalPrefixKind)[keyof typeof ExternalPrefixKind];

/** {@link SourceRuleEntry.kind} */
export const SourceRuleKind = { DENY: 0, POOL: 1, STATIC: 2, PLAIN: 3, ADDRESS: 4 } as const;
export type SourceRuleKind = (typeof SourceRuleKind)[keyof typeof SourceRuleKind];

/** A device of this member that reaches a segment. */
export interface ExternalEntry {
  readonly segment: number;
  readonly mtuBytes: number;
  /** The device's own; ARP and ND of external addresses are answered with it. */
  readonly mac: Uint8Array;
}

/** The way from this member to a segment. */
export interface SegmentEntry {
  readonly ifindex: number;
  /** Largest IP packet in bytes that leaves. */
  readonly mtuBytes: number;
  readonly mac: Uint8Array;
  /** This member's own addresses there, zero if none: what errors about untranslated packets are sent from. */
  readonly address4: Uint8Array;
  readonly address6: Uint8Array;
}

/** A route of the outside; an all-zero next hop is on-link. */
export interface ExternalRouteEntry {
  readonly nextHop: Uint8Array;
}

/** What this member owns of a shard, and until when. */
export interface GatewayShardEntry {
  readonly epoch: bigint;
  /** Frames are forwarded while now is below; 0 = not owned. */
  readonly deadlineBootNs: bigint;
  /** Frames are sent on to the new owner while now is below. */
  readonly handoverUntilBootNs: bigint;
  readonly handoverPa: Uint8Array;
  readonly handoverMac: Uint8Array;
}

/** What the gateway does for a network. */
export interface GatewayNetworkEntry {
  readonly shard: number;
  readonly segment: number;
  /** The gateway subnet. */
  readonly vsid: number;
  readonly mode: GatewayMode;
  readonly flags: number;
  /** Pool of sources without a rule. */
  readonly pool: number;
  /** The gateway CAs, zero if none of that family. */
  readonly gateway4: Uint8Array;
  readonly gateway6: Uint8Array;
  readonly nptInside: Uint8Array;
  readonly nptOutside: Uint8Array;
  /** Length of both prefixes, 1 to 64. */
  readonly nptBits: number;
  /** Largest IP packet in bytes that enters the network. */
  readonly mtuBytes: number;
}

/** An address that the outside knows. */
export interface ExternalAddressEntry {
  readonly shard: number;
  readonly kind: ExternalAddressKind;
  /** Of STATIC, and of POOL and RESERVED that are one network's own; 0: shared. */
  readonly networkId: number;
  readonly ca: Uint8Array;
}

/**
 * Whether ports of an external address may be this network's. A mapping outlives the rules that made it: its address may be handed to another network meanwhile, and the
 * network may be on another shard than the address, whose answers another member gets then. An address that is nobody's any more says nothing.
 */
export function mayMap(entry: ExternalAddressEntry | undefined, networkId: number, shard: number): boolean {
  if (entry === undefined) return true;
  const isMapped = entry.kind === ExternalAddressKind.POOL || entry.kind === ExternalAddressKind.RESERVED;
  return isMapped && entry.shard === shard && (entry.networkId === 0 || entry.networkId === networkId);
}

/** Whether an external address is this network's, 1:1, now. A rule may be from before it was given to another: records come one by one. */
export function isStaticOf(entry: ExternalAddressEntry | undefined, networkId: number, shard: number): boolean {
  return entry?.kind === ExternalAddressKind.STATIC && entry.networkId === networkId && entry.shard === shard;
}

/** Addresses that the outside reaches as they are (FORWARD) or by prefix translation (NPT). */
export interface ExternalPrefixEntry {
  readonly networkId: number;
  readonly kind: ExternalPrefixKind;
}

export interface PortForwardEntry {
  readonly networkId: number;
  readonly port: number;
  readonly ca: Uint8Array;
}

export interface PeeringEntry {
  /** The other network; 0 denies. */
  readonly networkId: number;
  readonly flags: number;
}

export interface SourceRuleEntry {
  readonly kind: SourceRuleKind;
  readonly pool: number;
  /** Of STATIC and ADDRESS, else zero. */
  readonly address: Uint8Array;
}

/** Key of a table of longest prefixes within a network. `prefixLength` counts bits of the 16 bytes. */
export interface NetworkPrefixKey {
  readonly networkId: number;
  readonly prefix: Uint8Array;
  readonly prefixLength: number;
}

/** Key of a table of longest prefixes on a segment. */
export interface SegmentPrefixKey {
  readonly segment: number;
  readonly prefix: Uint8Array;
  readonly prefixLength: number;
}

/** Keys and values by table name, which is the map's without `map_`. */
export interface GatewayTableRow {
  readonly external: { readonly key: { readonly ifindex: number }; readonly value: ExternalEntry };
  readonly segment: { readonly key: { readonly segment: number }; readonly value: SegmentEntry };
  readonly external_route: { readonly key: SegmentPrefixKey; readonly value: ExternalRouteEntry };
  readonly gateway_shard: { readonly key: { readonly shard: number }; readonly value: GatewayShardEntry };
  readonly gateway_network: { readonly key: { readonly networkId: number }; readonly value: GatewayNetworkEntry };
  readonly external_address: {
    readonly key: { readonly segment: number; readonly address: Uint8Array };
    readonly value: ExternalAddressEntry;
  };
  readonly external_prefix: { readonly key: SegmentPrefixKey; readonly value: ExternalPrefixEntry };
  readonly port_forward: {
    readonly key: { readonly segment: number; readonly address: Uint8Array; readonly port: number; readonly protocol: number };
    readonly value: PortForwardEntry;
  };
  readonly peering: { readonly key: NetworkPrefixKey; readonly value: PeeringEntry };
  readonly source_rule: { readonly key: NetworkPrefixKey; readonly value: SourceRuleEntry };
  /** Provider addresses that may probe and answer probes: members and voters of our groups. The value is 1. */
  readonly peer_gateway: { readonly key: { readonly pa: Uint8Array }; readonly value: number };
}

export type GatewayTableName = keyof GatewayTableRow;

/** In the order in which additions are written; deletions go the other way. */
export const GATEWAY_TABLES: readonly GatewayTableName[] = [
  'peer_gateway',
  'gateway_shard',
  'segment',
  'external_route',
  'gateway_network',
  'peering',
  'source_rule',
  'port_forward',
  'external_address',
  'external_prefix',
  'external',
];

/** One row as stored: table, key and value. */
export type GatewayTableEntry = {
  [N in GatewayTableName]: { readonly table: N; readonly key: GatewayTableRow[N]['key']; readonly value: GatewayTableRow[N]['value'] };
}[GatewayTableName];

/** One change: `put` replaces or adds, `delete` removes (no error when absent). */
export type GatewayTableChange =
  | ({ readonly op: 'put' } & GatewayTableEntry)
  | { [N in GatewayTableName]: { readonly op: 'delete'; readonly table: N; readonly key: GatewayTableRow[N]['key'] } }[GatewayTableName];

/** What a gateway's decision reads besides the host's tables. Implementation: `MemoryGatewayTables`. */
export interface GatewayTables {
  external(ifindex: number): ExternalEntry | undefined;
  segment(segment: number): SegmentEntry | undefined;
  /** The longest route that covers `address`. */
  externalRoute(segment: number, address: Uint8Array): ExternalRouteEntry | undefined;
  gatewayShard(shard: number): GatewayShardEntry | undefined;
  gatewayNetwork(networkId: number): GatewayNetworkEntry | undefined;
  externalAddress(segment: number, address: Uint8Array): ExternalAddressEntry | undefined;
  externalPrefix(segment: number, address: Uint8Array): ExternalPrefixEntry | undefined;
  portForward(segment: number, address: Uint8Array, port: number, protocol: number): PortForwardEntry | undefined;
  peering(networkId: number, address: Uint8Array): PeeringEntry | undefined;
  sourceRule(networkId: number, address: Uint8Array): SourceRuleEntry | undefined;
  peerGateway(pa: Uint8Array): boolean;
}

/** A text key, unique among all rows: the identity of a row for maps and diffs. Bits beyond a prefix length are the caller's to clear. */
export function gatewayRowKey(row: { readonly table: GatewayTableName; readonly key: GatewayTableRow[GatewayTableName]['key'] }): string {
  const parts = Object.entries(row.key)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, part]) => (part instanceof Uint8Array ? hex(part) : String(part)));
  return `${row.table}/${parts.join('/')}`;
}
