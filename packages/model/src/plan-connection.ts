import { shardsWithPool } from './assignment.ts';
import type { ConnectionSpec, Resource } from './commands.ts';
import { diffFields } from './diff.ts';
import type { GatewayConnection, GatewayPool, GatewaySegment, NetworkGateway } from './gateway-records.ts';
import { DEFAULT_GATEWAY_SUBNET, GATEWAY_SUBNET_NAME, gatewayAddressOf } from './gateway-subnet.ts';
import { configKey } from './keys.ts';
import { type NetworkDraft, type NetworkDrafts, type PlannedItem, replaced } from './network-draft.ts';
import { type GatewayDraft, type GatewayDrafts, poolFor } from './plan-gateway.ts';
import { ShardPlanner } from './plan-shard.ts';
import type { ResourceProblems } from './problems.ts';
import type { VirtualNetwork } from './records.ts';
import { checkName, checkSubnetPrefixes, lowestUsable } from './rules.ts';
import { isFamily4, isOpenTo, isOpenToOthers, mappedFamilies } from './rules-gateway.ts';
import { checkConnectionFields, MAX_CONNECTIONS, quotaOf, routesOf } from './rules-network-gateway.ts';
import { connectionSpecView } from './specs-gateway.ts';
import { type GatewayWorld, networkPath, type PlannedWrite } from './world.ts';

/** Connections of networks to gateways. What must hold of the whole is judged at the end, by `checkNetworkGateway`. */
export class ConnectionPlanner {
  readonly #world: GatewayWorld;
  readonly #gateways: GatewayDrafts;
  readonly #drafts: NetworkDrafts;
  readonly #shards: ShardPlanner;

  constructor(world: GatewayWorld, gateways: GatewayDrafts, drafts: NetworkDrafts, resources: readonly (Resource | undefined)[]) {
    this.#world = world;
    this.#gateways = gateways;
    this.#drafts = drafts;
    this.#shards = new ShardPlanner(world, drafts, resources);
  }

  /** Networks of others that follow a peering to its shard, by path. */
  get moved(): ReadonlyMap<string, PlannedWrite<VirtualNetwork>> {
    return this.#shards.moved;
  }

  plan(spec: ConnectionSpec, draft: NetworkDraft, problems: ResourceProblems): PlannedItem | undefined {
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
    checkOthers(spec, of, draft.path, problems);
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
    const subnets = gatewaySubnet(spec, draft, standing?.addresses.length ? standing : undefined, problems);
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
    const shard = spec.mode === 'peering' ? this.#shards.ofPeering(spec, next, draft, problems) : next.shard;
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

  #segmentFor(gateway: GatewayDraft, spec: ConnectionSpec, rdid: string, problems: ResourceProblems): GatewaySegment | undefined {
    const segment = gateway.gateway.segments.find(({ name }) => name === spec.segment);
    if (segment === undefined || !isOpenTo(segment.access, spec.tenant)) {
      const rule = `must be a segment of gateway ${spec.gateway} that is open to tenant ${spec.tenant}`;
      problems.add('WEFT_ERR_RULE_SEGMENT', 'spec.segment', spec.segment, rule, 'ask an admin');
      return undefined;
    }
    // Who is forwarded says what addresses there are on the segment: they might be the pool's.
    const pool = gateway.gateway.pools.find((one) => one.segmentId === segment.id && isOpenToOthers(one.access, spec.tenant));
    if (pool !== undefined)
      problems.add(
        'WEFT_ERR_RULE_SEGMENT',
        'spec.segment',
        spec.segment,
        'must not have a pool that is open to other tenants',
        "ask an admin for a segment of the tenant's own, or to close its pools to others (tenants: none, or the tenant alone)",
      );
    const holder = this.#world.held.get(configKey.forwardClaim(segment.id));
    const drafted = this.#drafts.all.find(
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
    const drafted = this.#drafts.all.find(
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
    const { gateway } = draft;
    const shard = this.#shards.first(spec, draft, pool, of.path, problems);
    if (shard === undefined) return undefined;
    const empty = { addresses: [], connections: [], externalAddresses: [], natRules: [] };
    return { gatewayId: gateway.id, gateway: gateway.name, shard, ownPool: this.#gateways.number(), ...empty };
  }
}

function checkOthers(spec: ConnectionSpec, of: NetworkGateway | undefined, path: string, problems: ResourceProblems): void {
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
  const other = others.find((one) => one.peerTenant === spec.peerTenant && one.peerNetwork === spec.peerNetwork && one.mode === 'peering');
  if (other !== undefined)
    problems.add(
      'WEFT_ERR_RULE_CONNECTION_SECOND',
      'spec.peer',
      `${spec.peerTenant}/${spec.peerNetwork}`,
      `must be peered with once: ${other.name} is one, too`,
      'change that one',
    );
}

/** The subnets of the network, with the one that its gateway has. */
function gatewaySubnet(
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
    problems.add('WEFT_ERR_RULE_IMMUTABLE', 'spec.gatewaySubnet', asked, rule, 'delete all connections of the network and make them again');
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
