import { weft } from '@weft/proto';
import {
  bool,
  bytes,
  enumeration,
  type Field,
  list,
  type Message,
  message,
  oneof,
  optional,
  requiredOneof,
  text,
  textIfAny,
  u32,
  u64,
  wrapped,
} from './codec.ts';
import type * as C from './commands.ts';
import {
  accessCodec,
  assignmentCodec,
  connectionMode,
  externalUse,
  gatewayCodec,
  interfaceCodec,
  ipv6Mode,
  natRuleCodec,
  quotaCodec,
  segmentCodec,
} from './gateway-codecs.ts';
import { gatewayRequests, gatewayResults } from './gateway-command-codecs.ts';
import type { OwnershipCertificate } from './ownership.ts';
import { ownershipCertificateCodec } from './ownership-codecs.ts';
import {
  bindingCodec,
  deviceKindNumbers,
  hostCodec,
  networkCodec,
  placementCodec,
  portCodec,
  principalCodec,
  routeCodec,
  tenantCodec,
} from './record-codecs.ts';
import type { DeviceKind } from './records.ts';
import type { ReleasedBlocks } from './slices.ts';

// One line a message of proto/weft/v1/command.proto.

const pb = weft.v1;
const deviceKind = enumeration<DeviceKind>(deviceKindNumbers);

export const problemCodec: Message<C.Problem> = message('Problem', pb.Problem, {
  code: text,
  resource: text,
  path: text,
  value: text,
  rule: text,
  hint: text,
});

/** False and absent are the same. */
const boolIfAny: Field<boolean | undefined> = {
  toWire: (value) => bool.toWire(value ?? false),
  fromWire: (raw) => bool.fromWire(raw) || undefined,
};

/** Absent and empty are two things. */
const prefixList: Field<readonly string[] | undefined> = {
  toWire: (value) => (value === undefined ? undefined : { prefixes: list(text).toWire(value) }),
  fromWire: (raw) => (raw === undefined || raw === null ? undefined : list(text).fromWire((raw as { prefixes?: unknown }).prefixes)),
};

const memberSpec: Message<C.MemberSpec> = message('MemberSpec', pb.MemberSpec, {
  host: text,
  interfaces: list(interfaceCodec),
  drain: optional(bool),
});
const poolSpec: Message<C.PoolSpec> = message('PoolSpec', pb.PoolSpec, {
  name: text,
  segment: text,
  addresses: list(text),
  prefixes: list(text),
  shared: optional(u32),
  access: accessCodec,
});

export const resourceCodec: Message<C.Resource> = wrapped<C.Resource>('Resource', pb.Resource, {
  tenant: message<C.TenantSpec>('TenantSpec', pb.TenantSpec, { name: text }),
  network: message<C.NetworkSpec>('NetworkSpec', pb.NetworkSpec, {
    tenant: text,
    name: text,
    routingDomainId: text,
    routes: list(routeCodec),
  }),
  subnet: message<C.SubnetSpec>('SubnetSpec', pb.SubnetSpec, {
    tenant: text,
    network: text,
    name: text,
    vsid: u32,
    prefixes: list(text),
    gateways: list(text),
  }),
  port: message<C.PortSpec>('PortSpec', pb.PortSpec, {
    tenant: text,
    network: text,
    subnet: text,
    name: text,
    mac: text,
    addresses: list(text),
    placement: optional(placementCodec),
  }),
  gateway: message<C.GatewaySpec>('GatewaySpec', pb.GatewaySpec, {
    name: text,
    members: list(memberSpec),
    witnesses: list(text),
    segments: list(segmentCodec),
    pools: list(poolSpec),
    shards: u32,
  }),
  connection: message<C.ConnectionSpec>('ConnectionSpec', pb.ConnectionSpec, {
    tenant: text,
    network: text,
    name: text,
    gateway: text,
    mode: connectionMode,
    gatewaySubnet: list(text),
    routes: prefixList,
    pool: text,
    segment: text,
    ipv6: ipv6Mode,
    ipv6Inside: text,
    ipv6Prefix: text,
    peerTenant: text,
    peerNetwork: text,
    offers: list(text),
    accepts: list(text),
    quota: quotaCodec,
  }),
  externalAddress: message<C.ExternalAddressSpec>('ExternalAddressSpec', pb.ExternalAddressSpec, {
    tenant: text,
    network: text,
    name: text,
    pool: text,
    address: text,
    use: externalUse,
  }),
  natRule: message<C.NatRuleSpec>('NatRuleSpec', pb.NatRuleSpec, { tenant: text, network: text, rule: natRuleCodec }),
  route: message<C.RouteSpec>('RouteSpec', pb.RouteSpec, { tenant: text, network: text, route: routeCodec }),
});

const resourceRef: Message<C.ResourceRef> = message('ResourceRef', pb.ResourceRef, { kind: text, tenant: text, network: text, name: text });
const fieldChange: Message<C.FieldChange> = message('FieldChange', pb.FieldChange, { path: text, before: text, after: text });
const resourceChange: Message<C.ResourceChange> = message('ResourceChange', pb.ResourceChange, {
  action: enumeration<C.ChangeAction>({ unchanged: 1, created: 2, updated: 3, deleted: 4 }),
  resource: text,
  revision: u64,
  fields: list(fieldChange),
});

const listed: Message<C.ListedRecord> = message('ListedRecord', pb.ListedRecord, {
  bucket: text,
  key: text,
  revision: u64,
  timeUnixMs: u64,
  authorName: text,
  record: requiredOneof<C.ListedValue>({
    tenant: tenantCodec,
    network: networkCodec,
    port: portCodec,
    binding: bindingCodec,
    host: hostCodec,
    principal: principalCodec,
    gateway: gatewayCodec,
    assignment: assignmentCodec,
  }),
});

