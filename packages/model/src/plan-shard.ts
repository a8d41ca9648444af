import { chooseShard, shardsWithPool } from './assignment.ts';
import type { ConnectionSpec, Resource } from './commands.ts';
import type { GatewayPool, NetworkGateway } from './gateway-records.ts';
import type { NetworkDraft, NetworkDrafts } from './network-draft.ts';
import type { GatewayDraft } from './plan-gateway.ts';
import type { ResourceProblems } from './problems.ts';
import type { VirtualNetwork } from './records.ts';
import { mappedFamilies } from './rules-gateway.ts';
import { type GatewayWorld, networkPath, type PlannedWrite } from './world.ts';

/**
 * Which shard a network is on: the least loaded one at first, for good; but networks that name each other as peers share one. The one that
 * nothing else holds follows the other.
 */
export class ShardPlanner {
  readonly #world: GatewayWorld;
  readonly #drafts: NetworkDrafts;
  readonly #loads: Map<number, number>;
  /** Networks of others that follow a peering to its shard, by path. */
  readonly moved: Map<string, PlannedWrite<VirtualNetwork>> = new Map();
  /** Whom each network of the request wants to peer with: paths by path. */
  readonly #wishes = new Map<string, Set<string>>();

  constructor(world: GatewayWorld, drafts: NetworkDrafts, resources: readonly (Resource | undefined)[]) {
    this.#world = world;
    this.#drafts = drafts;
    this.#loads = new Map(world.shardLoads);
    for (const resource of resources) {
      if (resource?.kind !== 'connection' || resource.value.mode !== 'peering') continue;
      const { tenant, network, peerTenant, peerNetwork } = resource.value;
      const path = networkPath(tenant, network);
      this.#wishes.set(path, (this.#wishes.get(path) ?? new Set()).add(networkPath(peerTenant, peerNetwork)));
    }
  }

  /** The shard for a network's first connection. */
  first(
    spec: ConnectionSpec,
    { gateway, assignment }: GatewayDraft,
    pool: GatewayPool | undefined,
    path: string,
    problems: ResourceProblems,
  ): number | undefined {
    const all = new Set(assignment.shards.map(({ id }) => id));
    const candidates = pool === undefined || pool.shared === 0 ? all : shardsWithPool(assignment, pool.id, mappedFamilies(pool, spec.ipv6));
    const wishes = [...(this.#wishes.get(path) ?? [])];
    const peers = wishes.flatMap((wish) => {
      const peer = this.#mutual(path, wish)?.gateway;
      return peer !== undefined && peer.gatewayId === gateway.id && candidates.has(peer.shard) ? [peer.shard] : [];
    });
    const shard = peers[0] ?? chooseShard(assignment, this.#loads, candidates);
    if (shard === undefined) {
      const rule = 'must have shared addresses for all that the connection maps';
      problems.add('WEFT_ERR_RULE_POOL', 'spec.pool', spec.pool, rule, 'ask an admin for more shared addresses');
      return undefined;
    }
    this.#loads.set(shard, (this.#loads.get(shard) ?? 0) + 1);
    return shard;
  }

  /** The shard for a network that peers: that of the other side, if both name each other. */
  ofPeering(spec: ConnectionSpec, of: NetworkGateway, draft: NetworkDraft, problems: ResourceProblems): number {
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

  /** The network at `path`, if it and the one at `own` name each other. */
  #mutual(own: string, path: string): VirtualNetwork | undefined {
    const draft = this.#drafts.byPath.get(path);
    const network = draft?.network ?? this.moved.get(path)?.after ?? this.#world.peers.get(path)?.value;
    if (network === undefined) return undefined;
    const names = network.gateway?.connections.some(
      (one) => one.mode === 'peering' && networkPath(one.peerTenant, one.peerNetwork) === own,
    );
    return names || this.#wishes.get(path)?.has(own) ? network : undefined;
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
    const draft = this.#drafts.byPath.get(path);
    if (draft?.network.gateway !== undefined) {
      draft.network = { ...draft.network, gateway: { ...draft.network.gateway, shard } };
      return;
    }
    const before = this.#world.peers.get(path);
    if (before?.value.gateway === undefined) return;
    this.moved.set(path, { before, after: { ...before.value, gateway: { ...before.value.gateway, shard } } });
  }
}
