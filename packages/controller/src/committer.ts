import type { Bucket, RecordEntry } from '@weft/bus';
import {
  type Assignment,
  assignmentKey,
  type Claim,
  configKey,
  configPrefix,
  type Gateway,
  type Plan,
  type PlannedWrite,
  type Port,
  type ResourceChange,
  type Tenant,
  type VirtualNetwork,
  type WeftRecord,
} from '@weft/model';
import { ClaimSet, type UnusedClaim, type WantedClaim } from './claims.ts';
import { type Author, isBusFailure, isOwn, mapLimit, Retry, undoing } from './components.ts';
import { checkGatewayUses, type GatewayWrites, gatewayNumbers, reliedOnGateways } from './gateway-commit.ts';
import { ids } from './ids.ts';
import type { IntentLease } from './intent-lease.ts';
import type { Records } from './records.ts';
import { gatewayClaims, type LoadedWorld, type WorldLoader } from './world-loader.ts';

// Carries a plan out, whole or not at all: claims, then documents by CAS, then a second look for what others began meanwhile, then
// the claims no longer needed. Whatever fails on the way undoes what came before it. So nothing is built on a document of a request that is under way.
//
// Why a second look: a port is its own document, so the CAS on the network's document does not see it. Whoever adds a port claims its
// MAC and addresses first and reads the network after; whoever takes a subnet away writes the network first and reads the claims after.
// In every order one of the two sees the other.

const PARALLEL = 16;

interface Written {
  readonly bucket: Bucket;
  readonly entry: RecordEntry;
  readonly before: WeftRecord | undefined;
  readonly tenant: string;
}

export class Committer {
  readonly #records: Records;
  readonly #loader: WorldLoader;
  readonly #author: Author;
  readonly #lease: IntentLease;
  readonly #written: Written[] = [];

  constructor(records: Records, loader: WorldLoader, author: Author, lease: IntentLease) {
    this.#records = records;
    this.#loader = loader;
    this.#author = author;
    this.#lease = lease;
  }

