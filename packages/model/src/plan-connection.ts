import { isHandedOut, poolAddresses } from './address-ranges.ts';
import { chooseShard, shardsWithPool, type WantedAddress } from './assignment.ts';
import type { ConnectionSpec, ExternalAddressSpec, FieldChange, NatRuleSpec, Resource } from './commands.ts';
import { diffFields } from './diff.ts';
import type { ExternalAddress, GatewayConnection, GatewayPool, GatewaySegment, NatRule, NetworkGateway } from './gateway-records.ts';
import { DEFAULT_GATEWAY_SUBNET, GATEWAY_SUBNET_NAME, gatewayAddressOf } from './gateway-subnet.ts';
import { configKey } from './keys.ts';
import type { GatewayDraft, GatewayDrafts } from './plan-gateway.ts';
import type { ResourceProblems } from './problems.ts';
import type { VirtualNetwork } from './records.ts';
import { checkName, checkSubnetPrefixes, lowestUsable } from './rules.ts';
import { isFamily4, isOpenTo, MAX_ASSIGNED_ADDRESSES, mappedFamilies } from './rules-gateway.ts';
import {
  checkConnectionFields,
  MAX_CONNECTIONS,
  MAX_EXTERNAL_ADDRESSES,
  MAX_NAT_RULES,
  quotaOf,
  routesOf,
} from './rules-network-gateway.ts';
import { connectionSpecView, externalAddressSpecView, natRuleSpecView } from './specs-gateway.ts';
import { type GatewayWorld, networkPath, type PlannedWrite, type Stored } from './world.ts';

// What networks have of gateways, resource by resource: connections first, then external addresses, then NAT rules. What must hold of the
// whole is judged at the end, by `checkNetworkGateway`.

/** A network while it is being put together, as far as it is needed here. */
export interface NetworkDraft {
  readonly path: string;
  readonly before: Stored<VirtualNetwork> | undefined;
  network: VirtualNetwork;
}

export interface PlannedItem {
  readonly exists: boolean;
  readonly fields: () => FieldChange[];
}

export class ConnectionPlanner {
  readonly #world: GatewayWorld;
  readonly #gateways: GatewayDrafts;
  readonly #loads: Map<number, number>;
  /** Networks of others that follow a peering to its shard, by path. */
  readonly moved: Map<string, PlannedWrite<VirtualNetwork>> = new Map();
  /** Whom each network of the request wants to peer with: paths by path. */
  readonly #wishes = new Map<string, Set<string>>();
  readonly #drafts: ReadonlyMap<string, NetworkDraft>;

  constructor(
    world: GatewayWorld,
    gateways: GatewayDrafts,
    drafts: ReadonlyMap<string, NetworkDraft>,
    resources: readonly (Resource | undefined)[],
  ) {
    this.#world = world;
    this.#gateways = gateways;
    this.#drafts = drafts;
    this.#loads = new Map(world.shardLoads);
    for (const resource of resources) {
      if (resource?.kind !== 'connection' || resource.value.mode !== 'peering') continue;
      const { tenant, network, peerTenant, peerNetwork } = resource.value;
      const path = networkPath(tenant, network);
      this.#wishes.set(path, (this.#wishes.get(path) ?? new Set()).add(networkPath(peerTenant, peerNetwork)));
    }
  }

