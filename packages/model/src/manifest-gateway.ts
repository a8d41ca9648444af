import { isMap, isScalar, isSeq, type Node } from 'yaml';
import type { MemberSpec, PoolSpec, Resource } from './commands.ts';
import type { WeftErrorCode } from './errors.ts';
import type { GatewaySegment, NatProtocol, NatRule, SegmentInterface, TenantAccess } from './gateway-records.ts';
import type { CustomerRoute } from './records.ts';

// The manifests of gateways (form only, like manifest.ts):
//
//   Gateway            members: [{host, externalInterface | interfaces: {segment: device}, drain?}];  witnesses?: [host, …];  shards?: 1..256
//                      segments: [{name, onLink?: [prefix, …], nextHops?: [address, …], mtu?, tenants?: any | none | [tenant, …]}]
//                      pools?: [{name, segment?, addresses?: [address | prefix | first-last, …], prefixes?: [prefix, …], shared?, tenants?}]
//   GatewayConnection  gateway: name;  mode: nat | forward | peering;  gatewaySubnet?: [prefix, …];  routes?: [prefix, …]
//                      nat: pool, ipv6?: none | forward | nptv6 | nat66, ipv6Inside?, ipv6Prefix?, quota?: {blocks?, flows?, newFlowsPerSecond?}
//                      forward: segment;      peering: peer: tenant/network, offers: [prefix, …], accepts: [prefix, …]
//   ExternalAddress    pool: name;  use: snat | static | reserved;  address?: address
//   NatRule            snat: {source, externalAddress | pool}  or  static: {externalAddress, address}
//                      or  forward: {externalAddress, protocol: tcp | udp, ports: N | A-B, address, port?}
//   CustomerRoute      prefix, and one of nextHop, blackhole: true, gateway: true

/** What reads nodes and notes what is wrong with them. */
export interface NodeReader {
  map(node: Node | undefined, path: string, known: readonly string[], required: readonly string[]): ReadonlyMap<string, Node> | undefined;
  list<T>(node: Node | undefined, path: string, item: (node: Node, path: string) => T): T[];
  /** Empty when it is not there. */
  text(node: Node | undefined, path: string): string;
  /** An integer from 0 to `max`; undefined when it is not there. */
  integer(node: Node | undefined, path: string, max: number): number | undefined;
  flag(node: Node | undefined, path: string): boolean;
  refuse(code: WeftErrorCode, node: Node | undefined, path: string, value: unknown, rule: string, hint: string): void;
}

/** Metadata and spec of each kind; `true`: must be there. */
export const GATEWAY_KINDS: Readonly<
  Record<string, { readonly metadata: readonly string[]; readonly spec: Readonly<Record<string, boolean>> }>
> = {
  Gateway: { metadata: ['name'], spec: { members: true, witnesses: false, segments: true, pools: false, shards: false } },
  GatewayConnection: {
    metadata: ['name', 'tenant', 'network'],
    spec: {
      gateway: true,
      mode: true,
      gatewaySubnet: false,
      routes: false,
      pool: false,
      segment: false,
      ipv6: false,
      ipv6Inside: false,
      ipv6Prefix: false,
      peer: false,
      offers: false,
      accepts: false,
      quota: false,
    },
  },
  ExternalAddress: { metadata: ['name', 'tenant', 'network'], spec: { pool: true, use: true, address: false } },
  NatRule: { metadata: ['name', 'tenant', 'network'], spec: { snat: false, static: false, forward: false } },
  CustomerRoute: {
    metadata: ['name', 'tenant', 'network'],
    spec: { prefix: true, nextHop: false, blackhole: false, gateway: false },
  },
};

const MAX_U32 = 0xffff_ffff;

