import { weft } from '@weft/proto';
import { bool, enumeration, list, type Message, message, optional, text, u32, u64, u64big } from './codec.ts';
import type * as G from './gateway-commands.ts';

// One line a message of proto/weft/v1/gateway_command.proto.

const pb = weft.v1;

const stateLag: Message<G.GatewayStateLag> = message('GatewayStateLag', pb.GatewayStateLag, {
  standby: text,
  lagMsP99: u32,
  lagMsLast: u32,
  backlog: u64,
  isProtected: bool,
});
const takeover: Message<G.GatewayTakeover> = message('GatewayTakeover', pb.GatewayTakeover, {
  kind: text,
  from: text,
  epoch: u64big,
  agoMs: u64,
  silentBeforeUs: u32,
  steps: list(message<G.GatewayTakeoverStep>('GatewayTakeoverStep', pb.GatewayTakeoverStep, { step: text, host: text, afterUs: u32 })),
});
const shardStatus: Message<G.GatewayShardStatus> = message('GatewayShardStatus', pb.GatewayShardStatus, {
  shard: u32,
  owner: text,
  epoch: u64big,
  sinceMs: u64,
  state: text,
  forwards: bool,
  networks: u32,
  lag: optional(stateLag),
  takeover: optional(takeover),
});
const memberUse: Message<G.GatewayMemberUse> = message('GatewayMemberUse', pb.GatewayMemberUse, {
  blocksHeld: u32,
  blocksFree: u32,
  mappings: u64,
  sessions: u64,
  interfaces: list(message<G.GatewayInterface>('GatewayInterface', pb.GatewayInterface, { name: text, isPresent: bool, hasCarrier: bool })),
});
const groupStatus: Message<G.GatewayGroupStatus> = message('GatewayGroupStatus', pb.GatewayGroupStatus, {
  gatewayId: text,
  part: enumeration<G.GatewayPart>({ member: 1, witness: 2, host: 3 }),
  configId: u32,
  incarnation: u32,
  shards: list(shardStatus),
  use: optional(memberUse),
});
const alarm: Message<G.GatewayAlarm> = message('GatewayAlarm', pb.GatewayAlarm, {
  gatewayId: text,
  code: text,
  severity: text,
  message: text,
  sinceMs: u64,
  count: u64,
});

const query: Message<G.NatQuery> = message('NatQuery', pb.NatQuery, {
  networkIds: list(u32),
  customerAddress: text,
  externalAddress: text,
  externalPort: u32,
  remoteAddress: text,
  remotePort: u32,
  protocol: u32,
  limit: u32,
});
const mappingRow: Message<G.NatMappingRow> = message('NatMappingRow', pb.NatMappingRow, {
  kind: enumeration<G.NatMappingKind>({ mapping: 1, static: 2, forward: 3 }),
  networkId: u32,
  customerAddress: text,
  customerPort: u32,
  protocol: u32,
  segment: u32,
  externalAddress: text,
  externalPort: u32,
  sessions: u32,
});
const flow: Message<G.NatFlow> = message('NatFlow', pb.NatFlow, {
  networkId: u32,
  customerAddress: text,
  customerPort: u32,
  protocol: u32,
  segment: u32,
  externalAddress: text,
  externalPort: u32,
  remoteAddress: text,
  remotePort: u32,
  isForward: bool,
  tcpSeen: u32,
  remainingMs: u64,
});
const networkUse: Message<G.NetworkUse> = message('NetworkUse', pb.NetworkUse, {
  networkId: u32,
  blocks: u32,
  blocksQuota: u32,
  sessions: u32,
  sessionsQuota: u32,
  mappings: u64,
  newFlows: u64,
  deniedBlocks: u64,
  deniedSessions: u64,
  deniedFlows: u64,
  exhausted: u64,
  packets: u64,
  bytes: u64,
  drops: list(message<G.UseDrops>('UseDrops', pb.UseDrops, { reason: u32, packets: u64, bytes: u64 })),
});

/** Cases of `Request.command`. */
export const gatewayRequests: {
  readonly gatewayStatus: Message<G.GatewayStatusRequest>;
  readonly natMappings: Message<G.NatQuery>;
  readonly natFlows: Message<G.NatQuery>;
  readonly gatewayUse: Message<G.GatewayUseRequest>;
} = {
  gatewayStatus: message('GatewayStatusRequest', pb.GatewayStatusRequest, { gatewayId: text }),
  natMappings: query,
  natFlows: query,
  gatewayUse: message('GatewayUseRequest', pb.GatewayUseRequest, { networkIds: list(u32), intervalMs: u32, limit: u32 }),
};

/** Cases of `Response.result`. */
export const gatewayResults: {
  readonly gatewayStatus: Message<G.GatewayStatusResult>;
  readonly natMappings: Message<G.NatMappingsResult>;
  readonly natFlows: Message<G.NatFlowsResult>;
  readonly gatewayUse: Message<G.GatewayUseResult>;
} = {
  gatewayStatus: message('GatewayStatusResult', pb.GatewayStatusResult, { hostId: text, groups: list(groupStatus), alarms: list(alarm) }),
  natMappings: message('NatMappingsResult', pb.NatMappingsResult, { hostId: text, rows: list(mappingRow), leftOut: u32 }),
  natFlows: message('NatFlowsResult', pb.NatFlowsResult, { hostId: text, rows: list(flow), leftOut: u32 }),
  gatewayUse: message('GatewayUseResult', pb.GatewayUseResult, {
    hostId: text,
    intervalMs: u32,
    networks: list(networkUse),
    leftOut: u32,
    eventsLost: u64,
  }),
};
