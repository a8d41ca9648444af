import type {
  ApplyRequest,
  ChangeAction,
  FieldChange,
  NetworkSpec,
  PortSpec,
  Problem,
  Resource,
  ResourceChange,
  RouteSpec,
  SubnetSpec,
} from './commands.ts';
import { diffFields } from './diff.ts';
import { networkGatewayCodec } from './gateway-codecs.ts';
import { GATEWAY_SUBNET_NAME, gatewayAddress, isGatewaySubnet } from './gateway-subnet.ts';
import { isGuid } from './keys.ts';
import { ConnectionPlanner, type PlannedItem } from './plan-connection.ts';
import { GatewayDrafts } from './plan-gateway.ts';
import { Problems, type ResourceProblems } from './problems.ts';
import type { CustomerRoute, Port, Tenant, VirtualNetwork, VirtualSubnet } from './records.ts';
import {
  checkGateways,
  checkMac,
  checkName,
  checkPlacement,
  checkPortAddresses,
  checkRoutes,
  checkSubnetPrefixes,
  checkVsidRange,
  derivedMac,
  MAX_ROUTES,
  MAX_SUBNETS,
  overlapsOf,
} from './rules.ts';
import { isFamily4 } from './rules-gateway.ts';
import { checkNetworkGateway } from './rules-network-gateway.ts';
import { networkSpecView, portSpecView, routeSpecView, subnetSpecView } from './specs.ts';
import { gatewaySpecView } from './specs-gateway.ts';
import {
  EMPTY_GATEWAY_WORLD,
  type IdMaker,
  networkPath,
  type Plan,
  type PlannedWrite,
  portPath,
  type Stored,
  type World,
} from './world.ts';

// From what stands and what is wanted to what must be written, or to everything that is wrong with it. Pure: the same request against
// the same world gives the same plan, so a dry run, the real run and a resumed run agree.
//
//   tenants, gateways ─► networks (ids, routes) ─► subnets (into their network's document) ─► connections ─► ports ─► external addresses
//     ─► NAT rules ─► checks across the whole network

