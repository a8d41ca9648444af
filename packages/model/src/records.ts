// The records of the buckets, as the program sees them. Field names are those of proto/weft/v1/records.proto in camel case; addresses,
// prefixes and MACs are canonical text; u64 are plain numbers up to 2^53 - 1 (the codecs refuse more); `undefined` stands for absent.

import type { Assignment, Gateway, NetworkGateway } from './gateway-records.ts';
import type { OwnershipGrant } from './ownership.ts';

/** config `tenant.<id>` */
export interface Tenant {
  readonly id: string;
  readonly name: string;
}

/** config `network.<rdid>`: one network with its subnets and routes is one document, so that it changes as one. */
export interface VirtualNetwork {
  /** Routing domain id: GUID in lower case. */
  readonly id: string;
  /** Tenant name. */
  readonly tenant: string;
  readonly name: string;
  /** u32, allocated once cluster-wide, never reused, never 0. */
  readonly networkId: number;
  readonly subnets: readonly VirtualSubnet[];
  readonly routes: readonly CustomerRoute[];
  /** Absent: no connection to a gateway. */
  readonly gateway?: NetworkGateway | undefined;
}

/** `gateway`: Weft's own, for the network's gateway; no port may be put there. */
export type SubnetRole = 'ports' | 'gateway';

export interface VirtualSubnet {
  readonly name: string;
  /** 4096..16777214 (RFC 7637). */
  readonly vsid: number;
  /** At most one of each family. */
  readonly prefixes: readonly string[];
  /** `gateways[i]` belongs to `prefixes[i]`. */
  readonly gateways: readonly string[];
  /** Absent: `ports`. */
  readonly role?: SubnetRole | undefined;
}

/** `gateway`: to the network's gateway. */
export type RouteKind = 'next-hop' | 'blackhole' | 'gateway';

export interface CustomerRoute {
  readonly prefix: string;
  readonly kind: RouteKind;
  /** A customer address of the same network; empty unless `kind` is `next-hop`. */
  readonly nextHop: string;
  /** Of the CustomerRoute that made it; absent: the VirtualNetwork itself. */
  readonly name?: string | undefined;
}

/** config `port.<rdid>.<port id>` */
export interface Port {
  readonly id: string;
  readonly tenant: string;
  /** Network name. */
  readonly network: string;
  readonly routingDomainId: string;
  /** Subnet name. */
  readonly subnet: string;
  readonly vsid: number;
  readonly name: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly placement: Placement;
}

export type PlacementMode = 'deny' | 'any' | 'list';

/** Which hosts may bind a port. `hosts` counts in mode `list` only. */
export interface Placement {
  readonly mode: PlacementMode;
  readonly hosts: readonly string[];
}

/** config `claim.<what>.…`: made by `create` before use, so that two controllers can't both have the value. */
export interface Claim {
  /** Routing domain id, port id, or gateway id. */
  readonly owner: string;
  readonly requestId: string;
  /** Config key of the document that holds the value: tells a leftover from a claim in use. */
  readonly ownerKey: string;
}

/** config `intent.<request id>`: before an apply's first effect. Any controller resumes what it finds old. */
export interface ApplyIntent {
  readonly requestId: string;
  /** The SignedEnvelope of the request. */
  readonly request: Uint8Array;
}

export type Role = 'deny' | 'admin' | 'tenant' | 'controller' | 'host' | 'viewer';

/** config `principal.<public nkey>`: who may do what. Signed by an admin. */
export interface Principal {
  readonly key: string;
  /** The name it is known by; for role `host` the host id. */
  readonly name: string;
  readonly role: Role;
  /** Role `tenant`: the tenants it may act for. */
  readonly tenants: readonly string[];
}

export type BindingState = 'bound' | 'released';
export type DeviceKind = 'tap' | 'netdev';

/** mapping `<rdid>.<vsid>.<port id>`: who has the port. Signed by that host. */
export interface PortBinding {
  readonly portId: string;
  readonly routingDomainId: string;
  readonly vsid: number;
  readonly hostId: string;
  readonly providerAddress: string;
  /** +1 at every claim by a host. */
  readonly generation: number;
  readonly state: BindingState;
  /** Device on that host. */
  readonly device: string;
  readonly deviceKind: DeviceKind;
  /** Whom it moved from; empty if from nobody. */
  readonly previousHostId: string;
  readonly previousProviderAddress: string;
}

/** A gateway node's file of promises, by a number made together with it. */
export interface OwnershipMemory {
  readonly gatewayId: string;
  /** 53 random bits. */
  readonly instance: number;
}

