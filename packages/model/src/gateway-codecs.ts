import { weft } from '@weft/proto';
import { bool, enumeration, type Field, list, type Message, message, optional, text, u32, u64 } from './codec.ts';
import type * as G from './gateway-records.ts';

// One line a message of proto/weft/v1/gateway.proto.

const pb = weft.v1;

export const connectionMode: Field<G.ConnectionMode> = enumeration<G.ConnectionMode>({ nat: 1, forward: 2, peering: 3 });
export const ipv6Mode: Field<G.Ipv6Mode> = enumeration<G.Ipv6Mode>({ none: 0, forward: 1, nptv6: 2, nat66: 3 });
export const externalUse: Field<G.ExternalUse> = enumeration<G.ExternalUse>({ snat: 1, static: 2, reserved: 3 });

export const interfaceCodec: Message<G.SegmentInterface> = message('SegmentInterface', pb.SegmentInterface, {
  segment: text,
  interface: text,
});
const memberCodec: Message<G.GatewayMember> = message('GatewayMember', pb.GatewayMember, {
  host: text,
  interfaces: list(interfaceCodec),
  drain: bool,
});

const accessMessage: Message<G.TenantAccess> = message('TenantAccess', pb.TenantAccess, {
  mode: enumeration<G.TenantAccess['mode']>({ deny: 0, any: 1, list: 2 }),
  tenants: list(text),
});
/** Absent access denies, as its zero value does. */
export const accessCodec: Field<G.TenantAccess> = {
  toWire: accessMessage.toWire,
  fromWire: (raw) => (raw === undefined || raw === null ? { mode: 'deny', tenants: [] } : accessMessage.fromWire(raw)),
};

export const segmentCodec: Message<G.GatewaySegment> = message('GatewaySegment', pb.GatewaySegment, {
  name: text,
  id: u32,
  onLink: list(text),
  nextHops: list(text),
  mtu: u32,
  access: accessCodec,
});
const poolCodec: Message<G.GatewayPool> = message('GatewayPool', pb.GatewayPool, {
  name: text,
  id: u32,
  segment: text,
  segmentId: u32,
  addresses: list(text),
  prefixes: list(text),
  shared: u32,
  access: accessCodec,
});
export const gatewayCodec: Message<G.Gateway> = message('Gateway', pb.Gateway, {
  id: text,
  name: text,
  members: list(memberCodec),
  witnesses: list(text),
  segments: list(segmentCodec),
  pools: list(poolCodec),
  shards: u32,
});

const quotaMessage: Message<G.GatewayQuota> = message('GatewayQuota', pb.GatewayQuota, {
  blocks: u32,
  flows: u32,
  newFlowsPerSecond: u32,
});
/** Absent: nothing may be held. */
export const quotaCodec: Field<G.GatewayQuota> = {
  toWire: quotaMessage.toWire,
  fromWire: (raw) => (raw === undefined || raw === null ? { blocks: 0, flows: 0, newFlowsPerSecond: 0 } : quotaMessage.fromWire(raw)),
};
const connectionCodec: Message<G.GatewayConnection> = message('GatewayConnection', pb.GatewayConnection, {
  name: text,
  mode: connectionMode,
  routes: list(text),
  pool: text,
  poolId: u32,
  segment: text,
  segmentId: u32,
  ipv6: ipv6Mode,
  ipv6Inside: text,
  ipv6Prefix: text,
  peerTenant: text,
  peerNetwork: text,
  offers: list(text),
  accepts: list(text),
  quota: quotaCodec,
});
const externalAddressCodec: Message<G.ExternalAddress> = message('ExternalAddress', pb.ExternalAddress, {
  name: text,
  pool: text,
  poolId: u32,
  segmentId: u32,
  address: text,
  use: externalUse,
  number: u32,
});
export const natRuleCodec: Message<G.NatRule> = message('NatRule', pb.NatRule, {
  name: text,
  kind: enumeration<G.NatRuleKind>({ snat: 1, static: 2, forward: 3 }),
  source: text,
  externalAddress: text,
  pool: text,
  poolId: u32,
  customerAddress: text,
  protocol: enumeration<G.NatProtocol>({ none: 0, tcp: 6, udp: 17 }),
  firstPort: u32,
  lastPort: u32,
  customerPort: u32,
});
export const networkGatewayCodec: Message<G.NetworkGateway> = message('NetworkGateway', pb.NetworkGateway, {
  gatewayId: text,
  gateway: text,
  shard: u32,
  addresses: list(text),
  ownPool: u32,
  connections: list(connectionCodec),
  externalAddresses: list(externalAddressCodec),
  natRules: list(natRuleCodec),
});

const votersCodec: Message<G.Voters> = message('Voters', pb.Voters, {
  configId: u32,
  voters: list(message<G.Voter>('Voter', pb.Voter, { hostId: text, publicKey: text, instance: u64 })),
});
const sliceCodec: Message<G.BlockSlice> = message('BlockSlice', pb.BlockSlice, { member: u32, first: u32, count: u32, movingTo: u32 });
export const assignmentCodec: Message<G.Assignment> = message('Assignment', pb.Assignment, {
  gatewayId: text,
  gateway: text,
  incarnation: u32,
  voters: votersCodec,
  previousVoters: optional(votersCodec),
  members: list(
    message<G.AssignedMember>('AssignedMember', pb.AssignedMember, { member: u32, hostId: text, providerAddress: text, drain: bool }),
  ),
  shards: list(message<G.AssignedShard>('AssignedShard', pb.AssignedShard, { id: u32, order: list(u32), placement: u32 })),
  addresses: list(
    message<G.AssignedAddress>('AssignedAddress', pb.AssignedAddress, {
      segment: u32,
      address: text,
      shard: u32,
      pool: u32,
      natPool: u32,
      slices: list(sliceCodec),
    }),
  ),
});
