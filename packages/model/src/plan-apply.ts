import type { ApplyRequest, ChangeAction, Problem, Resource, ResourceChange } from './commands.ts';
import { diffFields } from './diff.ts';
import { networkGatewayCodec } from './gateway-codecs.ts';
import { type NetworkDraft, NetworkDrafts, type PlannedItem } from './network-draft.ts';
import { ConnectionPlanner } from './plan-connection.ts';
import { ExternalPlanner } from './plan-external.ts';
import { GatewayDrafts } from './plan-gateway.ts';
import { planNetwork, planRoute, planSubnet } from './plan-network.ts';
import { planPort } from './plan-port.ts';
import { Problems, type ResourceProblems } from './problems.ts';
import type { Port, Tenant, VirtualNetwork } from './records.ts';
import { lastNameOf, nameOfResource } from './resource-names.ts';
import { checkName } from './rules.ts';
import { checkPortsTogether, checkRoutesTogether, checkSubnetsTogether } from './rules-network.ts';
import { checkNetworkGateway } from './rules-network-gateway.ts';
import { networkSpecView, routeSpecView, subnetSpecView } from './specs.ts';
import { gatewaySpecView } from './specs-gateway.ts';
import { EMPTY_GATEWAY_WORLD, type IdMaker, type Plan, type PlannedWrite, type World } from './world.ts';

// From what stands and what is wanted to what must be written, or to everything that is wrong with it. Pure: the same request against
// the same world gives the same plan, so a dry run, the real run and a resumed run agree.
//
//   tenants, gateways ─► networks (ids, routes) ─► subnets (into their network's document) ─► connections ─► ports ─► external addresses
//     ─► NAT rules ─► checks across the whole network

/** The plan of an apply, or the problems that forbid it: then nothing of it may be written. */
export function planApply(
  world: World,
  request: Pick<ApplyRequest, 'resources' | 'force'>,
  ids: IdMaker,
): { readonly plan: Plan; readonly problems: readonly Problem[] } {
  return new Planner(world, ids, request.force === true).run(request.resources);
}

/** What a resource changes in its document, which had this revision; 0 if it was not there. */
interface Change extends PlannedItem {
  readonly revision: number;
}

class Planner {
  readonly #world: World;
  readonly #ids: IdMaker;
  readonly #force: boolean;
  readonly #gateways: GatewayDrafts;
  readonly #drafts: NetworkDrafts;
  readonly #problems = new Problems();
  readonly #tenants = new Map<string, PlannedWrite<Tenant>>();
  readonly #ports: PlannedWrite<Port>[] = [];
  #moved: ReadonlyMap<string, PlannedWrite<VirtualNetwork>> = new Map();
  /** In the order of the request. */
  readonly #changes: ({ readonly resource: string; readonly change: Change } | undefined)[] = [];

  constructor(world: World, ids: IdMaker, force: boolean) {
    this.#world = world;
    this.#ids = ids;
    this.#force = force;
    this.#gateways = new GatewayDrafts(world.gateway ?? EMPTY_GATEWAY_WORLD, ids);
    this.#drafts = new NetworkDrafts(world);
  }

