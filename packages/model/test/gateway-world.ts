import {
  type Assignment,
  configKey,
  type DrainRequest,
  type FormerAssignment,
  type Gateway,
  type GatewayWorld,
  type Host,
  type IdMaker,
  networkPath,
  type Plan,
  type Port,
  type Problem,
  parseManifests,
  planApply,
  planDelete,
  planDrain,
  portPath,
  type ResourceRef,
  type Stored,
  type Tenant,
  type VirtualNetwork,
  type World,
} from '../src/index.ts';

// A world in memory with gateways: plans are made against it and written to it, as a controller would.

let serial = 0;
const guids = new Map<string, string>();
const guid = (name: string): string => {
  if (!guids.has(name)) guids.set(name, `0b8f5e0a-0000-4000-8000-${String(++serial).padStart(12, '0')}`);
  return guids.get(name)!;
};
export const ids: IdMaker = {
  tenant: (name) => guid(`t/${name}`),
  network: (tenant, name) => guid(`n/${tenant}/${name}`),
  port: (rdid, name) => guid(`p/${rdid}/${name}`),
  gateway: (name) => guid(`g/${name}`),
};

export function host(id: string, n: number): Host {
  return {
    id,
    providerAddress: `198.51.100.${n}`,
    publicKey: `N${id}`,
    encapsulations: ['vxlan'],
    engine: 'kernel',
    underlayMtu: 1600,
    version: '0',
    roles: ['host', 'gateway'],
    bootId: 'b',
    memories: [],
    externalLinks: [],
  };
}

export class GatewayMemory implements World {
  readonly tenants = new Map<string, Stored<Tenant>>();
  readonly networks = new Map<string, Stored<VirtualNetwork>>();
  readonly ports = new Map<string, Stored<Port>>();
  readonly bindings = new Map<string, never>();
  readonly gateways = new Map<string, Stored<Gateway>>();
  readonly assignments = new Map<string, Stored<Assignment>>();
  readonly former = new Map<string, FormerAssignment>();
  readonly hosts = new Map(['gw-a', 'gw-b', 'gw-c', 'host-w', 'host-x'].map((id, i) => [id, host(id, i + 1)]));
  #revision = 0;
  #vsid = 100_000;
  #networkId = 0;
  #number = 0;

  get networkNames(): Map<string, string[]> {
    const names = new Map<string, string[]>();
    for (const { value } of this.networks.values()) names.set(value.tenant, [...(names.get(value.tenant) ?? []), value.name]);
    return names;
  }
  readonly vsidOwners = new Map<number, string>();
  readonly rdidOwners = new Map<string, string>();

  get gateway(): GatewayWorld {
    const all = [...this.networks.values()];
    const held = new Map<string, string>();
    const loads = new Map<number, number>();
    const users = new Map<string, Stored<VirtualNetwork>[]>();
    for (const stored of all) {
      const { id, gateway } = stored.value;
      if (gateway === undefined) continue;
      loads.set(gateway.shard, (loads.get(gateway.shard) ?? 0) + 1);
      users.set(gateway.gatewayId, [...(users.get(gateway.gatewayId) ?? []), stored]);
      for (const one of gateway.externalAddresses) held.set(configKey.externalClaim(one.segmentId, one.address), id);
      for (const one of gateway.connections) {
        if (one.mode === 'forward') held.set(configKey.forwardClaim(one.segmentId), id);
        if (one.ipv6Prefix !== '') held.set(configKey.externalPrefixClaim(one.segmentId, one.ipv6Prefix), id);
      }
    }
    return {
      gateways: this.gateways,
      assignments: this.assignments,
      former: this.former,
      hosts: this.hosts,
      shardLoads: loads,
      networks: users,
      peers: this.networks,
      held,
      claimed: new Set(held.keys()),
      nextNumber: this.#number + 1,
    };
  }

