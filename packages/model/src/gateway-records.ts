// The records of gateways, as the program sees them: fields of proto/weft/v1/gateway.proto in camel case, conventions of records.ts.
// "Number" means a u32 that was claimed for the whole cluster (`claim.number.<n>`) and is never used again.

/** config `gateway.<gateway id>`: a group of hosts that serve networks together. */
export interface Gateway {
  /** GUID, made of the name. */
  readonly id: string;
  readonly name: string;
  /** Hosts that forward. */
  readonly members: readonly GatewayMember[];
  /** Hosts that vote but do not forward. */
  readonly witnesses: readonly string[];
  readonly segments: readonly GatewaySegment[];
  readonly pools: readonly GatewayPool[];
  /** 1..256 */
  readonly shards: number;
}

export interface GatewayMember {
  readonly host: string;
  /** One for each segment. */
  readonly interfaces: readonly SegmentInterface[];
  /** Gets no shard and no blocks: to be emptied before it is removed. */
  readonly drain: boolean;
}

export interface SegmentInterface {
  readonly segment: string;
  readonly interface: string;
}

/** A physical network beyond the gateway, the same one on every member. */
export interface GatewaySegment {
  readonly name: string;
  /** A number. */
  readonly id: number;
  /** Prefixes reached without a next hop. */
  readonly onLink: readonly string[];
  /** Default routers: at most one of each family. */
  readonly nextHops: readonly string[];
  /** Largest IP packet in bytes. */
  readonly mtu: number;
  /** Who may have a network forwarded to it. */
  readonly access: TenantAccess;
}

/** External addresses of one segment, and who may use them. */
export interface GatewayPool {
  readonly name: string;
  /** A number. */
  readonly id: number;
  readonly segment: string;
  readonly segmentId: number;
  /** Each an address, a prefix, or `first-last`. */
  readonly addresses: readonly string[];
  /** IPv6 prefixes handed out whole: for NPTv6, and for IPv6 without translation. */
  readonly prefixes: readonly string[];
  /** How many of the lowest addresses of each family are for SNAT of all networks; the rest is handed out. */
  readonly shared: number;
  readonly access: TenantAccess;
}

export interface TenantAccess {
  readonly mode: 'deny' | 'any' | 'list';
  /** Tenant names; count in mode `list` only. */
  readonly tenants: readonly string[];
}

/** What a network has of a gateway; part of the network's document. */
export interface NetworkGateway {
  readonly gatewayId: string;
  /** The gateway's name. */
  readonly gateway: string;
  /** A number; fixed when the first connection is made. */
  readonly shard: number;
  /** The gateway CAs: at most one of each family, in the subnet of role `gateway`, in the order of its prefixes. */
  readonly addresses: readonly string[];
  /** Number of the pool that the network's own addresses of use `snat` make. */
  readonly ownPool: number;
  readonly connections: readonly GatewayConnection[];
  readonly externalAddresses: readonly ExternalAddress[];
  readonly natRules: readonly NatRule[];
}

export type ConnectionMode = 'nat' | 'forward' | 'peering';
export type Ipv6Mode = 'none' | 'forward' | 'nptv6' | 'nat66';

/** Texts and numbers that the mode does not use are empty and 0. */
export interface GatewayConnection {
  readonly name: string;
  readonly mode: ConnectionMode;
  /** Prefixes that lead to the gateway because of this connection. A peering has none here: see `accepts`. */
  readonly routes: readonly string[];
  /** nat: pool. */
  readonly pool: string;
  readonly poolId: number;
  /** nat, forward: segment. */
  readonly segment: string;
  readonly segmentId: number;
  readonly ipv6: Ipv6Mode;
  /** nptv6: the network's prefix that is exchanged. */
  readonly ipv6Inside: string;
  /** One of the pool's prefixes, claimed whole. nptv6: what `ipv6Inside` becomes; forward: where the network's IPv6 prefixes lie in. */
  readonly ipv6Prefix: string;
  /** peering: the other network. */
  readonly peerTenant: string;
  readonly peerNetwork: string;
  /** peering: own prefixes that the other side may reach. */
  readonly offers: readonly string[];
  /** peering: the other side's prefixes that this network wants to reach. */
  readonly accepts: readonly string[];
  /** nat: what the network may hold at most. */
  readonly quota: GatewayQuota;
}