const portStatus: Message<C.PortStatus> = message('PortStatus', pb.PortStatus, {
  portId: text,
  routingDomainId: text,
  device: text,
  state: text,
  generation: u64,
});
const condition: Message<C.Condition> = message('Condition', pb.Condition, {
  code: text,
  severity: text,
  message: text,
  sinceMs: u64,
  count: u64,
});
const dropCounter: Message<C.DropCounter> = message('DropCounter', pb.DropCounter, {
  device: text,
  portId: text,
  vsid: u32,
  reason: u32,
  packets: u64,
  bytes: u64,
  lastMsAgo: u64,
  sample: bytes,
});
const mapping: Message<C.Mapping> = message('Mapping', pb.Mapping, {
  networkId: u32,
  customerAddress: text,
  mac: text,
  vsid: u32,
  kind: text,
  providerAddress: text,
  device: text,
  generation: u64,
});

const empty = <T extends object>(name: string, generated: Parameters<typeof message>[1]): Message<T> =>
  message<T>(name, generated, {} as never);

export const requestCodec: Message<C.Request> = message('Request', pb.Request, {
  requestId: text,
  timeUnixMs: u64,
  target: text,
  command: requiredOneof<C.Command>({
    apply: message<C.ApplyRequest>('ApplyRequest', pb.ApplyRequest, {
      resources: list(resourceCodec),
      dryRun: bool,
      force: boolIfAny,
    }),
    delete: message<C.DeleteRequest>('DeleteRequest', pb.DeleteRequest, { refs: list(resourceRef), dryRun: bool }),
    list: message<C.ListRequest>('ListRequest', pb.ListRequest, {
      kinds: list(text),
      tenant: text,
      network: text,
      name: text,
      after: textIfAny,
    }),
    bindPort: message<C.BindPortRequest>('BindPortRequest', pb.BindPortRequest, {
      routingDomainId: text,
      portId: text,
      device: text,
      deviceKind,
      expectedGeneration: u64,
      move: bool,
    }),
    gatewayStep: message<C.GatewayStepRequest>('GatewayStepRequest', pb.GatewayStepRequest, {
      gatewayId: text,
      assignmentRevision: u64,
      step: requiredOneof<C.GatewayStep>({
        votersSettled: message<{ readonly configId: number; readonly certificate: OwnershipCertificate }>(
          'VotersSettled',
          pb.GatewayStepRequest.VotersSettled,
          { configId: u32, certificate: ownershipCertificateCodec },
        ),
        blocksReleased: message<{ readonly blocks: readonly ReleasedBlocks[] }>('BlocksReleased', pb.GatewayStepRequest.BlocksReleased, {
          blocks: list(
            message<ReleasedBlocks>('Blocks', pb.GatewayStepRequest.Blocks, { segment: u32, address: text, first: u32, count: u32 }),
          ),
        }),
        recover: empty<Record<string, never>>('Recover', pb.GatewayStepRequest.Recover),
        move: message<{ readonly shards: readonly number[]; readonly to: string }>('Move', pb.GatewayStepRequest.Move, {
          shards: list(u32),
          to: text,
        }),
      }),
    }),
    drain: message<C.DrainRequest>('DrainRequest', pb.DrainRequest, { gateway: text, host: text, drain: bool }),
    unbindPort: message<C.UnbindPortRequest>('UnbindPortRequest', pb.UnbindPortRequest, { routingDomainId: text, portId: text }),
    status: empty<C.StatusRequest>('StatusRequest', pb.StatusRequest),
    drops: empty<C.DropsRequest>('DropsRequest', pb.DropsRequest),
    mappings: message<C.MappingsRequest>('MappingsRequest', pb.MappingsRequest, { routingDomainId: text }),
    preparePort: message<C.PreparePortRequest>('PreparePortRequest', pb.PreparePortRequest, {
      routingDomainId: text,
      portId: text,
      device: text,
      deviceKind,
    }),
    consistency: empty<C.ConsistencyRequest>('ConsistencyRequest', pb.ConsistencyRequest),
    ...gatewayRequests,
  }),
});

export const responseCodec: Message<C.Response> = message('Response', pb.Response, {
  requestId: text,
  problems: list(problemCodec),
  result: oneof<C.Result>({
    apply: message<C.ApplyResult>('ApplyResult', pb.ApplyResult, { changes: list(resourceChange) }),
    list: message<C.ListResult>('ListResult', pb.ListResult, { records: list(listed), next: textIfAny }),
    gatewayStep: message<C.GatewayStepResult>('GatewayStepResult', pb.GatewayStepResult, { revision: u64 }),
    bindPort: message<C.BindPortResult>('BindPortResult', pb.BindPortResult, { binding: bindingCodec, revision: u64, mtuBytes: u32 }),
    status: message<C.StatusResult>('StatusResult', pb.StatusResult, {
      hostId: text,
      providerAddress: text,
      engine: text,
      version: text,
      natsState: text,
      natsStateSinceMs: u64,
      networks: u32,
      ports: u32,
      mappings: u32,
      conditions: list(condition),
      uptimeMs: u64,
      portStatus: list(portStatus),
    }),
    drops: message<C.DropsResult>('DropsResult', pb.DropsResult, { hostId: text, counters: list(dropCounter) }),
    mappings: message<C.MappingsResult>('MappingsResult', pb.MappingsResult, { hostId: text, mappings: list(mapping) }),
    consistency: message<C.ConsistencyResult>('ConsistencyResult', pb.ConsistencyResult, {
      hostId: text,
      consistent: bool,
      rows: u32,
      differences: list(text),
    }),
    ...gatewayResults,
  }),
});
