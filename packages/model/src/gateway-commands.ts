// What gateways are asked and answer (proto/weft/v1/gateway_command.proto), as the program sees it. Addresses are text; empty and 0 in a question mean any.

export interface GatewayStatusRequest {
  /** Empty: every group that concerns the machine. */
  readonly gatewayId: string;
}
export interface GatewayStatusResult {
  readonly hostId: string;
  readonly groups: readonly GatewayGroupStatus[];
  readonly alarms: readonly GatewayAlarm[];
}

/** `host`: it has networks of the gateway, and obeys its owners. */
export type GatewayPart = 'member' | 'witness' | 'host';

export interface GatewayGroupStatus {
  readonly gatewayId: string;
  readonly part: GatewayPart;
  /** Of the list of voters it goes by. */
  readonly configId: number;
  readonly incarnation: number;
  readonly shards: readonly GatewayShardStatus[];
  /** Members only. */
  readonly use: GatewayMemberUse | undefined;
}
export interface GatewayShardStatus {
  readonly shard: number;
  /** Whose frames it believes; empty: nobody's. */
  readonly owner: string;
  readonly epoch: bigint;
  /** For how long at least. */
  readonly sinceMs: number;
  /** Of the member's state machine; others: empty. */
  readonly state: string;
  /** The packet path of this member lets frames of the shard pass now. */
  readonly forwards: boolean;
  /** That the shard serves, as far as this machine knows. */
  readonly networks: number;
  /** Absent: its state is told to nobody. */
  readonly lag: GatewayStateLag | undefined;
  /** How it came to this member last. Absent: it has not since its agent started. */
  readonly takeover: GatewayTakeover | undefined;
}
/** How a shard came to a member, and where the time went. */
export interface GatewayTakeover {
  /** `takeover`; `handover`: by the former owner's consent. */
  readonly kind: string;
  /** The former owner; empty: none was known. */
  readonly from: string;
  readonly epoch: bigint;
  readonly agoMs: number;
  /** For how long the former owner's packet path had not answered when the member stood for the shard. 0: it never answered this member. */
  readonly silentBeforeUs: number;
  /** In the order in which they were done. */
  readonly steps: readonly GatewayTakeoverStep[];
}
export interface GatewayTakeoverStep {
  /**
   * `answered`: enough voters said that they would vote. `ballot`: sent. `vote`: arrived from `host`. `opened`: the packet path forwards. `told`: the certificate is on its way to all.
   * `done`: addresses are announced, or, after a hand-over, are about to be.
   */
  readonly step: string;
  /** Of a vote: the voter. */
  readonly host: string;
  /** Since the member stood for the shard. */
  readonly afterUs: number;
}
/** How far the standby of a shard is behind its owner. */
export interface GatewayStateLag {
  /** Host id. */
  readonly standby: string;
  readonly lagMsP99: number;
  readonly lagMsLast: number;
  /** Events that it has not acknowledged. */
  readonly backlog: number;
  /** It has all that is older than a second: flows survive the owner. */
  readonly isProtected: boolean;
}
export interface GatewayMemberUse {
  /** Blocks of ports that networks of the shards it owns hold. */
  readonly blocksHeld: number;
  /** Of its own slices. */
  readonly blocksFree: number;
  readonly mappings: number;
  readonly sessions: number;
  readonly interfaces: readonly GatewayInterface[];
}
export interface GatewayInterface {
  readonly name: string;
  readonly isPresent: boolean;
  readonly hasCarrier: boolean;
}
/** A condition that has to do with gateways. */
export interface GatewayAlarm {
  /** Empty: the machine as a whole. */
  readonly gatewayId: string;
  readonly code: string;
  readonly severity: string;
  readonly message: string;
  readonly sinceMs: number;
  readonly count: number;
}

/** Which rows of port mapping are wanted, of the shards that the member owns. */
export interface NatQuery {
  /** Empty: of all networks that the asker may read. */
  readonly networkIds: readonly number[];
  readonly customerAddress: string;
  readonly externalAddress: string;
  readonly externalPort: number;
  /** Flows only. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly protocol: number;
  /** Rows at most; others are counted. */
  readonly limit: number;
}
export interface NatMappingsResult {
  readonly hostId: string;
  readonly rows: readonly NatMappingRow[];
  readonly leftOut: number;
}
/** `mapping`: made by traffic; `static`, `forward`: a rule. */
export type NatMappingKind = 'mapping' | 'static' | 'forward';
/** Ports and protocol 0: all. */
export interface NatMappingRow {
  readonly kind: NatMappingKind;
  readonly networkId: number;
  readonly customerAddress: string;
  readonly customerPort: number;
  readonly protocol: number;
  readonly segment: number;
  readonly externalAddress: string;
  readonly externalPort: number;
  /** Rules have none of their own. */
  readonly sessions: number;
}
export interface NatFlowsResult {
  readonly hostId: string;
  readonly rows: readonly NatFlow[];
  readonly leftOut: number;
}
export interface NatFlow {
  readonly networkId: number;
  readonly customerAddress: string;
  readonly customerPort: number;
  readonly protocol: number;
  readonly segment: number;
  readonly externalAddress: string;
  readonly externalPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** By a port forward. */
  readonly isForward: boolean;
  /** Bits of `TcpSeen`. */
  readonly tcpSeen: number;
  /** Until it is over unless packets come; 0: over. */
  readonly remainingMs: number;
}

export interface GatewayUseRequest {
  /** Empty: all that the asker may read. */
  readonly networkIds: readonly number[];
  /** Between two readings. */
  readonly intervalMs: number;
  /** Networks at most: those that do most. */
  readonly limit: number;
}
export interface GatewayUseResult {
  readonly hostId: string;
  /** That really passed. */
  readonly intervalMs: number;
  readonly networks: readonly NetworkUse[];
  readonly leftOut: number;
  /** In the interval: there were more new flows than are counted. */
  readonly eventsLost: number;
}
/** What a network has of a gateway, and what it did in the interval. */
export interface NetworkUse {
  readonly networkId: number;
  readonly blocks: number;
  readonly blocksQuota: number;
  readonly sessions: number;
  readonly sessionsQuota: number;
  readonly mappings: number;
  readonly newFlows: number;
  /** Refused by quota. */
  readonly deniedBlocks: number;
  readonly deniedSessions: number;
  /** New flows, refused by the limit of a second. */
  readonly deniedFlows: number;
  /** Refused as no port was left. */
  readonly exhausted: number;
  /** Both directions, dropped ones too; an estimate, since one packet of 64 is counted. */
  readonly packets: number;
  readonly bytes: number;
  /** Most first. */
  readonly drops: readonly UseDrops[];
}
export interface UseDrops {
  /** DropReason. */
  readonly reason: number;
  readonly packets: number;
  readonly bytes: number;
}
