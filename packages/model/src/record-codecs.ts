import { weft } from '@weft/proto';
import {
  bool,
  bytes,
  choice,
  enumeration,
  type Field,
  list,
  type Message,
  message,
  optional,
  text,
  textIfAny,
  u32,
  u64,
  wrapped,
} from './codec.ts';
import { assignmentCodec, gatewayCodec, networkGatewayCodec } from './gateway-codecs.ts';
import { ownershipGrantCodec } from './ownership-codecs.ts';
import type * as R from './records.ts';
import { BUCKETS } from './records.ts';

// One line a message of proto/weft/v1/{records,envelope,events,audit}.proto.

const pb = weft.v1;

export const placementModeNumbers = { deny: 0, any: 1, list: 2 } as const;
export const deviceKindNumbers = { tap: 1, netdev: 2 } as const;

export const tenantCodec: Message<R.Tenant> = message('Tenant', pb.Tenant, { id: text, name: text });

export const routeCodec: Message<R.CustomerRoute> = message('CustomerRoute', pb.CustomerRoute, {
  prefix: text,
  kind: enumeration<R.RouteKind>({ 'next-hop': 1, blackhole: 2, gateway: 3 }),
  nextHop: text,
  name: textIfAny,
});

const subnetRoles = enumeration<R.SubnetRole>({ ports: 0, gateway: 1 });
/** The common one is left out, as on the wire. */
const subnetRole: Field<R.SubnetRole | undefined> = {
  toWire: (role) => subnetRoles.toWire(role ?? 'ports'),
  fromWire: (raw) => (raw === 0 ? undefined : subnetRoles.fromWire(raw)),
};

export const subnetCodec: Message<R.VirtualSubnet> = message('VirtualSubnet', pb.VirtualSubnet, {
  name: text,
  vsid: u32,
  prefixes: list(text),
  gateways: list(text),
  role: subnetRole,
});

export const networkCodec: Message<R.VirtualNetwork> = message('VirtualNetwork', pb.VirtualNetwork, {
  id: text,
  tenant: text,
  name: text,
  networkId: u32,
  subnets: list(subnetCodec),
  routes: list(routeCodec),
  gateway: optional(networkGatewayCodec),
});

export const placementCodec: Message<R.Placement> = message('Placement', pb.Placement, {
  mode: enumeration<R.PlacementMode>(placementModeNumbers),
  hosts: list(text),
});

/** An absent placement denies, as its zero value does. */
const placementOrDeny = {
  toWire: placementCodec.toWire,
  fromWire: (raw: unknown): R.Placement => (raw === undefined || raw === null ? { mode: 'deny', hosts: [] } : placementCodec.fromWire(raw)),
};

export const portCodec: Message<R.Port> = message('Port', pb.Port, {
  id: text,
  tenant: text,
  network: text,
  routingDomainId: text,
  subnet: text,
  vsid: u32,
  name: text,
  mac: text,
  addresses: list(text),
  placement: placementOrDeny,
});

export const claimCodec: Message<R.Claim> = message('Claim', pb.Claim, { owner: text, requestId: text, ownerKey: text });
export const intentCodec: Message<R.ApplyIntent> = message('ApplyIntent', pb.ApplyIntent, { requestId: text, request: bytes });
export const principalCodec: Message<R.Principal> = message('Principal', pb.Principal, {
  key: text,
  name: text,
  role: enumeration<R.Role>({ deny: 0, admin: 1, tenant: 2, controller: 3, host: 4, viewer: 5 }),
  tenants: list(text),
});

export const bindingCodec: Message<R.PortBinding> = message('PortBinding', pb.PortBinding, {
  portId: text,
  routingDomainId: text,
  vsid: u32,
  hostId: text,
  providerAddress: text,
  generation: u64,
  state: enumeration<R.BindingState>({ bound: 1, released: 2 }),
  device: text,
  deviceKind: enumeration<R.DeviceKind>(deviceKindNumbers),
  previousHostId: text,
  previousProviderAddress: text,
});

export const hostCodec: Message<R.Host> = message('Host', pb.Host, {
  id: text,
  providerAddress: text,
  publicKey: text,
  encapsulations: list(text),
  engine: text,
  underlayMtu: u32,
  version: text,
  roles: list(text),
  bootId: text,
  memories: list(message<R.OwnershipMemory>('OwnershipMemory', pb.OwnershipMemory, { gatewayId: text, instance: u64 })),
  externalLinks: list(message<R.ExternalLink>('ExternalLink', pb.ExternalLink, { interface: text, mac: text })),
});

export const recordCodec: Message<R.WeftRecord> = wrapped<R.WeftRecord>('Record', pb.Record, {
  tenant: tenantCodec,
  network: networkCodec,
  port: portCodec,
  claim: claimCodec,
  binding: bindingCodec,
  host: hostCodec,
  intent: intentCodec,
  principal: principalCodec,
  gateway: gatewayCodec,
  assignment: assignmentCodec,
  grant: ownershipGrantCodec,
});

const bucket = choice(BUCKETS);

export const changeCodec: Message<R.Change> = message('Change', pb.Change, {
  bucket,
  key: text,
  tenant: text,
  replacesRevision: u64,
  operation: enumeration<R.Change['operation']>({ put: 1, delete: 2 }),
  before: optional(recordCodec),
  after: optional(recordCodec),
  authorKey: text,
  authorName: text,
  requestId: text,
  timeUnixMs: u64,
});

export const envelopeCodec: Message<R.SignedEnvelope> = message('SignedEnvelope', pb.SignedEnvelope, {
  kind: enumeration<R.EnvelopeKind>({ change: 1, request: 2, response: 3, digest: 4, ownership: 5, state: 6, natLog: 7 }),
  signed: bytes,
  keyId: text,
  signature: bytes,
});
/** The number of an envelope's kind, part of what is signed. */
export const envelopeKindNumbers = { change: 1, request: 2, response: 3, digest: 4, ownership: 5, state: 6, natLog: 7 } as const;

export const committedCodec: Message<R.CommittedRecord> = message('CommittedRecord', pb.CommittedRecord, {
  bucket,
  key: text,
  revision: u64,
  bucketCreatedUnixMs: u64,
  envelope: bytes,
});

export const digestCodec: Message<R.NetworkDigest> = message('NetworkDigest', pb.NetworkDigest, {
  routingDomainId: text,
  hostId: text,
  bucketCreatedUnixMs: u64,
  configRevision: u64,
  mappingRevision: u64,
  recordCount: u32,
  hash: bytes,
  zero: bool,
});

export const auditCodec: Message<R.AuditRecord> = message('AuditRecord', pb.AuditRecord, {
  bucket,
  key: text,
  revision: u64,
  bucketCreatedUnixMs: u64,
  tenant: text,
  authorKey: text,
  authorName: text,
  requestId: text,
  timeUnixMs: u64,
  operation: choice(['created', 'updated', 'deleted'] as const),
  resource: text,
  envelope: bytes,
});
