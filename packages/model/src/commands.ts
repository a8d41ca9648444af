import type {
  GatewayStatusRequest,
  GatewayStatusResult,
  GatewayUseRequest,
  GatewayUseResult,
  NatFlowsResult,
  NatMappingsResult,
  NatQuery,
} from './gateway-commands.ts';
import type {
  Assignment,
  ConnectionMode,
  ExternalUse,
  Gateway,
  GatewayQuota,
  GatewaySegment,
  Ipv6Mode,
  NatRule,
  SegmentInterface,
  TenantAccess,
} from './gateway-records.ts';
import type { OwnershipCertificate } from './ownership.ts';
import type { CustomerRoute, DeviceKind, Host, Placement, Port, PortBinding, Principal, Tenant, VirtualNetwork } from './records.ts';
import type { ReleasedBlocks } from './slices.ts';

// Requests and responses (proto/weft/v1/command.proto), as the program sees them.

export interface Request {
  readonly requestId: string;
  readonly timeUnixMs: number;
  /** `controller` or a host id. */
  readonly target: string;
  readonly command: Command;
}

export type Command =
  | { readonly kind: 'apply'; readonly value: ApplyRequest }
  | { readonly kind: 'delete'; readonly value: DeleteRequest }
  | { readonly kind: 'list'; readonly value: ListRequest }
  | { readonly kind: 'gatewayStep'; readonly value: GatewayStepRequest }
  | { readonly kind: 'drain'; readonly value: DrainRequest }
  | { readonly kind: 'bindPort'; readonly value: BindPortRequest }
  | { readonly kind: 'unbindPort'; readonly value: UnbindPortRequest }
  | { readonly kind: 'status'; readonly value: StatusRequest }
  | { readonly kind: 'drops'; readonly value: DropsRequest }
  | { readonly kind: 'mappings'; readonly value: MappingsRequest }
  | { readonly kind: 'preparePort'; readonly value: PreparePortRequest }
  | { readonly kind: 'consistency'; readonly value: ConsistencyRequest }
  | { readonly kind: 'gatewayStatus'; readonly value: GatewayStatusRequest }
  | { readonly kind: 'natMappings'; readonly value: NatQuery }
  | { readonly kind: 'natFlows'; readonly value: NatQuery }
  | { readonly kind: 'gatewayUse'; readonly value: GatewayUseRequest };
export type CommandKind = Command['kind'];

export interface Response {
  readonly requestId: string;
  /** Not empty: refused, nothing was changed. */
  readonly problems: readonly Problem[];
  readonly result: Result | undefined;
}

export type Result =
  | { readonly kind: 'apply'; readonly value: ApplyResult }
  | { readonly kind: 'list'; readonly value: ListResult }
  | { readonly kind: 'gatewayStep'; readonly value: GatewayStepResult }
  | { readonly kind: 'bindPort'; readonly value: BindPortResult }
  | { readonly kind: 'status'; readonly value: StatusResult }
  | { readonly kind: 'drops'; readonly value: DropsResult }
  | { readonly kind: 'mappings'; readonly value: MappingsResult }
  | { readonly kind: 'consistency'; readonly value: ConsistencyResult }
  | { readonly kind: 'gatewayStatus'; readonly value: GatewayStatusResult }
  | { readonly kind: 'natMappings'; readonly value: NatMappingsResult }
  | { readonly kind: 'natFlows'; readonly value: NatFlowsResult }
  | { readonly kind: 'gatewayUse'; readonly value: GatewayUseResult };

/** One reason for a refusal, as a person can act on it. */
export interface Problem {
  /** `WEFT_ERR_…` */
  readonly code: string;
  /** `Port coke/net/web1` */
  readonly resource: string;
  /** `spec.addresses[0]` */
  readonly path: string;
  readonly value: string;
  /** What must hold. */
  readonly rule: string;
  /** What to do. */
  readonly hint: string;
}

/** Desired state of the resources named; others stay as they are. */
export interface ApplyRequest {
  readonly resources: readonly Resource[];
  readonly dryRun: boolean;
  /** Also what a live gateway needs first: remove members that were not drained, change voters while a change is under way. */
  readonly force?: boolean | undefined;
}

/** A resource as a manifest has it: names instead of ids. */
export type Resource =
  | { readonly kind: 'tenant'; readonly value: TenantSpec }
  | { readonly kind: 'network'; readonly value: NetworkSpec }
  | { readonly kind: 'subnet'; readonly value: SubnetSpec }
  | { readonly kind: 'port'; readonly value: PortSpec }
  | { readonly kind: 'gateway'; readonly value: GatewaySpec }
  | { readonly kind: 'connection'; readonly value: ConnectionSpec }
  | { readonly kind: 'externalAddress'; readonly value: ExternalAddressSpec }
  | { readonly kind: 'natRule'; readonly value: NatRuleSpec }
  | { readonly kind: 'route'; readonly value: RouteSpec };

