import {
  type Assignment,
  configKey,
  configPrefix,
  type Gateway,
  networkPath,
  type Plan,
  type PlannedWrite,
  parseKey,
  type VirtualNetwork,
} from '@weft/model';
import { Retry } from './components.ts';
import type { Records } from './records.ts';
import type { LoadedWorld, WorldLoader } from './world-loader.ts';

// The part of a commit that is about gateways.
//
// A gateway, its assignment and the networks that use it are documents of their own, so the CAS on one does not see a change of the other.
// Whoever changes a gateway writes it and then looks at who uses it; whoever changes what a network has of it writes the network and then looks
// at the gateway. In every order one of the two sees the other, undoes its own and plans again. Two networks that begin to peer see each other
// in the same way.

/** Numbers that the plan has chosen, and for whom. */
export function gatewayNumbers(plan: Plan): { readonly number: number; readonly owner: string; readonly ownerKey: string }[] {
  const numbers: { number: number; owner: string; ownerKey: string }[] = [];
  const take = (all: readonly number[], known: readonly number[], owner: string, ownerKey: string): void => {
    for (const number of all) if (!known.includes(number)) numbers.push({ number, owner, ownerKey });
  };
  const ofGateway = (gateway: Gateway | undefined): number[] =>
    [...(gateway?.segments ?? []), ...(gateway?.pools ?? [])].map(({ id }) => id);
  const ofAssignment = (assignment: Assignment | undefined): number[] => [
    ...(assignment?.shards ?? []).map(({ id }) => id),
    ...new Set((assignment?.addresses ?? []).flatMap(({ natPool }) => (natPool === 0 ? [] : [natPool]))),
  ];
  for (const { before, after } of plan.gateways)
    if (after !== undefined) take(ofGateway(after), ofGateway(before?.value), after.id, configKey.gateway(after.id));
  for (const { before, after } of plan.assignments) {
    if (after === undefined) continue;
    take(ofAssignment(after), ofAssignment(before?.value), after.gatewayId, configKey.gateway(after.gatewayId));
  }
  for (const { before, after } of plan.networks)
    if (after !== undefined) take(numbersOf(after), numbersOf(before?.value), after.id, configKey.network(after.id));
  return numbers;
}

function numbersOf(network: VirtualNetwork | undefined): number[] {
  const of = network?.gateway;
  return of === undefined ? [] : [of.ownPool, ...of.externalAddresses.map(({ number }) => number)];
}

/** Gateways that networks of the plan use anew and that the plan does not write. */
export function reliedOnGateways(plan: Plan): string[] {
  const written = new Set(plan.gateways.map(({ before, after }) => (after ?? before!.value).id));
  return gatewaysChangedIn(plan.networks)
    .filter((id) => !written.has(id))
    .map((id) => configKey.gateway(id));
}

function gatewaysChangedIn(networks: readonly PlannedWrite<VirtualNetwork>[]): string[] {
  const ids = networks.flatMap(({ before, after }) => {
    const changed = after?.gateway !== undefined && JSON.stringify(before?.value.gateway) !== JSON.stringify(after.gateway);
    return changed ? [after.gateway!.gatewayId] : [];
  });
  return [...new Set(ids)];
}

export interface GatewayWrites {
  /** Of what was written, by key. */
  readonly revisions: ReadonlyMap<string, number>;
  readonly networks: readonly PlannedWrite<VirtualNetwork>[];
  readonly gateways: readonly PlannedWrite<Gateway>[];
}

/** The second look. @throws {Retry} When others began meanwhile what does not fit. */
export async function checkGatewayUses(records: Records, loader: WorldLoader, world: LoadedWorld, written: GatewayWrites): Promise<void> {
  for (const id of gatewaysChangedIn(written.networks)) {
    const key = configKey.gateway(id);
    const known = written.revisions.get(key) ?? world.entries.get(key)?.revision;
    const entry = await records.get(records.config, key);
    if (entry?.record === undefined || entry.revision !== known) throw new Retry(`${key} was changed meanwhile`);
  }
  for (const { before, after } of written.gateways)
    if (before !== undefined && !offersTheSame(before.value, after)) await checkUsers(records, world, written, before.value.id);
  for (const { after } of written.networks) if (after !== undefined) await checkPeers(loader, after);
}

/** What networks use of a gateway is as it was: who uses it does not matter. */
function offersTheSame(before: Gateway, after: Gateway | undefined): boolean {
  const offer = ({ segments, pools, shards }: Gateway): string => JSON.stringify({ segments, pools, shards });
  return after !== undefined && offer(before) === offer(after);
}

/** The networks on the gateway's shards must be those of the plan, unchanged. */
async function checkUsers(records: Records, world: LoadedWorld, written: GatewayWrites, gatewayId: string): Promise<void> {
  const shards = new Set((world.gateway?.assignments.get(gatewayId)?.value.shards ?? []).map(({ id }) => id));
  const known = new Map((world.gateway?.networks.get(gatewayId) ?? []).map(({ value, revision }) => [value.id, revision]));
  const own = new Set(written.networks.map(({ before, after }) => (after ?? before!.value).id));
  for (const entry of await records.all(records.config, configPrefix.allShardClaims)) {
    const parsed = parseKey('config', entry.key);
    if (parsed?.kind !== 'claim' || entry.record?.kind !== 'claim' || !shards.has(Number(parsed.tokens[0]))) continue;
    const { owner, ownerKey } = entry.record.value;
    if (own.has(owner)) continue;
    const network = await records.get(records.config, ownerKey);
    const uses = network?.record?.kind === 'network' && network.record.value.gateway?.gatewayId === gatewayId;
    // A leftover claim of a network that is gone, or gone elsewhere, holds nobody up.
    if (!known.has(owner) && !uses && network !== undefined) continue;
    if (network?.revision !== known.get(owner)) throw new Retry(`${entry.key}: a network that uses the gateway is being changed`);
  }
}

/** Networks that have both agreed to peer must be on one shard. */
async function checkPeers(loader: WorldLoader, network: VirtualNetwork): Promise<void> {
  for (const one of network.gateway?.connections ?? []) {
    if (one.mode !== 'peering') continue;
    const peer = await loader.network(one.peerTenant, one.peerNetwork);
    const back = peer?.value.gateway?.connections.some(
      (other) => other.mode === 'peering' && other.peerTenant === network.tenant && other.peerNetwork === network.name,
    );
    if (peer === undefined || !back || peer.value.gateway?.shard === network.gateway?.shard) continue;
    throw new Retry(`${networkPath(one.peerTenant, one.peerNetwork)} begins to peer from another shard`);
  }
}