/** `VirtualSubnet coke/net/front` */
export function nameOfResource(resource: Resource): string {
  switch (resource.kind) {
    case 'tenant':
      return `Tenant ${resource.value.name}`;
    case 'network':
      return `VirtualNetwork ${resource.value.tenant}/${resource.value.name}`;
    case 'subnet':
      return `VirtualSubnet ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'port':
      return `Port ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'gateway':
      return `Gateway ${resource.value.name}`;
    case 'connection':
      return `GatewayConnection ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'externalAddress':
      return `ExternalAddress ${resource.value.tenant}/${resource.value.network}/${resource.value.name}`;
    case 'natRule':
      return `NatRule ${resource.value.tenant}/${resource.value.network}/${resource.value.rule.name}`;
    case 'route':
      return `CustomerRoute ${resource.value.tenant}/${resource.value.network}/${resource.value.route.name ?? ''}`;
  }
}

/** Its own name, without tenant and network. */
export function lastNameOf(resource: Resource): string {
  switch (resource.kind) {
    case 'natRule':
      return resource.value.rule.name;
    case 'route':
      return resource.value.route.name ?? '';
    default:
      return resource.value.name;
  }
}

/** Tenant a resource belongs to; empty for those of the installation. */
export function tenantOfResource(resource: Resource): string {
  if (resource.kind === 'gateway') return '';
  return resource.kind === 'tenant' ? resource.value.name : resource.value.tenant;
}

/** The plan of an apply, or the problems that forbid it: then nothing of it may be written. */
export function planApply(
  world: World,
  request: Pick<ApplyRequest, 'resources' | 'force'>,
  ids: IdMaker,
): { readonly plan: Plan; readonly problems: readonly Problem[] } {
  return new Planner(world, ids, request.force === true).run(request.resources);
}

/** A network while it is being put together. */
interface Draft {
  readonly path: string;
  readonly before: Stored<VirtualNetwork> | undefined;
  network: VirtualNetwork;
  /** Subnets whose prefixes or gateways broke a rule: ports in them are not judged by them. */
  readonly broken: Set<string>;
  readonly ports: Map<string, Port>;
  /** Names of ports the request speaks of. */
  readonly touched: Set<string>;
}

interface PendingChange {
  readonly resource: string;
  readonly describe: () => { readonly fields: FieldChange[]; readonly exists: boolean; readonly revision: number };
}

class Planner {
  readonly #world: World;
  readonly #ids: IdMaker;
  readonly #force: boolean;
  readonly #gateways: GatewayDrafts;
  readonly #problems = new Problems();
  readonly #tenants = new Map<string, PlannedWrite<Tenant>>();
  readonly #drafts = new Map<string, Draft>();
  readonly #ports: PlannedWrite<Port>[] = [];
  #moved: ReadonlyMap<string, PlannedWrite<VirtualNetwork>> = new Map();
  readonly #changes: (PendingChange | undefined)[] = [];

  constructor(world: World, ids: IdMaker, force: boolean) {
    this.#world = world;
    this.#ids = ids;
    this.#force = force;
    this.#gateways = new GatewayDrafts(world.gateway ?? EMPTY_GATEWAY_WORLD, ids);
  }

  run(resources: readonly Resource[]): { plan: Plan; problems: readonly Problem[] } {
    const fresh = this.#withoutDuplicates(resources);
    this.#each(fresh, 'tenant', ({ value }, i, problems) => this.#tenant(value.name, i, problems));
    this.#each(fresh, 'gateway', ({ value }, i, problems) => {
      const draft = this.#gateways.plan(value, this.#force, problems);
      if (draft === undefined) return;
      const { before, gateway } = draft;
      this.#note(i, problems, before?.revision, () =>
        diffFields('spec.', before && gatewaySpecView(before.value), gatewaySpecView(gateway)),
      );
    });
    this.#each(fresh, 'network', ({ value }, i, problems) => this.#network(value, i, problems));
    this.#each(fresh, 'subnet', ({ value }, i, problems) => this.#subnet(value, i, problems));
    this.#each(fresh, 'route', ({ value }, i, problems) => this.#route(value, i, problems));
    const connections = new ConnectionPlanner(this.#world.gateway ?? EMPTY_GATEWAY_WORLD, this.#gateways, this.#drafts, fresh);
    this.#moved = connections.moved;
    // A peering follows the shard that the network has by its other connections.
    for (const peerings of [false, true]) {
      this.#each(fresh, 'connection', ({ value }, i, problems) => {
        if ((value.mode === 'peering') !== peerings) return;
        this.#item(value, i, problems, (draft) => connections.connection(value, draft, problems));
      });
    }
    for (const draft of this.#drafts.values()) this.#checkSubnetsTogether(draft, fresh);
    this.#each(fresh, 'port', ({ value }, i, problems) => this.#port(value, i, problems));
    for (const draft of this.#drafts.values()) this.#checkPortsTogether(draft);
    this.#each(fresh, 'externalAddress', ({ value }, i, problems) =>
      this.#item(value, i, problems, (draft) => connections.externalAddress(value, draft, problems)),
    );
    this.#each(fresh, 'natRule', ({ value }, i, problems) =>
      this.#item(value, i, problems, (draft) => connections.natRule(value, draft, problems)),
    );
    for (const draft of this.#drafts.values()) {
      this.#checkRoutes(draft);
      if (draft.broken.size === 0) checkNetworkGateway(this.#problems, draft.network);
    }
    return { plan: this.#plan(), problems: this.#problems.list };
  }

  #each<K extends Resource['kind']>(
    resources: readonly (Resource | undefined)[],
    kind: K,
    visit: (resource: Extract<Resource, { kind: K }>, index: number, problems: ResourceProblems) => void,
  ): void {
    for (const [i, resource] of resources.entries()) {
      if (resource?.kind === kind) visit(resource as Extract<Resource, { kind: K }>, i, this.#problems.of(nameOfResource(resource)));
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

  #tenant(name: string, index: number, problems: ResourceProblems): void {
    if (!checkName(problems, 'metadata.name', name)) return;
    const before = this.#world.tenants.get(name);
    if (before === undefined) this.#tenants.set(name, { before, after: { id: this.#ids.tenant(name), name } });
    this.#changes[index] = {
      resource: problems.resource,
      describe: () => ({
        fields: before === undefined ? [{ path: 'metadata.name', before: '', after: name }] : [],
        exists: before !== undefined,
        revision: before?.revision ?? 0,
      }),
    };
  }

  /** A resource that is part of its network's document. */
  #item(
    spec: { readonly tenant: string; readonly network: string },
    index: number,
    problems: ResourceProblems,
    plan: (draft: Draft) => PlannedItem | undefined,
  ): void {
    const draft = this.#draftOf(spec.tenant, spec.network, problems);
    const item = draft && plan(draft);
    if (draft === undefined || item === undefined) return;
    this.#note(index, problems, item.exists ? (draft.before?.revision ?? 0) : undefined, item.fields);
  }

  /** @param revision Undefined: it does not exist yet. */
  #note(index: number, problems: ResourceProblems, revision: number | undefined, fields: () => FieldChange[]): void {
    const exists = revision !== undefined;
    this.#changes[index] = { resource: problems.resource, describe: () => ({ fields: fields(), exists, revision: revision ?? 0 }) };
  }

  #route(spec: RouteSpec, index: number, problems: ResourceProblems): void {
    const name = spec.route.name ?? '';
    if (!checkName(problems, 'metadata.name', name)) return;
    this.#item(spec, index, problems, (draft) => {
      const before = draft.network.routes.find((route) => route.name === name);
      const routes = draft.network.routes.map((route) => (route === before ? spec.route : route));
      if (before === undefined) routes.push(spec.route);
      draft.network = { ...draft.network, routes };
      return {
        exists: before !== undefined,
        fields: () => diffFields('spec.', before && routeSpecView(before), routeSpecView(spec.route)),
      };
    });
  }

  #network(spec: NetworkSpec, index: number, problems: ResourceProblems): void {
    const isNamed = checkName(problems, 'metadata.name', spec.name);
    if (!this.#world.tenants.has(spec.tenant) && !this.#tenants.has(spec.tenant)) {
      problems.add(
        'WEFT_ERR_RULE_TENANT_UNKNOWN',
        'metadata.tenant',
        spec.tenant,
        'must be a tenant that exists, or is in the same manifests',
        'add the Tenant',
      );
      return;
    }
    if (!isNamed) return;
    const path = networkPath(spec.tenant, spec.name);
    const before = this.#world.networks.get(path);
    const id = this.#routingDomainId(spec, before?.value, problems);
    const base: VirtualNetwork = before?.value ?? { id, tenant: spec.tenant, name: spec.name, networkId: 0, subnets: [], routes: [] };
    const named = base.routes.filter((route) => route.name !== undefined);
    const draft = this.#draft(path, before, { ...base, id, routes: [...spec.routes, ...named] });
    this.#changes[index] = {
      resource: problems.resource,
      describe: () => ({
        fields: diffFields('spec.', before && networkSpecView(before.value), networkSpecView(draft.network)),
        exists: before !== undefined,
        revision: before?.revision ?? 0,
      }),
    };
  }

  #routingDomainId(spec: NetworkSpec, before: VirtualNetwork | undefined, problems: ResourceProblems): string {
    const asked = spec.routingDomainId;
    const path = 'spec.routingDomainId';
    if (asked === '') return before?.id ?? this.#ids.network(spec.tenant, spec.name);
    if (!isGuid(asked) || /^[0-]*$/.test(asked)) {
      problems.add(
        'WEFT_ERR_RULE_RDID',
        path,
        asked,
        'must be a GUID in lower case without braces, not all zeros',
        'correct it, or leave it out',
      );
      return before?.id ?? this.#ids.network(spec.tenant, spec.name);
    }
    if (before !== undefined && before.id !== asked) {
      problems.add(
        'WEFT_ERR_RULE_IMMUTABLE',
        path,
        asked,
        `must stay ${before.id}`,
        'leave it out, or delete the network and make it again',
      );
      return before.id;
    }
    const owner = this.#world.rdidOwners.get(asked) ?? [...this.#drafts.values()].find((draft) => draft.network.id === asked)?.path;
    if (owner !== undefined && owner !== networkPath(spec.tenant, spec.name)) {
      problems.add('WEFT_ERR_RULE_RDID', path, asked, 'must not be the id of another network', 'take another, or leave it out');
    }
    return asked;
  }

  #draft(path: string, before: Stored<VirtualNetwork> | undefined, network: VirtualNetwork): Draft {
    const ports = new Map<string, Port>();
    for (const [portKey, { value }] of this.#world.ports) if (portKey.startsWith(`${path}/`)) ports.set(value.name, value);
    const draft: Draft = { path, before, network, broken: new Set(), ports, touched: new Set() };
    this.#drafts.set(path, draft);
    return draft;
  }

  /** The network that a subnet or a port is for. */
  #draftOf(tenant: string, name: string, problems: ResourceProblems): Draft | undefined {
    const path = networkPath(tenant, name);
    const draft = this.#drafts.get(path);
    if (draft !== undefined) return draft;
    const before = this.#world.networks.get(path);
    if (before !== undefined) return this.#draft(path, before, before.value);
    problems.add(
      'WEFT_ERR_RULE_NETWORK_UNKNOWN',
      'metadata.network',
      name,
      `must be a virtual network of tenant ${tenant} that exists, or is in the same manifests`,
      'add the VirtualNetwork',
    );
    return undefined;
  }

  #subnet(spec: SubnetSpec, index: number, problems: ResourceProblems): void {
    const named = checkName(problems, 'metadata.name', spec.name);
    const draft = this.#draftOf(spec.tenant, spec.network, problems);
    if (draft === undefined || !named) return;
    if (spec.name === GATEWAY_SUBNET_NAME) {
      problems.add(
        'WEFT_ERR_RULE_GATEWAY_SUBNET',
        'metadata.name',
        spec.name,
        `must not be ${GATEWAY_SUBNET_NAME}: Weft makes that subnet with the network's first connection`,
        'choose another name; its prefixes are gatewaySubnet of the GatewayConnection',
      );
      return;
    }
    const before = draft.before?.value.subnets.find((subnet) => subnet.name === spec.name);
    const prefixes = checkSubnetPrefixes(problems, spec.prefixes);
    const gateways = prefixes === undefined ? undefined : checkGateways(problems, prefixes, spec.gateways);
    const vsid = this.#vsid(spec, draft, before, problems);
    if (prefixes === undefined || gateways === undefined) draft.broken.add(spec.name);
    const after: VirtualSubnet = {
      name: spec.name,
      vsid: vsid ?? before?.vsid ?? 0,
      prefixes: [...spec.prefixes],
      gateways: gateways ?? [...spec.gateways],
    };
    const others = draft.network.subnets.filter((subnet) => subnet.name !== spec.name);
    const at = draft.network.subnets.findIndex((subnet) => subnet.name === spec.name);
    draft.network = { ...draft.network, subnets: at < 0 ? [...others, after] : draft.network.subnets.with(at, after) };
    if (at < 0 && draft.network.subnets.length > MAX_SUBNETS) {
      problems.add(
        'WEFT_ERR_RULE_LIMIT',
        'metadata.name',
        spec.name,
        `must be one of at most ${MAX_SUBNETS} virtual subnets of its network`,
        'split the network',
      );
    }
    this.#changes[index] = {
      resource: problems.resource,
      describe: () => ({
        fields: diffFields('spec.', before && subnetSpecView(before), subnetSpecView(after)),
        exists: before !== undefined,
        revision: draft.before?.revision ?? 0,
      }),
    };
  }

  /** The VSID; 0 when one is to be allocated; undefined when it broke a rule. */
  #vsid(spec: SubnetSpec, draft: Draft, before: VirtualSubnet | undefined, problems: ResourceProblems): number | undefined {
    if (spec.vsid === 0) return before?.vsid ?? 0;
    if (!checkVsidRange(problems, spec.vsid)) return undefined;
    if (before !== undefined && before.vsid !== spec.vsid) {
      problems.add(
        'WEFT_ERR_RULE_IMMUTABLE',
        'spec.vsid',
        spec.vsid,
        `must stay ${before.vsid}`,
        'leave it out, or delete the subnet and make it again',
      );
      return undefined;
    }
    if (before !== undefined) return spec.vsid;
    const holder =
      [...this.#drafts.values()].flatMap((other) =>
        other.network.subnets.filter((subnet) => subnet.vsid === spec.vsid).map((subnet) => `${other.path}/${subnet.name}`),
      )[0] ??
      (this.#world.vsidOwners.has(spec.vsid) && this.#world.vsidOwners.get(spec.vsid) !== draft.network.id ? 'another network' : undefined);
    if (holder === undefined) return spec.vsid;
    // Whose it is stays unsaid where it may be another tenant's.
    const whose = holder.startsWith(`${spec.tenant}/`) ? ` (${holder} has it)` : '';
    problems.add(
      'WEFT_ERR_RULE_VSID_USED',
      'spec.vsid',
      spec.vsid,
      `must not belong to another virtual subnet${whose}`,
      'take another, or leave it out',
    );
    return undefined;
  }

  #checkSubnetsTogether(draft: Draft, resources: readonly (Resource | undefined)[]): void {
    const sound = draft.network.subnets.filter((subnet) => !draft.broken.has(subnet.name));
    for (const overlap of overlapsOf(sound)) {
      const index = resources.findIndex(
        (resource) =>
          resource?.kind === 'subnet' &&
          networkPath(resource.value.tenant, resource.value.network) === draft.path &&
          resource.value.name === overlap.b,
      );
      if (overlap.a === GATEWAY_SUBNET_NAME || overlap.b === GATEWAY_SUBNET_NAME) {
        this.#gatewaySubnetOverlaps(draft, overlap, resources);
        continue;
      }
      // Tell it of the one that the request speaks of.
      const [name, text, other, otherText] =
        index >= 0 ? [overlap.b, overlap.bPrefix, overlap.a, overlap.aPrefix] : [overlap.a, overlap.aPrefix, overlap.b, overlap.bPrefix];
      const at = sound.find((subnet) => subnet.name === name)?.prefixes.indexOf(text) ?? 0;
      this.#problems
        .of(`VirtualSubnet ${draft.path}/${name}`)
        .add(
          'WEFT_ERR_RULE_PREFIX_OVERLAP',
          `spec.prefixes[${at}]`,
          text,
          `must not overlap ${otherText} of subnet ${other} in the same network`,
          'take another prefix',
        );
    }
  }

  /** Told of the subnet, if the request speaks of it and the gateway's stands; else of the connection. */
  #gatewaySubnetOverlaps(
    draft: Draft,
    overlap: { readonly a: string; readonly b: string; readonly aPrefix: string; readonly bPrefix: string },
    resources: readonly (Resource | undefined)[],
  ): void {
    const isFirst = overlap.a === GATEWAY_SUBNET_NAME;
    const [gateway, name, prefix] = isFirst ? [overlap.aPrefix, overlap.b, overlap.bPrefix] : [overlap.bPrefix, overlap.a, overlap.aPrefix];
    const connection = resources.find(
      (resource) => resource?.kind === 'connection' && networkPath(resource.value.tenant, resource.value.network) === draft.path,
    );
    const stands = draft.before?.value.subnets.some(isGatewaySubnet) === true;
    const code = 'WEFT_ERR_RULE_PREFIX_OVERLAP';
    if (connection !== undefined && !stands) {
      const rule = `must not overlap ${prefix} of subnet ${name}`;
      this.#problems.of(nameOfResource(connection)).add(code, 'spec.gatewaySubnet', gateway, rule, 'name other prefixes');
      return;
    }
    this.#problems
      .of(`VirtualSubnet ${draft.path}/${name}`)
      .add(code, 'spec.prefixes', prefix, `must not overlap ${gateway}, the subnet of the network's gateway`, 'take another prefix');
  }

  #port(spec: PortSpec, index: number, problems: ResourceProblems): void {
    const named = checkName(problems, 'metadata.name', spec.name);
    const draft = this.#draftOf(spec.tenant, spec.network, problems);
    if (draft === undefined || !named) return;
    const before = this.#world.ports.get(portPath(spec.tenant, spec.network, spec.name));
    draft.touched.add(spec.name);
    const placement = spec.placement ?? { mode: 'any' as const, hosts: [] };
    const placed = checkPlacement(problems, placement);
    const macGood = spec.mac === '' || checkMac(problems, 'spec.mac', spec.mac);
    const subnet = draft.network.subnets.find((one) => one.name === spec.subnet);
    if (subnet === undefined) {
      problems.add(
        'WEFT_ERR_RULE_SUBNET_UNKNOWN',
        'spec.subnet',
        spec.subnet,
        `must be a virtual subnet of network ${draft.path} that exists, or is in the same manifests`,
        'add the VirtualSubnet',
      );
      return;
    }
    if (isGatewaySubnet(subnet)) {
      problems.add(
        'WEFT_ERR_RULE_GATEWAY_SUBNET',
        'spec.subnet',
        spec.subnet,
        "must not be the subnet of the network's gateway: no port may be put there",
        'take another subnet',
      );
      return;
    }
    if (before !== undefined && before.value.subnet !== spec.subnet) {
      problems.add(
        'WEFT_ERR_RULE_IMMUTABLE',
        'spec.subnet',
        spec.subnet,
        `must stay ${before.value.subnet}`,
        'delete the port and make it again',
      );
      return;
    }
    const addressed = draft.broken.has(spec.subnet) || checkPortAddresses(problems, spec.addresses, subnet);
    const id = before?.value.id ?? this.#ids.port(draft.network.id, spec.name);
    const after: Port = {
      id,
      tenant: spec.tenant,
      network: spec.network,
      routingDomainId: draft.network.id,
      subnet: spec.subnet,
      vsid: subnet.vsid,
      name: spec.name,
      mac: spec.mac === '' ? derivedMac(id) : spec.mac,
      addresses: [...spec.addresses],
      placement: placement.mode === 'list' ? { mode: 'list', hosts: [...placement.hosts] } : { mode: placement.mode, hosts: [] },
    };
    // A port that broke a rule is not held against others.
    if (placed && macGood && addressed) draft.ports.set(spec.name, after);
    else draft.ports.delete(spec.name);
    const fields = diffFields('spec.', before && portSpecView(before.value), portSpecView(after));
    if (fields.length > 0) this.#ports.push({ before, after });
    this.#changes[index] = {
      resource: problems.resource,
      describe: () => ({ fields, exists: before !== undefined, revision: before?.revision ?? 0 }),
    };
  }

  /** Uniqueness in the network, and standing ports against subnets that the request changes. */
  #checkPortsTogether(draft: Draft): void {
    const byAddress = new Map<string, Port>();
    const byMac = new Map<string, Port>();
    const subnets = new Map(draft.network.subnets.map((subnet) => [subnet.name, subnet]));
    const changedSubnets = draft.network.subnets.filter((subnet) => {
      const before = draft.before?.value.subnets.find((one) => one.name === subnet.name);
      return before !== undefined && !draft.broken.has(subnet.name) && JSON.stringify(before) !== JSON.stringify(subnet);
    });
    const changed = new Set(changedSubnets.map((subnet) => subnet.name));
    // Standing ports first, so that the one spoken of is the one told.
    const ports = [...draft.ports.values()].sort((a, b) => Number(draft.touched.has(a.name)) - Number(draft.touched.has(b.name)));
    for (const port of ports) {
      const problems = this.#problems.of(`Port ${draft.path}/${port.name}`);
      for (const [i, address] of port.addresses.entries()) {
        const holder = byAddress.get(address);
        if (holder === undefined) byAddress.set(address, port);
        else if (holder !== port)
          problems.add(
            'WEFT_ERR_RULE_ADDRESS_USED',
            `spec.addresses[${i}]`,
            address,
            `must belong to one port of the network (${holder.name} has it)`,
            'take another address',
          );
      }
      const macKey = `${port.subnet} ${port.mac}`;
      const holder = byMac.get(macKey);
      if (holder === undefined) byMac.set(macKey, port);
      else
        problems.add(
          'WEFT_ERR_RULE_MAC_USED',
          'spec.mac',
          port.mac,
          `must belong to one port of subnet ${port.subnet} (${holder.name} has it)`,
          'take another, or leave it out',
        );

      const subnet = subnets.get(port.subnet);
      if (subnet === undefined || draft.touched.has(port.name) || !changed.has(port.subnet)) continue;
      const inPort = new Problems();
      if (checkPortAddresses(inPort.of(''), port.addresses, subnet)) continue;
      const values = inPort.list.map((problem) => problem.value);
      this.#problems
        .of(`VirtualSubnet ${draft.path}/${subnet.name}`)
        .add(
          'WEFT_ERR_RULE_IN_USE',
          'spec.prefixes',
          subnet.prefixes.join(', '),
          `must leave room for the addresses of its ports: ${port.name} has ${values.join(', ')}`,
          'change or delete the port first, or in the same manifests',
        );
    }
  }

  /** Routes by themselves, and against ports and subnets that may have changed under them. */
  #checkRoutes(draft: Draft): void {
    const prefixes = new Set(draft.network.subnets.flatMap((subnet) => subnet.prefixes));
    const unnamed = draft.network.routes.filter((route) => route.name === undefined);
    const network = this.#problems.of(`VirtualNetwork ${draft.path}`);
    if (checkRoutes(network, unnamed, prefixes))
      for (const [i, route] of unnamed.entries()) this.#checkNextHop(draft, route, `spec.routes[${i}]`, network);
    const seen = new Set(unnamed.map(({ prefix }) => prefix));
    for (const route of draft.network.routes) {
      if (route.name === undefined) continue;
      const told = this.#problems.of(`CustomerRoute ${draft.path}/${route.name}`);
      const own: ResourceProblems = {
        ...told,
        add: (code, path, value, rule, hint) => told.add(code, path.replace('spec.routes[0]', 'spec'), value, rule, hint),
      };
      if (seen.has(route.prefix))
        told.add('WEFT_ERR_RULE_ROUTE', 'spec.prefix', route.prefix, 'must be the prefix of one route of the network', 'remove one');
      seen.add(route.prefix);
      if (checkRoutes(own, [route], prefixes)) this.#checkNextHop(draft, route, 'spec', told);
    }
    if (draft.network.routes.length > MAX_ROUTES)
      network.add('WEFT_ERR_RULE_LIMIT', 'spec.routes', draft.network.routes.length, `must be at most ${MAX_ROUTES} routes`, 'delete some');
  }

  #checkNextHop(draft: Draft, route: CustomerRoute, path: string, problems: ResourceProblems): void {
    if (route.kind === 'gateway') {
      if (gatewayAddress(draft.network.gateway, isFamily4(route.prefix) ? 4 : 6) !== undefined) return;
      problems.add(
        'WEFT_ERR_RULE_CONNECTION_MISSING',
        path,
        route.prefix,
        'must be of a network with a connection to a gateway, of that family',
        'add a GatewayConnection',
      );
      return;
    }
    if (route.kind !== 'next-hop' || [...draft.ports.values()].some((port) => port.addresses.includes(route.nextHop))) return;
    problems.add(
      'WEFT_ERR_RULE_NEXT_HOP',
      `${path}.nextHop`,
      route.nextHop,
      `must be a customer address of a port of network ${draft.path}`,
      'add the port, or change the route',
    );
  }

  #plan(): Plan {
    const networks = [...this.#drafts.values()].flatMap((draft): PlannedWrite<VirtualNetwork>[] => {
      const same = draft.before !== undefined && JSON.stringify(canonical(draft.before.value)) === JSON.stringify(canonical(draft.network));
      return same ? [] : [{ before: draft.before, after: draft.network }];
    });
    return {
      tenants: [...this.#tenants.values()],
      networks: [...networks, ...[...this.#moved].flatMap(([path, write]) => (this.#drafts.has(path) ? [] : [write]))],
      ports: this.#ports,
      ...this.#gateways.writes(),
      changes: this.#changes.flatMap((pending): ResourceChange[] => {
        if (pending === undefined) return [];
        const { fields, exists, revision } = pending.describe();
        const action: ChangeAction = !exists ? 'created' : fields.length > 0 ? 'updated' : 'unchanged';
        return [{ action, resource: pending.resource, revision, fields }];
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