  write(plan: Plan): void {
    const put = <T>(map: Map<string, Stored<T>>, key: string, value: T | undefined): void => {
      if (value === undefined) map.delete(key);
      else map.set(key, { value, revision: ++this.#revision });
    };
    for (const { before, after } of plan.tenants) put(this.tenants, (after ?? before!.value).name, after);
    for (const { before, after } of plan.gateways) put(this.gateways, (after ?? before!.value).name, after);
    for (const { before, after } of plan.assignments)
      if (after === undefined && before !== undefined)
        this.former.set(before.value.gatewayId, { incarnation: before.value.incarnation, configId: before.value.voters.configId });
    for (const { before, after } of plan.assignments) put(this.assignments, (after ?? before!.value).gatewayId, after);
    for (const { before, after } of plan.networks) {
      const { tenant, name } = after ?? before!.value;
      const subnets = after?.subnets.map((subnet) => ({ ...subnet, vsid: subnet.vsid || ++this.#vsid }));
      const value = after && { ...after, subnets: subnets!, networkId: after.networkId || ++this.#networkId };
      put(this.networks, networkPath(tenant, name), value);
    }
    for (const { before, after } of plan.ports) {
      const { tenant, network, name } = after ?? before!.value;
      const vsid = this.networks.get(networkPath(tenant, network))?.value.subnets.find((one) => one.name === after?.subnet)?.vsid ?? 0;
      put(this.ports, portPath(tenant, network, name), after && { ...after, vsid });
    }
    // Numbers are never used again: whatever stands has been taken.
    const taken = [
      ...[...this.gateways.values()].flatMap(({ value }) => [...value.segments, ...value.pools].map(({ id }) => id)),
      ...[...this.assignments.values()].flatMap(({ value }) => [
        ...value.shards.map(({ id }) => id),
        ...value.addresses.map((one) => one.natPool),
      ]),
      ...[...this.networks.values()].flatMap(({ value }) => [
        value.gateway?.ownPool ?? 0,
        ...(value.gateway?.externalAddresses ?? []).map(({ number }) => number),
      ]),
    ];
    this.#number = Math.max(this.#number, ...taken);
  }

  network(path: string): VirtualNetwork {
    return this.networks.get(path)!.value;
  }

  /** Applies manifests; nothing is written when something is wrong. */
  apply(text: string, options: { readonly force?: boolean } = {}): { codes: string[]; rules: string[]; plan: Plan; actions: string[] } {
    const { resources } = parseManifests([{ name: 'x.yaml', text }]);
    const { plan, problems } = planApply(this, { resources, force: options.force }, ids);
    if (problems.length === 0) this.write(plan);
    return {
      codes: problems.map(({ code, resource, path }) => `${code.replace('WEFT_ERR_', '')} ${resource.split(' ')[0]} ${path}`).sort(),
      rules: problems.map(({ rule }) => rule),
      plan,
      actions: plan.changes.map(({ action, resource }) => `${action} ${resource}`),
    };
  }

  /** Drains or undrains a member, as a controller would. */
  drain(request: DrainRequest): { problems: readonly Problem[]; plan: Plan } {
    const { plan, problems } = planDrain(this, request, ids);
    if (problems.length === 0) this.write(plan);
    return { problems, plan };
  }

  remove(...names: string[]): { codes: string[]; rules: string[] } {
    const refs = names.map((text): ResourceRef => {
      const [kind = '', path = ''] = text.split(' ');
      const parts = path.split('/');
      const name = parts.at(-1)!;
      return { kind, tenant: parts.length > 1 ? parts[0]! : '', network: parts.length > 2 ? parts[1]! : '', name };
    });
    const { plan, problems } = planDelete(this, { refs });
    if (problems.length === 0) this.write(plan);
    return {
      codes: problems.map(({ code, resource }) => `${code.replace('WEFT_ERR_', '')} ${resource}`),
      rules: problems.map(({ rule }) => rule),
    };
  }
}

export const GATEWAY = `
apiVersion: weft/v1
kind: Gateway
metadata: {name: edge}
spec:
  members:
    - {host: gw-a, interfaces: {internet: eth1, mpls: eth1.210}}
    - {host: gw-b, interfaces: {internet: eth1, mpls: eth2}}
  witnesses: [host-w]
  segments:
    - {name: internet, onLink: [203.0.113.0/24, '2001:db8:f00d::/64'], nextHops: [203.0.113.1, '2001:db8:f00d::1']}
    - {name: mpls, onLink: [192.168.0.0/24], nextHops: [192.168.0.1], tenants: [coke]}
  pools:
    - {name: public, segment: internet, addresses: [203.0.113.16/28, '2001:db8:f00d::100-2001:db8:f00d::1ff'], shared: 4, prefixes: ['2001:db8:aa00::/56', '2001:db8:bb00::/56']}
    - {name: gold, segment: internet, addresses: [203.0.113.64-203.0.113.66], tenants: [pepsi], shared: 0}
`;

/** A tenant with a network \`net\`: subnet blue 10.0.0.0/24, port vm 10.0.0.10. */
export function tenant(name: string, extra = ''): string {
  return `
apiVersion: weft/v1
kind: Tenant
metadata: {name: ${name}}
---
apiVersion: weft/v1
kind: VirtualNetwork
metadata: {tenant: ${name}, name: net}
---
apiVersion: weft/v1
kind: VirtualSubnet
metadata: {tenant: ${name}, network: net, name: blue}
spec: {prefixes: [10.0.0.0/24]}
---
apiVersion: weft/v1
kind: Port
metadata: {tenant: ${name}, network: net, name: vm}
spec: {subnet: blue, addresses: [10.0.0.10]}
${extra}`;
}

/** One document of a kind that belongs to a network. */
export function doc(kind: string, path: string, spec: string): string {
  const [tenantName, network, name] = path.split('/');
  return `---\napiVersion: weft/v1\nkind: ${kind}\nmetadata: {tenant: ${tenantName}, network: ${network}, name: ${name}}\nspec: {${spec}}\n`;
}
export const nat = (path: string, more = ''): string => doc('GatewayConnection', path, `gateway: edge, mode: nat, pool: public${more}`);
export const peering = (path: string, peer: string, offers: string, accepts: string): string =>
  doc('GatewayConnection', path, `gateway: edge, mode: peering, peer: ${peer}, offers: [${offers}], accepts: [${accepts}]`);