/** The resource of a document of one of `GATEWAY_KINDS`. */
export function gatewayResource(
  read: NodeReader,
  kind: string,
  names: { readonly name: string; readonly tenant: string; readonly network: string },
  spec: ReadonlyMap<string, Node>,
): Resource {
  const { name, tenant, network } = names;
  const text = (key: string): string => read.text(spec.get(key), `spec.${key}`);
  const texts = (key: string): string[] => read.list(spec.get(key), `spec.${key}`, (node, path) => read.text(node, path));
  switch (kind) {
    case 'Gateway': {
      const members = read.list(spec.get('members'), 'spec.members', (node, path) => memberOf(read, node, path));
      const segments = read.list(spec.get('segments'), 'spec.segments', (node, path) => segmentOf(read, node, path));
      const pools = read.list(spec.get('pools'), 'spec.pools', (node, path) => poolOf(read, node, path));
      const shards = read.integer(spec.get('shards'), 'spec.shards', MAX_U32) ?? 0;
      return { kind: 'gateway', value: { name, members, witnesses: texts('witnesses'), segments, pools, shards } };
    }
    case 'GatewayConnection': {
      const [peerTenant, peerNetwork] = peerOf(read, spec.get('peer'));
      const quota = read.map(spec.get('quota'), 'spec.quota', ['blocks', 'flows', 'newFlowsPerSecond'], []);
      const value = {
        tenant,
        network,
        name,
        gateway: text('gateway'),
        mode: choiceOf(read, spec.get('mode'), 'spec.mode', ['nat', 'forward', 'peering'] as const),
        gatewaySubnet: texts('gatewaySubnet'),
        routes: spec.has('routes') ? texts('routes') : undefined,
        pool: text('pool'),
        segment: text('segment'),
        ipv6: choiceOf(read, spec.get('ipv6'), 'spec.ipv6', ['none', 'forward', 'nptv6', 'nat66'] as const),
        ipv6Inside: text('ipv6Inside'),
        ipv6Prefix: text('ipv6Prefix'),
        peerTenant,
        peerNetwork,
        offers: texts('offers'),
        accepts: texts('accepts'),
        quota: {
          blocks: read.integer(quota?.get('blocks'), 'spec.quota.blocks', MAX_U32) ?? 0,
          flows: read.integer(quota?.get('flows'), 'spec.quota.flows', MAX_U32) ?? 0,
          newFlowsPerSecond: read.integer(quota?.get('newFlowsPerSecond'), 'spec.quota.newFlowsPerSecond', MAX_U32) ?? 0,
        },
      };
      return { kind: 'connection', value };
    }
    case 'ExternalAddress': {
      const use = choiceOf(read, spec.get('use'), 'spec.use', ['snat', 'static', 'reserved'] as const);
      return { kind: 'externalAddress', value: { tenant, network, name, pool: text('pool'), address: text('address'), use } };
    }
    case 'NatRule':
      return { kind: 'natRule', value: { tenant, network, rule: natRuleOf(read, name, spec) } };
    default:
      return { kind: 'route', value: { tenant, network, route: { ...routeOf(read, spec, 'spec'), name } } };
  }
}

/** Prefix and where it leads: exactly one of `nextHop`, `blackhole: true`, `gateway: true`. */
export function routeOf(read: NodeReader, map: ReadonlyMap<string, Node>, path: string): CustomerRoute {
  const prefix = read.text(map.get('prefix'), `${path}.prefix`);
  const nextHop = read.text(map.get('nextHop'), `${path}.nextHop`);
  const blackhole = read.flag(map.get('blackhole'), `${path}.blackhole`);
  const gateway = read.flag(map.get('gateway'), `${path}.gateway`);
  if (Number(nextHop !== '') + Number(blackhole) + Number(gateway) !== 1) {
    const rule = 'must have one of nextHop, blackhole: true and gateway: true';
    read.refuse('WEFT_ERR_MANIFEST_VALUE', map.get('prefix'), path, prefix, rule, 'keep one of them');
  }
  if (blackhole) return { prefix, kind: 'blackhole', nextHop: '' };
  return gateway ? { prefix, kind: 'gateway', nextHop: '' } : { prefix, kind: 'next-hop', nextHop };
}