/** hosts `<host id>`: signed by that host. */
export interface Host {
  readonly id: string;
  readonly providerAddress: string;
  /** Public nkey (`N…`); what this host signs is verified with it. */
  readonly publicKey: string;
  readonly encapsulations: readonly string[];
  readonly engine: string;
  readonly underlayMtu: number;
  readonly version: string;
  readonly roles: readonly string[];
  readonly bootId: string;
  /** Its memories of promises, one for each gateway group that it is a member or a witness of. */
  readonly memories: readonly OwnershipMemory[];
  /** Of the external interfaces that gateways name for it. */
  readonly externalLinks: readonly ExternalLink[];
}

/** An external interface of a gateway's member, and its MAC address. */
export interface ExternalLink {
  readonly interface: string;
  readonly mac: string;
}

/** What stands in a bucket under a key. */
export type WeftRecord =
  | { readonly kind: 'tenant'; readonly value: Tenant }
  | { readonly kind: 'network'; readonly value: VirtualNetwork }
  | { readonly kind: 'port'; readonly value: Port }
  | { readonly kind: 'claim'; readonly value: Claim }
  | { readonly kind: 'binding'; readonly value: PortBinding }
  | { readonly kind: 'host'; readonly value: Host }
  | { readonly kind: 'intent'; readonly value: ApplyIntent }
  | { readonly kind: 'principal'; readonly value: Principal }
  | { readonly kind: 'gateway'; readonly value: Gateway }
  | { readonly kind: 'assignment'; readonly value: Assignment }
  | { readonly kind: 'grant'; readonly value: OwnershipGrant };

export type RecordKind = WeftRecord['kind'];
export type RecordOf<K extends RecordKind> = Extract<WeftRecord, { kind: K }>['value'];

export const BUCKETS = ['config', 'mapping', 'hosts', 'gateways'] as const;
export type BucketName = (typeof BUCKETS)[number];

/** One record as committed: author, request and before-value are inside what is signed. */
export interface Change {
  readonly bucket: BucketName;
  readonly key: string;
  /** Tenant name; empty for records of the installation. */
  readonly tenant: string;
  /** The revision this change replaces: its CAS condition. 0: the key must not exist. */
  readonly replacesRevision: number;
  /** `delete` leaves a signed tombstone under the key. */
  readonly operation: 'put' | 'delete';
  readonly before: WeftRecord | undefined;
  /** Absent on delete. */
  readonly after: WeftRecord | undefined;
  readonly authorKey: string;
  readonly authorName: string;
  readonly requestId: string;
  /** The writer's wall clock, for people; nothing is ordered by it. */
  readonly timeUnixMs: number;
}

/** An event: a record after its CAS was acknowledged. A hint; digests and snapshots mend what is lost. */
export interface CommittedRecord {
  readonly bucket: BucketName;
  readonly key: string;
  readonly revision: number;
  readonly bucketCreatedUnixMs: number;
  /** SignedEnvelope of the Change. */
  readonly envelope: Uint8Array;
}

/** What the sender believes of one network (anti-entropy). */
export interface NetworkDigest {
  readonly routingDomainId: string;
  readonly hostId: string;
  readonly bucketCreatedUnixMs: number;
  readonly configRevision: number;
  readonly mappingRevision: number;
  readonly recordCount: number;
  /** SHA-256 over (bucket, key, revision) of every record, sorted by bucket and key: 32 bytes. */
  readonly hash: Uint8Array;
  /** The sender has no port there any more, and listens a little longer. */
  readonly zero: boolean;
}

/** Stream AUDIT: one a committed record. */
export interface AuditRecord {
  readonly bucket: BucketName;
  readonly key: string;
  readonly revision: number;
  readonly bucketCreatedUnixMs: number;
  readonly tenant: string;
  readonly authorKey: string;
  readonly authorName: string;
  readonly requestId: string;
  readonly timeUnixMs: number;
  readonly operation: 'created' | 'updated' | 'deleted';
  /** `Port coke/net/web1` */
  readonly resource: string;
  readonly envelope: Uint8Array;
}

export type EnvelopeKind = 'change' | 'request' | 'response' | 'digest' | 'ownership' | 'state' | 'natLog';

/** A payload and its signature; `signed` are exactly the bytes covered. */
export interface SignedEnvelope {
  readonly kind: EnvelopeKind;
  readonly signed: Uint8Array;
  /** Public nkey as text. */
  readonly keyId: string;
  readonly signature: Uint8Array;
}