export interface TenantSpec {
  readonly name: string;
}
export interface NetworkSpec {
  readonly tenant: string;
  readonly name: string;
  /** Empty: made by the controller, or left as it is. */
  readonly routingDomainId: string;
  readonly routes: readonly CustomerRoute[];
}
export interface SubnetSpec {
  readonly tenant: string;
  readonly network: string;
  readonly name: string;
  /** 0: allocated by the controller, or left as it is. */
  readonly vsid: number;
  readonly prefixes: readonly string[];
  /** Empty: the lowest usable address of each prefix. */
  readonly gateways: readonly string[];
}
export interface PortSpec {
  readonly tenant: string;
  readonly network: string;
  readonly subnet: string;
  readonly name: string;
  /** Empty: derived from the port id. */
  readonly mac: string;
  readonly addresses: readonly string[];
  /** Absent: any host. */
  readonly placement: Placement | undefined;
}

export interface GatewaySpec {
  readonly name: string;
  readonly members: readonly MemberSpec[];
  readonly witnesses: readonly string[];
  /** Without numbers (0). `mtu` 0: 1500. */
  readonly segments: readonly GatewaySegment[];
  readonly pools: readonly PoolSpec[];
  /** 0: 4 x members, or as they are. */
  readonly shards: number;
}
export interface MemberSpec {
  readonly host: string;
  /** One whose segment is empty: that of the only segment. */
  readonly interfaces: readonly SegmentInterface[];
  /** Absent: as it is; of a new member false. So a manifest that is applied again does not end what `weft gateway drain` began. */
  readonly drain: boolean | undefined;
}
export interface PoolSpec {
  readonly name: string;
  /** Empty: the only one. */
  readonly segment: string;
  readonly addresses: readonly string[];
  readonly prefixes: readonly string[];
  /** Absent: half of them rounded up, at most one a shard; or as it is. */
  readonly shared: number | undefined;
  readonly access: TenantAccess;
}
export interface ConnectionSpec {
  readonly tenant: string;
  readonly network: string;
  readonly name: string;
  readonly gateway: string;
  readonly mode: ConnectionMode;
  /** Empty: the default, or as it is. */
  readonly gatewaySubnet: readonly string[];
  /** Absent: the default route of each family that the connection carries. */
  readonly routes: readonly string[] | undefined;
  readonly pool: string;
  readonly segment: string;
  readonly ipv6: Ipv6Mode;
  readonly ipv6Inside: string;
  readonly ipv6Prefix: string;
  readonly peerTenant: string;
  readonly peerNetwork: string;
  readonly offers: readonly string[];
  readonly accepts: readonly string[];
  /** 0: the default. */
  readonly quota: GatewayQuota;
}
export interface ExternalAddressSpec {
  readonly tenant: string;
  readonly network: string;
  readonly name: string;
  readonly pool: string;
  /** Empty: allocated, or as it is. */
  readonly address: string;
  readonly use: ExternalUse;
}
export interface NatRuleSpec {
  readonly tenant: string;
  readonly network: string;
  /** Without `poolId` (0). */
  readonly rule: NatRule;
}
export interface RouteSpec {
  readonly tenant: string;
  readonly network: string;
  /** Its `name` is there. */
  readonly route: CustomerRoute;
}

export type ChangeAction = 'unchanged' | 'created' | 'updated' | 'deleted';
export interface ResourceChange {
  readonly action: ChangeAction;
  /** `VirtualNetwork coke/net` */
  readonly resource: string;
  /** Revision of the document after the change; 0 in a dry run of a creation. */
  readonly revision: number;
  readonly fields: readonly FieldChange[];
}
export interface FieldChange {
  readonly path: string;
  readonly before: string;
  readonly after: string;
}
export interface ApplyResult {
  readonly changes: readonly ResourceChange[];
}

export type ResourceKind =
  | 'Tenant'
  | 'VirtualNetwork'
  | 'VirtualSubnet'
  | 'Port'
  | 'Gateway'
  | 'GatewayConnection'
  | 'ExternalAddress'
  | 'NatRule'
  | 'CustomerRoute';
export interface DeleteRequest {
  readonly refs: readonly ResourceRef[];
  readonly dryRun: boolean;
}
export interface ResourceRef {
  /** `ResourceKind`. */
  readonly kind: string;
  /** For a Tenant and a Gateway: empty. */
  readonly tenant: string;
  /** For a VirtualNetwork: empty. */
  readonly network: string;
  readonly name: string;
}