function memberOf(read: NodeReader, node: Node, path: string): MemberSpec {
  const map = read.map(node, path, ['host', 'externalInterface', 'interfaces', 'drain'], ['host']);
  const only = read.text(map?.get('externalInterface'), `${path}.externalInterface`);
  const named = map?.get('interfaces');
  const interfaces: SegmentInterface[] = only === '' ? [] : [{ segment: '', interface: only }];
  if (named !== undefined && !isMap(named)) {
    read.refuse('WEFT_ERR_MANIFEST_VALUE', named, `${path}.interfaces`, named, 'must be a map from segments to interfaces', 'correct it');
  } else if (named !== undefined && only !== '') {
    const rule = 'must have either externalInterface or interfaces';
    read.refuse('WEFT_ERR_MANIFEST_VALUE', named, path, only, rule, 'keep one of them');
  } else if (isMap(named)) {
    for (const pair of named.items) {
      const segment = isScalar(pair.key) ? String(pair.key.value) : '';
      interfaces.push({ segment, interface: read.text(pair.value as Node, `${path}.interfaces.${segment}`) });
    }
  }
  const drain = map?.get('drain');
  return {
    host: read.text(map?.get('host'), `${path}.host`),
    interfaces,
    drain: drain === undefined ? undefined : read.flag(drain, `${path}.drain`),
  };
}

function segmentOf(read: NodeReader, node: Node, path: string): GatewaySegment {
  const map = read.map(node, path, ['name', 'onLink', 'nextHops', 'mtu', 'tenants'], ['name']);
  const texts = (key: string): string[] => read.list(map?.get(key), `${path}.${key}`, (item, at) => read.text(item, at));
  return {
    name: read.text(map?.get('name'), `${path}.name`),
    id: 0,
    onLink: texts('onLink'),
    nextHops: texts('nextHops'),
    mtu: read.integer(map?.get('mtu'), `${path}.mtu`, MAX_U32) ?? 0,
    // A physical network is open to nobody unless it says to whom.
    access: accessOf(read, map?.get('tenants'), `${path}.tenants`, 'deny'),
  };
}

function poolOf(read: NodeReader, node: Node, path: string): PoolSpec {
  const map = read.map(node, path, ['name', 'segment', 'addresses', 'prefixes', 'shared', 'tenants'], ['name']);
  const texts = (key: string): string[] => read.list(map?.get(key), `${path}.${key}`, (item, at) => read.text(item, at));
  return {
    name: read.text(map?.get('name'), `${path}.name`),
    segment: read.text(map?.get('segment'), `${path}.segment`),
    addresses: texts('addresses'),
    prefixes: texts('prefixes'),
    shared: read.integer(map?.get('shared'), `${path}.shared`, MAX_U32),
    access: accessOf(read, map?.get('tenants'), `${path}.tenants`, 'any'),
  };
}

function accessOf(read: NodeReader, node: Node | undefined, path: string, absent: 'any' | 'deny'): TenantAccess {
  if (node === undefined) return { mode: absent, tenants: [] };
  if (isSeq(node)) return { mode: 'list', tenants: read.list(node, path, (item, at) => read.text(item, at)) };
  const value = isScalar(node) ? node.value : undefined;
  if (value === 'any') return { mode: 'any', tenants: [] };
  if (value !== 'none')
    read.refuse('WEFT_ERR_MANIFEST_VALUE', node, path, value, 'must be any, none, or a list of tenants', 'write [coke, pepsi]');
  return { mode: 'deny', tenants: [] };
}