  connection(spec: ConnectionSpec, draft: NetworkDraft, problems: ResourceProblems): PlannedItem | undefined {
    const found = problems.count;
    checkName(problems, 'metadata.name', spec.name);
    const gateway = this.#gateways.get(spec.gateway);
    if (gateway === undefined) {
      problems.add(
        'WEFT_ERR_RULE_GATEWAY_UNKNOWN',
        'spec.gateway',
        spec.gateway,
        'must be a gateway that exists, or is in the same manifests',
        'ask an admin',
      );
      return undefined;
    }
    const of = draft.network.gateway;
    if (of !== undefined && of.gatewayId !== gateway.gateway.id) {
      const rule = `must be ${of.gateway}, which the network's other connections go through`;
      problems.add('WEFT_ERR_RULE_GATEWAY_OTHER', 'spec.gateway', spec.gateway, rule, 'name that one, or delete the others first');
      return undefined;
    }
    const before = of?.connections.find(({ name }) => name === spec.name);
    if (before !== undefined && before.mode !== spec.mode)
      problems.add(
        'WEFT_ERR_RULE_CONNECTION',
        'spec.mode',
        spec.mode,
        `must stay ${before.mode}`,
        'delete the connection and make it again',
      );
    checkConnectionFields(problems, spec);
    this.#checkOthers(spec, of, draft.path, problems);
    const pool = spec.mode === 'nat' ? poolFor(gateway, spec.pool, spec.tenant, 'spec.pool', problems) : undefined;
    const segment = spec.mode === 'forward' ? this.#segmentFor(gateway, spec, draft.network.id, problems) : undefined;
    if (pool !== undefined) this.#checkIpv6(spec, pool, draft, problems);
    if (problems.count > found) return undefined;
    const standing = of ?? this.#firstConnection(spec, gateway, pool, draft, problems);
    if (of !== undefined && pool !== undefined && pool.shared > 0) {
      const serving = shardsWithPool(gateway.assignment, pool.id, mappedFamilies(pool, spec.ipv6));
      if (!serving.has(of.shard))
        problems.add(
          'WEFT_ERR_RULE_POOL',
          'spec.pool',
          spec.pool,
          "must have shared addresses for the network's shard",
          'ask an admin for more shared addresses, or delete all connections of the network and make them again together',
        );
    }
    const subnets = this.#gatewaySubnet(spec, draft, standing?.addresses.length ? standing : undefined, problems);
    if (standing === undefined || subnets === undefined || problems.count > found) return undefined;
    const ipv6 = spec.mode === 'forward' ? 'forward' : spec.mode === 'nat' ? spec.ipv6 : 'none';
    const after: GatewayConnection = {
      name: spec.name,
      mode: spec.mode,
      routes: routesOf(spec),
      pool: pool?.name ?? '',
      poolId: pool?.id ?? 0,
      segment: pool?.segment ?? segment?.name ?? '',
      segmentId: pool?.segmentId ?? segment?.id ?? 0,
      ipv6,
      ipv6Inside: spec.ipv6Inside,
      ipv6Prefix: spec.ipv6Prefix,
      peerTenant: spec.peerTenant,
      peerNetwork: spec.peerNetwork,
      offers: [...spec.offers],
      accepts: [...spec.accepts],
      quota: quotaOf(spec),
    };
    const addresses = subnets.find(({ role }) => role === 'gateway')!.prefixes.map(gatewayAddressOf);
    const next: NetworkGateway = { ...standing, addresses, connections: replaced(standing.connections, before, after) };
    if (next.connections.length > MAX_CONNECTIONS)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'metadata.name',
        spec.name,
        `must be one of at most ${MAX_CONNECTIONS} connections`,
        'delete some',
      );
    const shard = spec.mode === 'peering' ? this.#peerShard(spec, next, draft, problems) : next.shard;
    draft.network = { ...draft.network, subnets, gateway: { ...next, shard } };
    return {
      exists: before !== undefined,
      fields: () =>
        diffFields(
          'spec.',
          before && draft.before?.value.gateway && connectionSpecView(draft.before.value, before),
          connectionSpecView(draft.network, after),
        ),
    };
  }

  externalAddress(spec: ExternalAddressSpec, draft: NetworkDraft, problems: ResourceProblems): PlannedItem | undefined {
    const found = problems.count;
    checkName(problems, 'metadata.name', spec.name);
    const of = draft.network.gateway;
    const gateway = of && this.#gateways.get(of.gateway);
    if (of === undefined || gateway === undefined) {
      missing(problems, 'metadata.network', spec.network, 'must have a connection to a gateway');
      return undefined;
    }
    const pool = poolFor(gateway, spec.pool, spec.tenant, 'spec.pool', problems);
    const before = of.externalAddresses.find(({ name }) => name === spec.name);
    if (before !== undefined) {
      for (const [field, is, asked] of [
        ['pool', before.pool, spec.pool],
        ['use', before.use, spec.use],
        ['address', before.address, spec.address || before.address],
      ] as const)
        if (is !== asked)
          problems.add(
            'WEFT_ERR_RULE_IMMUTABLE',
            `spec.${field}`,
            asked,
            `must stay ${is}`,
            'delete the external address and make it again',
          );
    }
    if (pool === undefined || problems.count > found) return undefined;
    const address = before?.address ?? this.#address(spec, pool, gateway, draft, problems);
    if (address === undefined || problems.count > found) return undefined;
    const { name, use } = spec;
    const base = { name, pool: pool.name, poolId: pool.id, segmentId: pool.segmentId, address, use };
    const after: ExternalAddress = before ?? { ...base, number: this.#gateways.number() };
    if (before === undefined) this.#gateways.change(gateway, [wantedAddress(after, of.shard)], []);
    if (gateway.assignment.addresses.length > MAX_ASSIGNED_ADDRESSES)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'spec.pool',
        spec.pool,
        `must be of a gateway with at most ${MAX_ASSIGNED_ADDRESSES} external addresses in use`,
        'use another gateway',
      );
    const externalAddresses = replaced(of.externalAddresses, before, after);
    if (externalAddresses.length > MAX_EXTERNAL_ADDRESSES)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'metadata.name',
        name,
        `must be one of at most ${MAX_EXTERNAL_ADDRESSES} external addresses`,
        'delete some',
      );
    draft.network = { ...draft.network, gateway: { ...of, externalAddresses } };
    return {
      exists: before !== undefined,
      fields: () => diffFields('spec.', before && externalAddressSpecView(before), externalAddressSpecView(after)),
    };
  }

  natRule({ tenant, network, rule }: NatRuleSpec, draft: NetworkDraft, problems: ResourceProblems): PlannedItem | undefined {
    const found = problems.count;
    checkName(problems, 'metadata.name', rule.name);
    const of = draft.network.gateway;
    const gateway = of && this.#gateways.get(of.gateway);
    if (of === undefined || gateway === undefined || !of.connections.some(({ mode }) => mode === 'nat')) {
      missing(problems, 'metadata.network', network, 'must have a connection of mode nat');
      return undefined;
    }
    const path = `spec.${rule.kind}`;
    const pool = rule.pool === '' ? undefined : poolFor(gateway, rule.pool, tenant, `${path}.pool`, problems);
    const nat = of.connections.find(({ mode }) => mode === 'nat')!;
    if (pool !== undefined && pool.segmentId !== nat.segmentId)
      problems.add(
        'WEFT_ERR_RULE_NAT_RULE',
        `${path}.pool`,
        rule.pool,
        `must be on segment ${nat.segment}, as the network's connection`,
        'take another',
      );
    if (pool !== undefined && !shardsWithPool(gateway.assignment, pool.id, [isFamily4(rule.source) ? 4 : 6]).has(of.shard))
      problems.add(
        'WEFT_ERR_RULE_NAT_RULE',
        `${path}.pool`,
        rule.pool,
        "must have a shared address for the network's shard",
        'ask an admin for more shared addresses',
      );
    if (rule.externalAddress !== '' && !of.externalAddresses.some(({ name }) => name === rule.externalAddress))
      problems.add(
        'WEFT_ERR_RULE_EXTERNAL_UNKNOWN',
        `${path}.externalAddress`,
        rule.externalAddress,
        `must be an external address of network ${draft.path} that exists, or is in the same manifests`,
        'add the ExternalAddress',
      );
    if (problems.count > found) return undefined;
    const before = of.natRules.find(({ name }) => name === rule.name);
    const after: NatRule = { ...rule, poolId: pool?.id ?? 0 };
    const natRules = replaced(of.natRules, before, after);
    if (natRules.length > MAX_NAT_RULES)
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'metadata.name',
        rule.name,
        `must be one of at most ${MAX_NAT_RULES} NAT rules`,
        'use ranges of ports',
      );
    draft.network = { ...draft.network, gateway: { ...of, natRules } };
    return { exists: before !== undefined, fields: () => diffFields('spec.', before && natRuleSpecView(before), natRuleSpecView(after)) };
  }

  #checkOthers(spec: ConnectionSpec, of: NetworkGateway | undefined, path: string, problems: ResourceProblems): void {
    const others = (of?.connections ?? []).filter(({ name }) => name !== spec.name);
    if (spec.mode !== 'peering') {
      const other = others.find(({ mode }) => mode !== 'peering');
      if (other !== undefined)
        problems.add(
          'WEFT_ERR_RULE_CONNECTION_SECOND',
          'spec.mode',
          spec.mode,
          `must be the only connection of mode nat or forward: ${other.name} is one, too`,
          'delete it first',
        );
      return;
    }
    if (networkPath(spec.peerTenant, spec.peerNetwork) === path)
      problems.add('WEFT_ERR_RULE_PEERING', 'spec.peer', path, 'must be another network', 'correct it');
    const other = others.find(
      (one) => one.peerTenant === spec.peerTenant && one.peerNetwork === spec.peerNetwork && one.mode === 'peering',
    );
    if (other !== undefined)
      problems.add(
        'WEFT_ERR_RULE_CONNECTION_SECOND',
        'spec.peer',
        `${spec.peerTenant}/${spec.peerNetwork}`,
        `must be peered with once: ${other.name} is one, too`,
        'change that one',
      );
  }

  #segmentFor(gateway: GatewayDraft, spec: ConnectionSpec, rdid: string, problems: ResourceProblems): GatewaySegment | undefined {
    const segment = gateway.gateway.segments.find(({ name }) => name === spec.segment);
    if (segment === undefined || !isOpenTo(segment.access, spec.tenant)) {
      const rule = `must be a segment of gateway ${spec.gateway} that is open to tenant ${spec.tenant}`;
      problems.add('WEFT_ERR_RULE_SEGMENT', 'spec.segment', spec.segment, rule, 'ask an admin');
      return undefined;
    }
    const holder = this.#world.held.get(configKey.forwardClaim(segment.id));
    const drafted = [...this.#drafts.values()].find(
      ({ network }) =>
        network.id !== rdid && network.gateway?.connections.some((one) => one.mode === 'forward' && one.segmentId === segment.id),
    );
    if ((holder !== undefined && holder !== rdid) || drafted !== undefined)
      problems.add(
        'WEFT_ERR_RULE_SEGMENT',
        'spec.segment',
        spec.segment,
        'must not have another network forwarded to it',
        'take another segment',
      );
    return segment;
  }

  #checkIpv6(spec: ConnectionSpec, pool: GatewayPool, draft: NetworkDraft, problems: ResourceProblems): void {
    if (spec.ipv6 === 'nat66' && !pool.addresses.some((text) => !isFamily4(text)))
      problems.add(
        'WEFT_ERR_RULE_POOL',
        'spec.pool',
        spec.pool,
        'must have IPv6 addresses for nat66',
        'take another pool, or another ipv6',
      );
    if (spec.ipv6Prefix === '') return;
    const refuse = (rule: string): void => {
      problems.add('WEFT_ERR_RULE_IPV6_PREFIX', 'spec.ipv6Prefix', spec.ipv6Prefix, rule, 'ask an admin for a prefix of the pool');
    };
    if (!pool.prefixes.includes(spec.ipv6Prefix)) {
      refuse(`must be one of the prefixes that pool ${pool.name} hands out`);
      return;
    }
    const rdid = draft.network.id;
    const holder = this.#world.held.get(configKey.externalPrefixClaim(pool.segmentId, spec.ipv6Prefix));
    const drafted = [...this.#drafts.values()].find(
      ({ network }) =>
        network.id !== rdid &&
        network.gateway?.connections.some((one) => one.segmentId === pool.segmentId && one.ipv6Prefix === spec.ipv6Prefix),
    );
    if ((holder !== undefined && holder !== rdid) || drafted !== undefined) refuse('must not belong to another network');
  }

  /** What a network gets with its first connection: a shard, for good, and the number of its own pool. */
  #firstConnection(
    spec: ConnectionSpec,
    draft: GatewayDraft,
    pool: GatewayPool | undefined,
    of: NetworkDraft,
    problems: ResourceProblems,
  ): NetworkGateway | undefined {
    const { gateway, assignment } = draft;
    const all = new Set(assignment.shards.map(({ id }) => id));
    const candidates = pool === undefined || pool.shared === 0 ? all : shardsWithPool(assignment, pool.id, mappedFamilies(pool, spec.ipv6));
    const wishes = [...(this.#wishes.get(of.path) ?? [])];
    const peers = wishes.flatMap((path) => {
      const peer = this.#mutual(of.path, path)?.gateway;
      return peer !== undefined && peer.gatewayId === gateway.id && candidates.has(peer.shard) ? [peer.shard] : [];
    });
    const shard = peers[0] ?? chooseShard(assignment, this.#loads, candidates);
    if (shard === undefined) {
      const rule = 'must have shared addresses for all that the connection maps';
      problems.add('WEFT_ERR_RULE_POOL', 'spec.pool', spec.pool, rule, 'ask an admin for more shared addresses');
      return undefined;
    }
    this.#loads.set(shard, (this.#loads.get(shard) ?? 0) + 1);
    const empty = { addresses: [], connections: [], externalAddresses: [], natRules: [] };
    return { gatewayId: gateway.id, gateway: gateway.name, shard, ownPool: this.#gateways.number(), ...empty };
  }

  /** The network at `path`, if it and the one at `own` name each other. */
  #mutual(own: string, path: string): VirtualNetwork | undefined {
    const draft = this.#drafts.get(path);
    const network = draft?.network ?? this.moved.get(path)?.after ?? this.#world.peers.get(path)?.value;
    if (network === undefined) return undefined;
    const names = network.gateway?.connections.some(
      (one) => one.mode === 'peering' && networkPath(one.peerTenant, one.peerNetwork) === own,
    );
    return names || this.#wishes.get(path)?.has(own) ? network : undefined;
  }

  /** The shard for a network that peers: that of the other side, if both name each other. */
  #peerShard(spec: ConnectionSpec, of: NetworkGateway, draft: NetworkDraft, problems: ResourceProblems): number {
    const path = networkPath(spec.peerTenant, spec.peerNetwork);
    const peer = this.#mutual(draft.path, path)?.gateway;
    if (peer === undefined || (peer.gatewayId === of.gatewayId && peer.shard === of.shard)) return of.shard;
    if (peer.gatewayId === of.gatewayId && !this.#isAnchored(draft.path, of, path)) return peer.shard;
    // The other side has named this network: it goes where the peering takes it, if nothing else holds it.
    if (peer.gatewayId === of.gatewayId && !this.#isAnchored(path, peer, draft.path)) {
      this.#moveTo(path, of.shard);
      return of.shard;
    }
    problems.add(
      'WEFT_ERR_RULE_PEERING_SHARD',
      'spec.peer',
      path,
      `must be served by gateway ${of.gateway} and by the same shard as ${draft.path}`,
      'delete the connections of one of the two networks, and make them again together with the peering',
    );
    return of.shard;
  }

  /** Whether anything but its peering with the network at `but` ties a network to its shard. */
  #isAnchored(path: string, of: NetworkGateway, but: string): boolean {
    if (of.externalAddresses.length > 0) return true;
    return of.connections.some((one) => {
      const other = networkPath(one.peerTenant, one.peerNetwork);
      return one.mode !== 'peering' || (other !== but && this.#mutual(path, other)?.gateway !== undefined);
    });
  }

  #moveTo(path: string, shard: number): void {
    const draft = this.#drafts.get(path);
    if (draft?.network.gateway !== undefined) {
      draft.network = { ...draft.network, gateway: { ...draft.network.gateway, shard } };
      return;
    }
    const before = this.#world.peers.get(path);
    if (before?.value.gateway === undefined) return;
    this.moved.set(path, { before, after: { ...before.value, gateway: { ...before.value.gateway, shard } } });
  }

  #gatewaySubnet(
    spec: ConnectionSpec,
    draft: NetworkDraft,
    standing: NetworkGateway | undefined,
    problems: ResourceProblems,
  ): VirtualNetwork['subnets'] | undefined {
    const { subnets } = draft.network;
    const known = subnets.find(({ role }) => role === 'gateway');
    if (known !== undefined) {
      const asked = spec.gatewaySubnet;
      if (standing === undefined || asked.length === 0 || JSON.stringify(asked) === JSON.stringify(known.prefixes)) return subnets;
      const rule = `must stay ${known.prefixes.join(', ')}`;
      problems.add(
        'WEFT_ERR_RULE_IMMUTABLE',
        'spec.gatewaySubnet',
        asked,
        rule,
        'delete all connections of the network and make them again',
      );
      return undefined;
    }
    const texts = spec.gatewaySubnet.length > 0 ? spec.gatewaySubnet : DEFAULT_GATEWAY_SUBNET;
    // The rules of subnets, told of the connection's own field.
    const prefixes = checkSubnetPrefixes(
      {
        ...problems,
        count: 0,
        add: (code, path, value, rule, hint) => problems.add(code, path.replace('spec.prefixes', 'spec.gatewaySubnet'), value, rule, hint),
      },
      texts,
    );
    if (prefixes === undefined) return undefined;
    const gateway = {
      name: GATEWAY_SUBNET_NAME,
      vsid: 0,
      prefixes: [...texts],
      gateways: prefixes.map(lowestUsable),
      role: 'gateway' as const,
    };
    return [...subnets, gateway];
  }

  #address(
    spec: ExternalAddressSpec,
    pool: GatewayPool,
    { gateway }: GatewayDraft,
    draft: NetworkDraft,
    problems: ResourceProblems,
  ): string | undefined {
    const segment = gateway.segments.find(({ id }) => id === pool.segmentId);
    const drafted = new Set(
      [...this.#drafts.values()].flatMap(({ network }) =>
        (network.gateway?.externalAddresses ?? []).filter((one) => one.segmentId === pool.segmentId).map(({ address }) => address),
      ),
    );
    if (spec.address === '') {
      for (const family of [4, 6] as const) {
        for (const address of poolAddresses(pool, segment, family)) {
          if (drafted.has(address) || this.#world.claimed.has(configKey.externalClaim(pool.segmentId, address))) continue;
          if (isHandedOut(pool, segment, address)) return address;
        }
        // Of an IPv6 prefix the end is never seen.
      }
      problems.add('WEFT_ERR_RULE_POOL_EMPTY', 'spec.pool', spec.pool, 'must have a free address to hand out', 'ask an admin');
      return undefined;
    }
    if (!isHandedOut(pool, segment, spec.address)) {
      const rule = `must be an address that pool ${pool.name} hands out (${pool.addresses.join(', ')}, without the lowest ${pool.shared}, which are shared)`;
      problems.add('WEFT_ERR_RULE_EXTERNAL_OUTSIDE', 'spec.address', spec.address, rule, 'take one of them, or leave it out');
      return undefined;
    }
    const holder = this.#world.held.get(configKey.externalClaim(pool.segmentId, spec.address));
    if (drafted.has(spec.address) || (holder !== undefined && holder !== draft.network.id)) {
      problems.add(
        'WEFT_ERR_RULE_EXTERNAL_USED',
        'spec.address',
        spec.address,
        'must not belong to another',
        'take another, or leave it out',
      );
      return undefined;
    }
    return spec.address;
  }
}

/** What the assignment needs of a network's own address. */
export function wantedAddress({ segmentId, address, use }: ExternalAddress, shard: number): WantedAddress {
  return { segment: segmentId, address, shard, pool: 0, sliced: use !== 'static' };
}

/** Whether the pool is there is said as little as whom else it is open to. */
function poolFor(
  { gateway }: GatewayDraft,
  name: string,
  tenant: string,
  path: string,
  problems: ResourceProblems,
): GatewayPool | undefined {
  const pool = gateway.pools.find((one) => one.name === name);
  if (pool !== undefined && isOpenTo(pool.access, tenant)) return pool;
  problems.add(
    'WEFT_ERR_RULE_POOL',
    path,
    name,
    `must be a pool of gateway ${gateway.name} that is open to tenant ${tenant}`,
    'ask an admin',
  );
  return undefined;
}

function missing(problems: ResourceProblems, path: string, value: string, rule: string): void {
  problems.add('WEFT_ERR_RULE_CONNECTION_MISSING', path, value, rule, 'add a GatewayConnection');
}

function replaced<T>(list: readonly T[], before: T | undefined, after: T): T[] {
  return before === undefined ? [...list, after] : list.map((one) => (one === before ? after : one));
}
