import type { HandlerResult, IncomingRequest } from '@weft/bus';
import {
  addressId,
  type GatewayInterface,
  type GatewayMemberUse,
  type GatewayUseRequest,
  type GatewayUseResult,
  type NatQuery,
} from '@weft/model';
import { formatIp } from '@weft/packet';
import type { AgentParts } from '../role.ts';
import { gatewayStatus, type ShardLag } from './gateway-status.ts';
import { countMappings, type FlowMeter, networkUses, readQuotas, readUse, USE_ROWS_MAX, type UseParts } from './gateway-use.ts';
import { inSlices } from './in-slices.ts';
import { natFlows, natMappings } from './nat-rows.ts';
import { type OwnedNetwork, ownedNetworks, readableNetworks } from './owned-networks.ts';

type Incoming = Pick<IncomingRequest, 'request' | 'signer'>;
type Answer = Pick<HandlerResult, 'result'>;

const INTERVAL_MS = { min: 100, max: 10_000 } as const;

export interface GatewayReadsInit {
  readonly parts: AgentParts;
  readonly meter: FlowMeter;
  /** External interfaces of this member, as they are. */
  readonly interfaces: () => readonly GatewayInterface[];
  readonly lags: () => readonly ShardLag[];
}

/** What a member of gateway groups is asked: it tells of the shards that it owns, and of itself. */
export class GatewayReads {
  readonly #init: GatewayReadsInit;
  /** Of the walks over whole tables one goes on at a time, however many ask. */
  #walking: Promise<unknown> = Promise.resolve();

  constructor(init: GatewayReadsInit) {
    this.#init = init;
  }

  handle({ request, signer }: Incoming): Promise<Answer> | undefined {
    const { command } = request;
    switch (command.kind) {
      case 'gatewayStatus':
        return this.#status(command.value.gatewayId, signer);
      case 'natMappings':
        return this.#rows(natMappings, command.value, signer).then((value) => ({ result: { kind: 'natMappings', value } }));
      case 'natFlows':
        return this.#rows(natFlows, command.value, signer).then((value) => ({ result: { kind: 'natFlows', value } }));
      case 'gatewayUse':
        return this.#use(command.value, signer).then((value) => ({ result: { kind: 'gatewayUse', value } }));
      default:
        return undefined;
    }
  }

  async #status(gatewayId: string, signer: string): Promise<Answer> {
    const { parts, lags } = this.#init;
    const refusal = parts.trust.mayAct(signer, '', 'read');
    if (refusal !== undefined) throw refusal;
    const uses = new Map<string, GatewayMemberUse>();
    for (const { id } of parts.gateways.memberships()) uses.set(id, await this.#memberUse(id));
    const value = gatewayStatus(
      {
        hostId: parts.init.hostId,
        nowMs: parts.clock.now(),
        gateways: parts.gateways,
        conditions: parts.conditions,
        use: (id) => uses.get(id),
        lags: lags(),
      },
      gatewayId,
    );
    return { result: { kind: 'gatewayStatus', value } };
  }

  async #memberUse(gatewayId: string): Promise<GatewayMemberUse> {
    const { parts, interfaces } = this.#init;
    const { nat } = parts.datapath.gateway;
    const assignment = parts.gateways.directory.groups.get(gatewayId)?.assignment;
    const shards = new Set(assignment?.shards.map(({ id }) => id));
    const networks = new Map([...(await this.#owned())].filter(([, { shard }]) => shards.has(shard)));
    let [blocksHeld, sessions] = [0, 0];
    await this.#walk(() =>
      inSlices(nat.rows('usage'), ({ key, value }) => {
        if (!networks.has(key.networkId)) return;
        blocksHeld += value.blocks;
        sessions += value.sessions;
      }),
    );
    const addresses = new Set(assignment?.addresses.map(addressId));
    let blocksFree = 0;
    await this.#walk(() =>
      inSlices(nat.rows('free'), ({ key, value }) => {
        if (addresses.has(addressId({ segment: key.segment, address: formatIp(key.address) }))) blocksFree += value.blocks.length;
      }),
    );
    const mappings = await this.#walk(() => countMappings(nat, networks));
    return {
      blocksHeld,
      blocksFree,
      mappings: [...mappings.values()].reduce((sum, one) => sum + one, 0),
      sessions,
      interfaces: interfaces(),
    };
  }

  async #rows<T>(
    read: (parts: Parameters<typeof natMappings>[0], query: NatQuery, networks: ReadonlySet<number>) => Promise<T>,
    query: NatQuery,
    signer: string,
  ): Promise<T & { readonly hostId: string }> {
    const { datapath, trust, clock, init } = this.#init.parts;
    const networks = new Set(readableNetworks(await this.#owned(), query.networkIds, trust, signer).keys());
    const { nat } = datapath.gateway;
    const chosen = await this.#walk(() =>
      read({ store: nat, entries: (table) => datapath.gateway.entries(table), now: () => clock.now() }, query, networks),
    );
    return { ...chosen, hostId: init.hostId };
  }

  async #use(request: GatewayUseRequest, signer: string): Promise<GatewayUseResult> {
    const { parts, meter } = this.#init;
    const { datapath, clock, trust, init } = parts;
    const { gateway } = datapath;
    const mayReadAll = trust.mayAct(signer, '', 'read') === undefined;
    readableNetworks(await this.#owned(), request.networkIds, trust, signer);
    const from: UseParts = {
      store: gateway.nat,
      drops: () => datapath.drops(),
      externalDevices: () => gateway.externalDevices(),
      traffic: () => gateway.traffic(),
      eventsLost: () => gateway.natEventsLost(),
      meter,
      now: () => clock.now(),
    };
    const before = await readUse(from);
    const waitMs = Math.max(INTERVAL_MS.min, Math.min(request.intervalMs, INTERVAL_MS.max));
    await new Promise<void>((resolve) => void clock.setTimeout(resolve, waitMs));
    const after = await readUse(from);
    const networks = readableNetworks(await this.#owned(), request.networkIds, trust, signer);
    const mappings = await this.#walk(() => countMappings(gateway.nat, networks));
    const quotas = await this.#walk(() => readQuotas(gateway.nat));
    const outside = mayReadAll && request.networkIds.length === 0;
    const uses = networkUses(before, after, networks, { quotas, mappings, outside });
    const limit = Math.max(1, Math.min(request.limit, USE_ROWS_MAX));
    return {
      hostId: init.hostId,
      intervalMs: Math.round(after.atMs - before.atMs),
      networks: uses.slice(0, limit),
      leftOut: Math.max(0, uses.length - limit),
      eventsLost: Number(after.eventsLost - before.eventsLost),
    };
  }

  async #owned(): Promise<Map<number, OwnedNetwork>> {
    const { datapath, gateways, networks, clock } = this.#init.parts;
    const tenants = new Map(
      networks.all().flatMap(({ view }) => (view.network === undefined ? [] : [[view.network.networkId, view.network.tenant] as const])),
    );
    return await ownedNetworks({
      rows: (table) => datapath.gateway.rows(table),
      fences: () => gateways.fences(),
      tenantOf: (id) => tenants.get(id) ?? '',
      now: () => clock.now(),
    });
  }

  #walk<T>(walk: () => Promise<T>): Promise<T> {
    const next = this.#walking.then(walk, walk);
    this.#walking = next.catch(() => {});
    return next;
  }
}