function peerOf(read: NodeReader, node: Node | undefined): readonly [string, string] {
  const text = read.text(node, 'spec.peer');
  if (text === '') return ['', ''];
  const parts = text.split('/');
  if (parts.length === 2) return [parts[0]!, parts[1]!];
  read.refuse('WEFT_ERR_MANIFEST_VALUE', node, 'spec.peer', text, 'must be tenant/network', 'write the other network as coke/net');
  return ['', ''];
}

function natRuleOf(read: NodeReader, name: string, spec: ReadonlyMap<string, Node>): NatRule {
  const none: NatRule = {
    name,
    kind: 'snat',
    source: '',
    externalAddress: '',
    pool: '',
    poolId: 0,
    customerAddress: '',
    protocol: 'none',
    firstPort: 0,
    lastPort: 0,
    customerPort: 0,
  };
  if (spec.size !== 1) {
    read.refuse(
      'WEFT_ERR_MANIFEST_VALUE',
      [...spec.values()][1],
      'spec',
      [...spec.keys()].join(', '),
      'must have exactly one of snat, static and forward',
      spec.size === 0 ? 'add one' : 'make one NatRule of each',
    );
    return none;
  }
  const [[kind, node]] = [...spec] as [[string, Node]];
  const path = `spec.${kind}`;
  if (kind === 'snat') {
    const map = read.map(node, path, ['source', 'externalAddress', 'pool'], ['source']);
    const externalAddress = read.text(map?.get('externalAddress'), `${path}.externalAddress`);
    const pool = read.text(map?.get('pool'), `${path}.pool`);
    if (map !== undefined && (externalAddress === '') === (pool === ''))
      read.refuse('WEFT_ERR_MANIFEST_VALUE', node, path, '', 'must have either externalAddress or pool', 'keep one of them');
    return { ...none, source: read.text(map?.get('source'), `${path}.source`), externalAddress, pool };
  }
  if (kind === 'static') {
    const map = read.map(node, path, ['externalAddress', 'address'], ['externalAddress', 'address']);
    return {
      ...none,
      kind: 'static',
      externalAddress: read.text(map?.get('externalAddress'), `${path}.externalAddress`),
      customerAddress: read.text(map?.get('address'), `${path}.address`),
    };
  }
  const known = ['externalAddress', 'protocol', 'ports', 'address', 'port'];
  const map = read.map(node, path, known, ['externalAddress', 'protocol', 'ports', 'address']);
  const [firstPort, lastPort] = portsOf(read, map?.get('ports'), `${path}.ports`);
  return {
    ...none,
    kind: 'forward',
    externalAddress: read.text(map?.get('externalAddress'), `${path}.externalAddress`),
    customerAddress: read.text(map?.get('address'), `${path}.address`),
    protocol: choiceOf<NatProtocol>(read, map?.get('protocol'), `${path}.protocol`, ['tcp', 'udp']),
    firstPort,
    lastPort,
    customerPort: read.integer(map?.get('port'), `${path}.port`, MAX_U32) ?? firstPort,
  };
}

/** `80` or `8000-8099`. */
function portsOf(read: NodeReader, node: Node | undefined, path: string): readonly [number, number] {
  if (node === undefined) return [0, 0];
  const value = isScalar(node) ? node.value : undefined;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff) return [value, value];
  const match = typeof value === 'string' ? /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(value) : null;
  if (match !== null) return [Number(match[1]), Number(match[2] ?? match[1])];
  read.refuse('WEFT_ERR_MANIFEST_VALUE', node, path, value, 'must be a port, or ports first-last', 'write 80, or 8000-8099');
  return [0, 0];
}

function choiceOf<T extends string>(read: NodeReader, node: Node | undefined, path: string, choices: readonly T[]): T {
  if (node === undefined) return choices[0]!;
  const value = isScalar(node) ? node.value : undefined;
  const found = choices.find((choice) => choice === value);
  if (found === undefined) read.refuse('WEFT_ERR_MANIFEST_VALUE', node, path, value, `must be one of ${choices.join(', ')}`, 'correct it');
  return found ?? choices[0]!;
}