export interface ListRequest {
  /** Empty: all. `Tenant`, `VirtualNetwork`, `VirtualSubnet` (lists its network), `Port`, `PortBinding`, `Host`, `Principal`, `Gateway`, `Assignment`. */
  readonly kinds: readonly string[];
  /** Names; empty: any. */
  readonly tenant: string;
  readonly network: string;
  readonly name: string;
  /** Go on after this: `next` of the page before. Absent: from the start. */
  readonly after?: string | undefined;
}
export interface ListResult {
  readonly records: readonly ListedRecord[];
  /** There is more: ask again with this as `after`. */
  readonly next?: string | undefined;
}
export interface ListedRecord {
  readonly bucket: string;
  readonly key: string;
  readonly revision: number;
  readonly timeUnixMs: number;
  readonly authorName: string;
  readonly record: ListedValue;
}
export type ListedValue =
  | { readonly kind: 'tenant'; readonly value: Tenant }
  | { readonly kind: 'network'; readonly value: VirtualNetwork }
  | { readonly kind: 'port'; readonly value: Port }
  | { readonly kind: 'binding'; readonly value: PortBinding }
  | { readonly kind: 'host'; readonly value: Host }
  | { readonly kind: 'principal'; readonly value: Principal }
  | { readonly kind: 'gateway'; readonly value: Gateway }
  | { readonly kind: 'assignment'; readonly value: Assignment };

/** A step in the life of a gateway's assignment. */
export interface GatewayStepRequest {
  readonly gatewayId: string;
  /** The assignment's revision that the step rests on; refused when it is another by now. 0: any (recover and move only). */
  readonly assignmentRevision: number;
  readonly step: GatewayStep;
}
export type GatewayStep =
  /** By a voter: majorities of the old list and the new have accepted it. */
  | { readonly kind: 'votersSettled'; readonly value: { readonly configId: number; readonly certificate: OwnershipCertificate } }
  /** By the member that has them: it grants them no more. */
  | { readonly kind: 'blocksReleased'; readonly value: { readonly blocks: readonly ReleasedBlocks[] } }
  /** By an admin: all memory of promises is lost. */
  | { readonly kind: 'recover'; readonly value: Record<string, never> }
  /** By an admin: shards get another preferred owner, which takes them over by consent. `to`: host id of a member that is not drained. */
  | { readonly kind: 'move'; readonly value: { readonly shards: readonly number[]; readonly to: string } };
export interface GatewayStepResult {
  /** Of the assignment after it. */
  readonly revision: number;
}

/** Takes a member out of a gateway's work, or gives it work again, whatever else stands in the gateway by then. Answered as an apply. */
export interface DrainRequest {
  /** Name. */
  readonly gateway: string;
  /** Host id of the member. */
  readonly host: string;
  /** False: it gets work again. */
  readonly drain: boolean;
}

export interface BindPortRequest {
  readonly routingDomainId: string;
  readonly portId: string;
  readonly device: string;
  readonly deviceKind: DeviceKind;
  /** Refuse unless the binding's generation is still this; 0: any. */
  readonly expectedGeneration: number;
  /** Take the port from the host that has it. */
  readonly move: boolean;
}
export interface BindPortResult {
  readonly binding: PortBinding;
  readonly revision: number;
  readonly mtuBytes: number;
}
export interface PreparePortRequest {
  readonly routingDomainId: string;
  readonly portId: string;
  readonly device: string;
  readonly deviceKind: DeviceKind;
}
export interface UnbindPortRequest {
  readonly routingDomainId: string;
  readonly portId: string;
}

export type StatusRequest = Record<string, never>;
export interface StatusResult {
  readonly hostId: string;
  readonly providerAddress: string;
  readonly engine: string;
  readonly version: string;
  readonly natsState: string;
  readonly natsStateSinceMs: number;
  readonly networks: number;
  readonly ports: number;
  readonly mappings: number;
  readonly conditions: readonly Condition[];
  readonly uptimeMs: number;
  readonly portStatus: readonly PortStatus[];
}
export interface PortStatus {
  readonly portId: string;
  readonly routingDomainId: string;
  readonly device: string;
  readonly state: string;
  readonly generation: number;
}
export interface Condition {
  readonly code: string;
  readonly severity: string;
  readonly message: string;
  readonly sinceMs: number;
  readonly count: number;
}

export type DropsRequest = Record<string, never>;
export interface DropsResult {
  readonly hostId: string;
  readonly counters: readonly DropCounter[];
}
export interface DropCounter {
  readonly device: string;
  /** Empty: the underlay, or a device without port. */
  readonly portId: string;
  readonly vsid: number;
  /** DropReason. */
  readonly reason: number;
  readonly packets: number;
  readonly bytes: number;
  readonly lastMsAgo: number;
  /** First bytes of the last frame. */
  readonly sample: Uint8Array;
}

export interface MappingsRequest {
  /** Empty: all. */
  readonly routingDomainId: string;
}
export interface MappingsResult {
  readonly hostId: string;
  readonly mappings: readonly Mapping[];
}
export interface Mapping {
  readonly networkId: number;
  readonly customerAddress: string;
  readonly mac: string;
  readonly vsid: number;
  readonly kind: string;
  readonly providerAddress: string;
  readonly device: string;
  readonly generation: number;
}

export type ConsistencyRequest = Record<string, never>;
export interface ConsistencyResult {
  readonly hostId: string;
  readonly consistent: boolean;
  readonly rows: number;
  readonly differences: readonly string[];
}