export interface GatewayQuota {
  /** Blocks of 64 external ports. */
  readonly blocks: number;
  /** Sessions. */
  readonly flows: number;
  /** As many may come at once; 0: no limit. */
  readonly newFlowsPerSecond: number;
}

export type ExternalUse = 'snat' | 'static' | 'reserved';

/** An external address that one network has for itself. */
export interface ExternalAddress {
  readonly name: string;
  readonly pool: string;
  readonly poolId: number;
  readonly segmentId: number;
  readonly address: string;
  readonly use: ExternalUse;
  /** Number of the pool that this address alone makes. */
  readonly number: number;
}

export type NatRuleKind = 'snat' | 'static' | 'forward';
export type NatProtocol = 'none' | 'tcp' | 'udp';

/** Texts and numbers that the kind does not use are empty and 0. */
export interface NatRule {
  readonly name: string;
  readonly kind: NatRuleKind;
  /** snat: prefix of customer addresses. */
  readonly source: string;
  /** Name of an external address of the network. */
  readonly externalAddress: string;
  /** snat: pool, instead of an external address. */
  readonly pool: string;
  readonly poolId: number;
  /** static, forward. */
  readonly customerAddress: string;
  readonly protocol: NatProtocol;
  /** forward: external ports, first to last. */
  readonly firstPort: number;
  readonly lastPort: number;
  /** forward: what `firstPort` becomes; the others follow. */
  readonly customerPort: number;
}

/** gateways `assignment.<gateway id>`: how the group's work is divided. Who owns a shard now is decided by votes, not here. */
export interface Assignment {
  readonly gatewayId: string;
  readonly gateway: string;
  /** High half of every epoch; only rises. */
  readonly incarnation: number;
  readonly voters: Voters;
  /** Present while the change of the list is not done: majorities of both are needed. */
  readonly previousVoters: Voters | undefined;
  readonly members: readonly AssignedMember[];
  readonly shards: readonly AssignedShard[];
  readonly addresses: readonly AssignedAddress[];
}

export interface Voters {
  /** +1 at every change. */
  readonly configId: number;
  readonly voters: readonly Voter[];
}

export interface Voter {
  readonly hostId: string;
  /** `N…` */
  readonly publicKey: string;
  /** Of its memory of promises: what its host record says for this gateway (`Host.memories`). 0: not known yet, its votes do not count. */
  readonly instance: number;
}

export interface AssignedMember {
  /** Number in this document, from 1; given to no other host while anything here names it. */
  readonly member: number;
  readonly hostId: string;
  readonly providerAddress: string;
  readonly drain: boolean;
}

export interface AssignedShard {
  /** A number. */
  readonly id: number;
  /** Members: preferred owner, standby, others. */
  readonly order: readonly number[];
  /** Rises whenever the first of the order is decided anew: an owner of an older one hands over to it (docs/ownership.md). */
  readonly placement: number;
}

export interface AssignedAddress {
  readonly segment: number;
  readonly address: string;
  readonly shard: number;
  /** A shared address: its pool. 0: a network's own. */
  readonly pool: number;
  /** A shared address: the number of the pool that those of its pool, shard and family make. 0: a network's own. */
  readonly natPool: number;
  /** Cover the blocks 0..1007 once. None for 1:1 addresses. */
  readonly slices: readonly BlockSlice[];
}

/** Blocks from which only one member grants. Block `b` is the external ports 1024 + 64 b and the 63 after it. */
export interface BlockSlice {
  readonly member: number;
  readonly first: number;
  readonly count: number;
  /** Not 0: `member` grants none of them any more, and this one will when `member` has consented. */
  readonly movingTo: number;
}