  run(resources: readonly Resource[]): { plan: Plan; problems: readonly Problem[] } {
    const fresh = this.#withoutDuplicates(resources);
    const context = { world: this.#world, ids: this.#ids, drafts: this.#drafts };
    this.#each(fresh, 'tenant', ({ value }, problems) => this.#tenant(value.name, problems));
    this.#each(fresh, 'gateway', ({ value }, problems) => {
      const draft = this.#gateways.plan(value, this.#force, problems);
      if (draft === undefined) return undefined;
      const { before, gateway } = draft;
      const fields: Change['fields'] = () => diffFields('spec.', before && gatewaySpecView(before.value), gatewaySpecView(gateway));
      return { exists: before !== undefined, fields, revision: before?.revision ?? 0 };
    });
    this.#each(fresh, 'network', ({ value }, problems) => {
      const isNamed = checkName(problems, 'metadata.name', value.name);
      if (!this.#hasTenant(value.tenant, problems) || !isNamed) return undefined;
      const item = planNetwork(value, context, problems);
      return this.#inNetwork({ tenant: value.tenant, network: value.name }, problems, () => item);
    });
    this.#each(fresh, 'subnet', ({ value }, problems) =>
      this.#named(value.name, value, problems, (draft) => planSubnet(value, draft, context, problems)),
    );
    this.#each(fresh, 'route', ({ value }, problems) =>
      this.#named(value.route.name ?? '', value, problems, (draft) => planRoute(value, draft)),
    );
    this.#connections(fresh);
    for (const draft of this.#drafts.all) checkSubnetsTogether(this.#problems, draft, fresh);
    this.#each(fresh, 'port', ({ value }, problems) => {
      const isNamed = checkName(problems, 'metadata.name', value.name);
      const draft = this.#drafts.of(value, problems);
      const port = isNamed && draft && planPort(value, draft, context, problems);
      if (!port) return undefined;
      if (port.fields().length > 0) this.#ports.push(port.write);
      return { ...port, revision: port.write.before?.revision ?? 0 };
    });
    for (const draft of this.#drafts.all) checkPortsTogether(this.#problems, draft);
    const externals = new ExternalPlanner(this.#world.gateway ?? EMPTY_GATEWAY_WORLD, this.#gateways, this.#drafts);
    this.#each(fresh, 'externalAddress', ({ value }, problems) =>
      this.#inNetwork(value, problems, (draft) => externals.address(value, draft, problems)),
    );
    this.#each(fresh, 'natRule', ({ value }, problems) =>
      this.#inNetwork(value, problems, (draft) => externals.natRule(value, draft, problems)),
    );
    for (const draft of this.#drafts.all) {
      checkRoutesTogether(this.#problems, draft);
      if (draft.broken.size === 0) checkNetworkGateway(this.#problems, draft.network);
    }
    return { plan: this.#plan(), problems: this.#problems.list };
  }

  /** Plans all resources of a kind. @param plan Undefined: nothing to tell, or a problem has been told. */
  #each<K extends Resource['kind']>(
    resources: readonly (Resource | undefined)[],
    kind: K,
    plan: (resource: Extract<Resource, { kind: K }>, problems: ResourceProblems) => Change | undefined,
  ): void {
    for (const [i, resource] of resources.entries()) {
      if (resource?.kind !== kind) continue;
      const name = nameOfResource(resource);
      const change = plan(resource as Extract<Resource, { kind: K }>, this.#problems.of(name));
      if (change !== undefined) this.#changes[i] = { resource: name, change };
    }
  }

  #withoutDuplicates(resources: readonly Resource[]): (Resource | undefined)[] {
    const seen = new Set<string>();
    return resources.map((resource) => {
      const name = nameOfResource(resource);
      if (!seen.has(name)) {
        seen.add(name);
        return resource;
      }
      this.#problems
        .of(name)
        .add('WEFT_ERR_RULE_DUPLICATE', 'metadata.name', lastNameOf(resource), 'must be there once', 'remove one of the two');
      return undefined;
    });
  }

  #tenant(name: string, problems: ResourceProblems): Change | undefined {
    if (!checkName(problems, 'metadata.name', name)) return undefined;
    const before = this.#world.tenants.get(name);
    if (before === undefined) this.#tenants.set(name, { before, after: { id: this.#ids.tenant(name), name } });
    return {
      exists: before !== undefined,
      fields: () => (before === undefined ? [{ path: 'metadata.name', before: '', after: name }] : []),
      revision: before?.revision ?? 0,
    };
  }

  #hasTenant(name: string, problems: ResourceProblems): boolean {
    if (this.#world.tenants.has(name) || this.#tenants.has(name)) return true;
    problems.add(
      'WEFT_ERR_RULE_TENANT_UNKNOWN',
      'metadata.tenant',
      name,
      'must be a tenant that exists, or is in the same manifests',
      'add the Tenant',
    );
    return false;
  }

  /** A resource that is part of its network's document. */
  #inNetwork(
    of: { readonly tenant: string; readonly network: string },
    problems: ResourceProblems,
    plan: (draft: NetworkDraft) => PlannedItem | undefined,
  ): Change | undefined {
    const draft = this.#drafts.of(of, problems);
    const item = draft && plan(draft);
    return draft && item && { ...item, revision: draft.before?.revision ?? 0 };
  }

  /** The same for one whose name is to be checked before anything else. */
  #named(
    name: string,
    of: { readonly tenant: string; readonly network: string },
    problems: ResourceProblems,
    plan: (draft: NetworkDraft) => PlannedItem | undefined,
  ): Change | undefined {
    const isNamed = checkName(problems, 'metadata.name', name);
    return this.#inNetwork(of, problems, (draft) => (isNamed ? plan(draft) : undefined));
  }

  #connections(resources: readonly (Resource | undefined)[]): void {
    const world = this.#world.gateway ?? EMPTY_GATEWAY_WORLD;
    const connections = new ConnectionPlanner(world, this.#gateways, this.#drafts, resources);
    this.#moved = connections.moved;
    // A peering follows the shard that the network has by its other connections.
    for (const peerings of [false, true]) {
      this.#each(resources, 'connection', ({ value }, problems) => {
        if ((value.mode === 'peering') !== peerings) return undefined;
        return this.#inNetwork(value, problems, (draft) => connections.plan(value, draft, problems));
      });
    }
  }

  #plan(): Plan {
    const networks = this.#drafts.all.flatMap((draft): PlannedWrite<VirtualNetwork>[] => {
      const same = draft.before !== undefined && JSON.stringify(canonical(draft.before.value)) === JSON.stringify(canonical(draft.network));
      return same ? [] : [{ before: draft.before, after: draft.network }];
    });
    return {
      tenants: [...this.#tenants.values()],
      networks: [...networks, ...[...this.#moved].flatMap(([path, write]) => (this.#drafts.byPath.has(path) ? [] : [write]))],
      ports: this.#ports,
      ...this.#gateways.writes(),
      changes: this.#changes.flatMap((planned): ResourceChange[] => {
        if (planned === undefined) return [];
        const { exists, revision, ...change } = planned.change;
        const fields = change.fields();
        const action: ChangeAction = !exists ? 'created' : fields.length > 0 ? 'updated' : 'unchanged';
        return [{ action, resource: planned.resource, revision, fields }];
      }),
    };
  }
}

/** A network with its fields in one order, so that equal ones have equal text. */
function canonical(network: VirtualNetwork): unknown {
  return {
    ...networkSpecView(network),
    name: network.name,
    tenant: network.tenant,
    named: network.routes.filter((route) => route.name !== undefined).map((route) => ({ ...routeSpecView(route), name: route.name })),
    subnets: network.subnets.map((subnet) => ({ name: subnet.name, ...subnetSpecView(subnet) })),
    // Made here or decoded, with all its fields in one order.
    gateway: network.gateway && networkGatewayCodec.toWire(network.gateway),
  };
}