  /**
   * @returns The changes, with revisions and allocated values.
   * @throws {Retry} Nothing is left of it; plan again. Any other error but those of the bus: nothing is left either. Of the
   *   bus: what was done stays, to be resumed.
   */
  async carryOut(world: LoadedWorld, plan: Plan): Promise<ResourceChange[]> {
    const claims = new ClaimSet(this.#records, this.#loader, this.#author, this.#lease, (key) => yielderOf(plan, key));
    try {
      await this.#checkSettled(world, plan);
      for (const { number, owner, ownerKey } of gatewayNumbers(plan)) await claims.acquireNumber(number, owner, ownerKey);
      const networks = await this.#claimNetworks(claims, plan.networks);
      const ports = fillVsids(plan.ports, networks);
      await mapLimit(ports.flatMap(portClaims), PARALLEL, (wanted) => claims.acquire(wanted));
      await this.#checkUnchanged(world, plan, ports, networks);
      await mapLimit(unusedClaims(networks, ports), PARALLEL, (unused) => claims.giveUp(unused));
      await this.#write(world, plan, networks, ports);
      await this.#lookAgain(world, plan, networks, ports);
      await claims.dropGivenUp();
      return this.#describe(plan, networks);
    } catch (error) {
      if (!isBusFailure(error)) {
        await this.#undo();
        await claims.release();
      }
      throw error;
    }
  }

  /** Undoes what the first controller of a resumed request wrote, when there is nothing to carry out any more. */
  async abandon(world: LoadedWorld): Promise<void> {
    for (const entry of [...world.entries.values()].filter((one) => isOwn(this.#author, one)).sort((a, b) => a.revision - b.revision))
      this.#written.push({ bucket: this.#records.bucketOf(entry), entry, before: entry.change.before, tenant: entry.change.tenant });
    await this.#undo();
  }

  /** What the plan replaces or relies on was written by requests that have ended: such a one takes nothing back. */
  async #checkSettled(world: LoadedWorld, plan: Plan): Promise<void> {
    const networks = [
      ...plan.networks.map(({ before, after }) => (after ?? before!.value).id),
      ...plan.ports.map(({ before, after }) => (after ?? before!.value).routingDomainId),
    ];
    const tenants = [
      ...plan.tenants.map(({ before, after }) => (after ?? before!.value).name),
      ...plan.networks.map(({ before, after }) => (after ?? before!.value).tenant),
    ];
    const ports = plan.ports.map(({ before, after }) =>
      configKey.port((after ?? before!.value).routingDomainId, (after ?? before!.value).id),
    );
    const keys = [
      ...networks.map((id) => configKey.network(id)),
      ...tenants.map((name) => configKey.tenant(ids.tenant(name))),
      ...ports,
      ...plan.gateways.map(({ before, after }) => configKey.gateway((after ?? before!.value).id)),
      ...plan.assignments.map(({ before, after }) => assignmentKey((after ?? before!.value).gatewayId)),
      ...reliedOnGateways(plan),
    ];
    const requests = new Map(
      keys.flatMap((key) => {
        const requestId = world.entries.get(key)?.change.requestId;
        return requestId === undefined || requestId === this.#author.requestId ? [] : [[requestId, key] as const];
      }),
    );
    await mapLimit([...requests], PARALLEL, async ([requestId, key]) => {
      if (await this.#records.isUnderWay(requestId)) throw new Retry(`${key} was written by request ${requestId}, which has not ended`);
    });
  }

  async #claimNetworks(claims: ClaimSet, planned: readonly PlannedWrite<VirtualNetwork>[]): Promise<PlannedWrite<VirtualNetwork>[]> {
    const writes: PlannedWrite<VirtualNetwork>[] = [];
    const asked = new Set(planned.flatMap((write) => write.after?.subnets.map((subnet) => subnet.vsid) ?? []));
    for (const write of planned) {
      const { before, after } = write;
      if (after === undefined) {
        writes.push(write);
        continue;
      }
      const ownerKey = configKey.network(after.id);
      let networkId = after.networkId;
      if (before === undefined) {
        await claims.acquire({ key: networkNameClaim(after), owner: after.id, ownerKey });
        networkId = await claims.acquireNetworkId(after.id);
      }
      const known = new Set(before?.value.subnets.map((subnet) => subnet.vsid));
      const subnets = [];
      for (const subnet of after.subnets) {
        if (subnet.vsid === 0) {
          const vsid = await claims.acquireVsid(after.id, subnet.name, asked);
          asked.add(vsid);
          subnets.push({ ...subnet, vsid });
        } else {
          if (!known.has(subnet.vsid)) await claims.acquire({ key: configKey.vsidClaim(subnet.vsid), owner: after.id, ownerKey });
          subnets.push(subnet);
        }
      }
      const has = new Set(before === undefined ? [] : gatewayClaims(before.value));
      for (const key of gatewayClaims(after)) if (!has.has(key)) await claims.acquire({ key, owner: after.id, ownerKey });
      writes.push({ before, after: { ...after, networkId, subnets } });
    }
    return writes;
  }

  /** After the claims: the documents that are relied upon, but not written, must still be those of the plan. */
  async #checkUnchanged(
    world: LoadedWorld,
    plan: Plan,
    ports: readonly PlannedWrite<Port>[],
    networks: readonly PlannedWrite<VirtualNetwork>[],
  ): Promise<void> {
    const written = new Set(networks.map(({ before, after }) => (after ?? before!.value).id));
    const reliedOn = new Set(
      ports.flatMap(({ after }) =>
        after === undefined || written.has(after.routingDomainId) ? [] : [configKey.network(after.routingDomainId)],
      ),
    );
    for (const { before, after } of networks)
      if (before === undefined && after !== undefined && world.tenants.has(after.tenant))
        reliedOn.add(configKey.tenant(ids.tenant(after.tenant)));
    for (const key of reliedOnGateways(plan)) reliedOn.add(key);
    await mapLimit([...reliedOn], PARALLEL, async (key) => {
      const entry = await this.#records.get(this.#records.config, key);
      if (entry?.record === undefined || entry.revision !== world.entries.get(key)?.revision)
        throw new Retry(`${key} was changed meanwhile`);
    });
  }

  async #write(
    world: LoadedWorld,
    plan: Plan,
    networks: readonly PlannedWrite<VirtualNetwork>[],
    ports: readonly PlannedWrite<Port>[],
  ): Promise<void> {
    const tenant = async ({ before, after }: PlannedWrite<Tenant>): Promise<void> => {
      const value = (after ?? before!.value) as Tenant;
      await this.#put(
        world,
        configKey.tenant(value.id),
        value.name,
        before && { kind: 'tenant', value: before.value },
        after && { kind: 'tenant', value: after },
      );
    };
    const network = async ({ before, after }: PlannedWrite<VirtualNetwork>): Promise<void> => {
      const value = (after ?? before!.value) as VirtualNetwork;
      await this.#put(
        world,
        configKey.network(value.id),
        value.tenant,
        before && { kind: 'network', value: before.value },
        after && { kind: 'network', value: after },
      );
    };
    const port = async ({ before, after }: PlannedWrite<Port>): Promise<void> => {
      const value = (after ?? before!.value) as Port;
      await this.#put(
        world,
        configKey.port(value.routingDomainId, value.id),
        value.tenant,
        before && { kind: 'port', value: before.value },
        after && { kind: 'port', value: after },
      );
    };
    const gateway = async ({ before, after }: PlannedWrite<Gateway>): Promise<void> => {
      const key = configKey.gateway((after ?? before!.value).id);
      await this.#put(world, key, '', before && { kind: 'gateway', value: before.value }, after && { kind: 'gateway', value: after });
    };
    const assignment = async ({ before, after }: PlannedWrite<Assignment>): Promise<void> => {
      const key = assignmentKey((after ?? before!.value).gatewayId);
      const was = before && ({ kind: 'assignment', value: before.value } as const);
      await this.#put(world, key, '', was, after && { kind: 'assignment', value: after }, this.#records.gateways);
    };
    const isDeletion = (write: PlannedWrite<unknown>): boolean => write.after === undefined;
    const isPut = (write: PlannedWrite<unknown>): boolean => write.after !== undefined;
    // What stands on something comes after it, and goes before it.
    await mapLimit(ports.filter(isDeletion), PARALLEL, port);
    for (const write of networks.filter(isDeletion)) await network(write);
    for (const write of plan.gateways.filter(isDeletion)) await gateway(write);
    for (const write of plan.tenants.filter(isDeletion)) await tenant(write);
    for (const write of plan.tenants.filter(isPut)) await tenant(write);
    for (const write of plan.gateways.filter(isPut)) await gateway(write);
    for (const write of plan.assignments) await assignment(write);
    for (const write of networks.filter(isPut)) await network(write);
    await mapLimit(ports.filter(isPut), PARALLEL, port);
  }

  async #put(
    world: LoadedWorld,
    key: string,
    tenant: string,
    before: WeftRecord | undefined,
    after: WeftRecord | undefined,
    bucket: Bucket = this.#records.config,
  ): Promise<void> {
    this.#lease.check();
    let current = world.entries.get(key);
    // A tombstone, or something the world did not look for, stands where a new document goes.
    if (before === undefined && current === undefined) current = await this.#records.get(bucket, key);
    if (before === undefined && current?.record !== undefined && !isOwn(this.#author, current))
      throw new Retry(`${key} was made meanwhile`);
    const entry = await this.#records.put(this.#author, key, tenant, current, after, bucket);
    this.#written.push({ bucket, entry, before, tenant });
  }

  async #lookAgain(
    world: LoadedWorld,
    plan: Plan,
    networks: readonly PlannedWrite<VirtualNetwork>[],
    ports: readonly PlannedWrite<Port>[],
  ): Promise<void> {
    const going = new Set(ports.flatMap(({ before, after }) => (after === undefined ? [before!.value.id] : [])));
    const own = new Set(ports.flatMap(({ after }) => (after === undefined ? [] : [after.id])));
    for (const { before, after } of networks) {
      if (before === undefined) continue;
      const kept = new Map((after?.subnets ?? []).map((subnet) => [subnet.name, subnet]));
      for (const subnet of before.value.subnets) {
        if (kept.has(subnet.name)) continue;
        for (const { claim, key } of await this.#claimsBelow(configPrefix.macClaims(subnet.vsid)))
          if (!going.has(claim.owner) && (await this.#isLive(key, claim)))
            throw new Retry(`${key}: a port is being made in subnet ${subnet.name}`);
      }
      const narrowed = before.value.subnets.some(
        (subnet) => kept.has(subnet.name) && JSON.stringify(kept.get(subnet.name)) !== JSON.stringify(subnet),
      );
      if (!narrowed && after !== undefined) continue;
      const known = new Set([...world.ports.values()].map(({ value }) => value.id));
      for (const { claim, key } of await this.#claimsBelow(configPrefix.addressClaims(before.value.id))) {
        if (!known.has(claim.owner) && !own.has(claim.owner) && (await this.#isLive(key, claim)))
          throw new Retry(`${key}: a port is being made in a network that changes`);
      }
    }
    const goneNetworks = new Set(networks.flatMap(({ before, after }) => (after === undefined ? [before!.value.id] : [])));
    for (const { before, after } of plan.tenants) {
      if (after !== undefined) continue;
      for (const { claim, key } of await this.#claimsBelow(configPrefix.networkNameClaims(before!.value.id)))
        if (!goneNetworks.has(claim.owner) && (await this.#isLive(key, claim)))
          throw new Retry(`${key}: a network is being made in the tenant`);
    }
    const written: GatewayWrites = {
      revisions: new Map(this.#written.map(({ entry }) => [entry.key, entry.revision])),
      networks,
      gateways: plan.gateways,
    };
    await checkGatewayUses(this.#records, this.#loader, world, written);
    await mapLimit(ports, PARALLEL, async ({ before, after }) => {
      if (after !== undefined) return;
      if ((await this.#loader.bindingOf(before!.value))?.state === 'bound')
        throw new Retry(`port ${before!.value.name} was bound meanwhile`);
    });
  }

  /** Of another request, or in use; not what was left lying by one that ended. */
  async #isLive(key: string, claim: Claim): Promise<boolean> {
    if (claim.requestId === this.#author.requestId) return false;
    return (await this.#records.isUnderWay(claim.requestId)) || (await this.#loader.holds(key, claim));
  }

  async #claimsBelow(prefix: string): Promise<{ key: string; claim: Claim }[]> {
    return (await this.#records.all(this.#records.config, prefix)).flatMap((entry) =>
      entry.record?.kind === 'claim' ? [{ key: entry.key, claim: entry.record.value }] : [],
    );
  }

  /** Puts back what was there. What someone has changed since stays: it is theirs. */
  async #undo(): Promise<void> {
    for (const { bucket, entry, before, tenant } of this.#written.reverse()) {
      // Whoever has taken the request over builds on what is written.
      this.#lease.check();
      await this.#records.tryPut(undoing(this.#author), entry.key, tenant, entry, before, bucket);
    }
    this.#written.length = 0;
  }

  #describe(plan: Plan, networks: readonly PlannedWrite<VirtualNetwork>[]): ResourceChange[] {
    const revisions = new Map(this.#written.map(({ entry }) => [entry.key, entry.revision]));
    const revisionOf = new Map<string, number>();
    const vsids = new Map<string, number>();
    for (const { before, after } of plan.tenants)
      note(`Tenant ${(after ?? before!.value).name}`, configKey.tenant((after ?? before!.value).id));
    for (const { before, after } of plan.gateways)
      note(`Gateway ${(after ?? before!.value).name}`, configKey.gateway((after ?? before!.value).id));
    for (const { before, after } of networks) {
      const { id, tenant, name, subnets } = after ?? before!.value;
      note(`VirtualNetwork ${tenant}/${name}`, configKey.network(id));
      for (const resource of itemNames([before?.value, after], `${tenant}/${name}`)) note(resource, configKey.network(id));
      for (const subnet of [...subnets, ...(before?.value.subnets ?? [])])
        note(`VirtualSubnet ${tenant}/${name}/${subnet.name}`, configKey.network(id));
      for (const subnet of subnets) vsids.set(`VirtualSubnet ${tenant}/${name}/${subnet.name}`, subnet.vsid);
    }
    for (const { before, after } of plan.ports) {
      const { id, routingDomainId, tenant, network, name } = after ?? before!.value;
      note(`Port ${tenant}/${network}/${name}`, configKey.port(routingDomainId, id));
    }
    function note(resource: string, key: string): void {
      const revision = revisions.get(key);
      if (revision !== undefined) revisionOf.set(resource, revision);
    }
    return plan.changes.map((change) => ({
      ...change,
      revision: revisionOf.get(change.resource) ?? change.revision,
      fields: change.fields.map((field) =>
        field.path === 'spec.vsid' && field.after === '0' ? { ...field, after: String(vsids.get(change.resource)) } : field,
      ),
    }));
  }
}

/** Resources that are part of a network's document, besides its subnets. */
function itemNames(networks: readonly (VirtualNetwork | undefined)[], path: string): Set<string> {
  return new Set(
    networks.flatMap((network) => [
      ...(network?.routes ?? []).flatMap(({ name }) => (name === undefined ? [] : [`CustomerRoute ${path}/${name}`])),
      ...(network?.gateway?.connections ?? []).map(({ name }) => `GatewayConnection ${path}/${name}`),
      ...(network?.gateway?.externalAddresses ?? []).map(({ name }) => `ExternalAddress ${path}/${name}`),
      ...(network?.gateway?.natRules ?? []).map(({ name }) => `NatRule ${path}/${name}`),
    ]),
  );
}

function networkNameClaim(network: VirtualNetwork): string {
  return configKey.networkNameClaim(ids.tenant(network.tenant), ids.network(network.tenant, network.name));
}

export function claimKeys(port: Port): string[] {
  return [
    configKey.macClaim(port.vsid, port.mac),
    ...port.addresses.map((address) => configKey.addressClaim(port.routingDomainId, address)),
  ];
}

/** Claims that a port needs and does not have yet. */
function portClaims({ before, after }: PlannedWrite<Port>): WantedClaim[] {
  if (after === undefined) return [];
  const has = new Set(before === undefined ? [] : claimKeys(before.value));
  const ownerKey = configKey.port(after.routingDomainId, after.id);
  return claimKeys(after)
    .filter((key) => !has.has(key))
    .map((key) => ({ key, owner: after.id, ownerKey }));
}

/** Ports of subnets whose VSID has just been allocated. */
function fillVsids(ports: readonly PlannedWrite<Port>[], networks: readonly PlannedWrite<VirtualNetwork>[]): PlannedWrite<Port>[] {
  const byId = new Map(networks.flatMap(({ after }) => (after === undefined ? [] : [[after.id, after] as const])));
  return ports.map((write) => {
    const { before, after } = write;
    if (after === undefined || after.vsid !== 0) return write;
    const vsid = byId.get(after.routingDomainId)?.subnets.find((subnet) => subnet.name === after.subnet)?.vsid;
    return vsid === undefined ? write : { before, after: { ...after, vsid } };
  });
}

/** Claims of what documents lose. */
function unusedClaims(networks: readonly PlannedWrite<VirtualNetwork>[], ports: readonly PlannedWrite<Port>[]): UnusedClaim[] {
  const unused: UnusedClaim[] = [];
  for (const { before, after } of networks) {
    if (before === undefined) continue;
    const kept = new Set(after?.subnets.map((subnet) => subnet.vsid));
    for (const { vsid } of before.value.subnets)
      if (!kept.has(vsid)) unused.push({ key: configKey.vsidClaim(vsid), owner: before.value.id });
    if (after === undefined) unused.push({ key: networkNameClaim(before.value), owner: before.value.id });
    const has = new Set(after === undefined ? [] : gatewayClaims(after));
    for (const key of gatewayClaims(before.value)) if (!has.has(key)) unused.push({ key, owner: before.value.id });
  }
  for (const { before, after } of ports) {
    if (before === undefined) continue;
    const kept = new Set(after === undefined ? [] : claimKeys(after));
    for (const key of claimKeys(before.value)) if (!kept.has(key)) unused.push({ key, owner: before.value.id });
  }
  return unused;
}

/** The port whose claimed value the plan takes from it. */
function yielderOf(plan: Plan, key: string): WantedClaim | undefined {
  const write = plan.ports.find(
    ({ before, after }) =>
      before !== undefined && claimKeys(before.value).includes(key) && (after === undefined || !claimKeys(after).includes(key)),
  );
  return write?.before && holderClaim(write.before.value, key);
}

/** The claim by which a port has a value. */
export function holderClaim(port: Port, key: string): WantedClaim {
  return { key, owner: port.id, ownerKey: configKey.port(port.routingDomainId, port.id) };
}
