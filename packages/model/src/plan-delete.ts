import { withAddresses } from './assignment.ts';
import type { DeleteRequest, Problem, ResourceChange, ResourceRef } from './commands.ts';
import type { Assignment, ExternalAddress, Gateway, NetworkGateway } from './gateway-records.ts';
import { GATEWAY_SUBNET_NAME, isGatewaySubnet } from './gateway-subnet.ts';
import { wantedAddress } from './plan-external.ts';
import { Problems, type ResourceProblems } from './problems.ts';
import type { Port, Tenant, VirtualNetwork } from './records.ts';
import { lies } from './rules-gateway.ts';
import { isCustomerAddress } from './rules-network-gateway.ts';
import { EMPTY_GATEWAY_WORLD, networkPath, type Plan, type PlannedWrite, portPath, type Stored, type World } from './world.ts';

/** `Port coke/net/web1` */
export function nameOfRef(ref: ResourceRef): string {
  return `${ref.kind} ${[ref.tenant, ref.network, ref.name].filter((part) => part !== '').join('/')}`;
}

/** Tenant a reference belongs to. */
export function tenantOfRef(ref: ResourceRef): string {
  return ref.kind === 'Tenant' ? ref.name : ref.tenant;
}

const MAX_NAMED = 5;

/**
 * The plan of a deletion, or the problems that forbid it. Uses are judged by what is left after the whole request, so that a network may
 * be deleted together with its ports.
 */
export function planDelete(
  world: World,
  request: Pick<DeleteRequest, 'refs'>,
): { readonly plan: Plan; readonly problems: readonly Problem[] } {
  const problems = new Problems();
  const refs = request.refs.filter((ref, i, all) => {
    const first = all.findIndex((other) => nameOfRef(other) === nameOfRef(ref)) === i;
    if (!first)
      problems.of(nameOfRef(ref)).add('WEFT_ERR_RULE_DUPLICATE', 'metadata.name', ref.name, 'must be there once', 'remove one of the two');
    return first;
  });
  const going = new Set(refs.map(nameOfRef));
  const tenants: PlannedWrite<Tenant>[] = [];
  const networks = new Map<string, PlannedWrite<VirtualNetwork>>();
  const ports: PlannedWrite<Port>[] = [];
  const changes: ResourceChange[] = [];
  const gateways: PlannedWrite<Gateway>[] = [];
  const assignments = new Map<string, PlannedWrite<Assignment>>();
  const around = world.gateway ?? EMPTY_GATEWAY_WORLD;

  const staying = (path: string): Port[] =>
    [...world.ports].filter(([key]) => key.startsWith(`${path}/`) && !going.has(`Port ${key}`)).map(([, { value }]) => value);
  const found = (ref: ResourceRef, revision: number): void => {
    changes.push({ action: 'deleted', resource: nameOfRef(ref), revision, fields: [] });
  };

  const edit = (before: Stored<VirtualNetwork>, path: string, change: (base: VirtualNetwork) => VirtualNetwork): VirtualNetwork => {
    const after = change(networks.get(path)?.after ?? before.value);
    networks.set(path, { before, after });
    return after;
  };
  const freeAddress = (of: NetworkGateway, external: ExternalAddress): void => {
    const before = around.assignments.get(of.gatewayId);
    if (before === undefined) return;
    const base = assignments.get(of.gatewayId)?.after ?? before.value;
    assignments.set(of.gatewayId, { before, after: withAddresses(base, [], [wantedAddress(external, of.shard)]) });
  };

  for (const ref of refs) {
    const at = problems.of(nameOfRef(ref));
    switch (ref.kind) {
      case 'Tenant': {
        const before = world.tenants.get(ref.name);
        if (before === undefined) {
          notFound(at, ref.name);
          break;
        }
        const left = (world.networkNames.get(ref.name) ?? []).filter((name) => !going.has(`VirtualNetwork ${ref.name}/${name}`));
        if (left.length > 0) inUse(at, ref.name, 'virtual networks', left);
        tenants.push({ before, after: undefined });
        found(ref, before.revision);
        break;
      }
      case 'VirtualNetwork': {
        const path = networkPath(ref.tenant, ref.name);
        const before = world.networks.get(path);
        if (before === undefined) {
          notFound(at, ref.name);
          break;
        }
        const stays = (kind: string, items: readonly { readonly name: string }[]): string[] =>
          items.map((item) => item.name).filter((name) => !going.has(`${kind} ${path}/${name}`));
        const own = before.value.subnets.filter((subnet) => !isGatewaySubnet(subnet));
        const of = before.value.gateway;
        for (const [what, left] of [
          ['virtual subnets', stays('VirtualSubnet', own)],
          ['NAT rules', stays('NatRule', of?.natRules ?? [])],
          ['external addresses', stays('ExternalAddress', of?.externalAddresses ?? [])],
          ['connections', stays('GatewayConnection', of?.connections ?? [])],
        ] as const)
          if (left.length > 0) inUse(at, ref.name, what, left);
        const left = staying(path);
        if (left.length > 0)
          inUse(
            at,
            ref.name,
            'ports',
            left.map((port) => port.name),
          );
        networks.set(path, { before, after: undefined });
        found(ref, before.revision);
        break;
      }
      case 'VirtualSubnet': {
        const path = networkPath(ref.tenant, ref.network);
        const before = world.networks.get(path);
        if (before === undefined || !before.value.subnets.some((subnet) => subnet.name === ref.name)) {
          notFound(at, ref.name);
          break;
        }
        const left = staying(path).filter((port) => port.subnet === ref.name);
        if (left.length > 0)
          inUse(
            at,
            ref.name,
            'ports',
            left.map((port) => port.name),
          );
        found(ref, before.revision);
        if (going.has(`VirtualNetwork ${path}`)) break;
        if (ref.name === GATEWAY_SUBNET_NAME) {
          at.add(
            'WEFT_ERR_RULE_GATEWAY_SUBNET',
            'metadata.name',
            ref.name,
            "must not be the subnet of the network's gateway",
            "delete the network's connections: it goes with the last of them",
          );
          break;
        }
        const after = edit(before, path, (base) => ({ ...base, subnets: base.subnets.filter((subnet) => subnet.name !== ref.name) }));
        const users = usersOfSubnet(before.value, after, going, path);
        if (users.length > 0) inUse(at, ref.name, 'users', users);
        break;
      }
      case 'CustomerRoute':
      case 'GatewayConnection':
      case 'ExternalAddress':
      case 'NatRule': {
        const path = networkPath(ref.tenant, ref.network);
        const before = world.networks.get(path);
        const known = before && itemsOf(before.value, ref.kind as ItemKind).some(({ name }) => name === ref.name);
        if (before === undefined || !known) {
          notFound(at, ref.name);
          break;
        }
        if (!going.has(`VirtualNetwork ${path}`)) {
          const users = usersOfItem(before.value, ref, going, path);
          if (users.length > 0) inUse(at, ref.name, 'users', users);
          edit(before, path, (base) => withoutItem(base, ref.kind as ItemKind, ref.name));
        }
        const external = before.value.gateway?.externalAddresses.find(({ name }) => name === ref.name);
        if (ref.kind === 'ExternalAddress' && external !== undefined) freeAddress(before.value.gateway!, external);
        found(ref, before.revision);
        break;
      }
      case 'Gateway': {
        const before = around.gateways.get(ref.name);
        if (before === undefined) {
          notFound(at, ref.name);
          break;
        }
        const left = (around.networks.get(before.value.id) ?? []).map(({ value }) => networkPath(value.tenant, value.name)).sort();
        if (left.length > 0) inUse(at, ref.name, 'networks', left);
        gateways.push({ before, after: undefined });
        const assigned = around.assignments.get(before.value.id);
        if (assigned !== undefined) assignments.set(before.value.id, { before: assigned, after: undefined });
        found(ref, before.revision);
        break;
      }
      case 'Port': {
        const path = networkPath(ref.tenant, ref.network);
        const before = world.ports.get(portPath(ref.tenant, ref.network, ref.name));
        if (before === undefined) {
          notFound(at, ref.name);
          break;
        }
        const binding = world.bindings.get(before.value.id);
        if (binding?.state === 'bound') {
          at.add(
            'WEFT_ERR_RULE_IN_USE',
            'metadata.name',
            ref.name,
            `must not be bound: host ${binding.hostId} has it on ${binding.device}`,
            'unbind it first: `weft port unbind`',
          );
        }
        if (!going.has(`VirtualNetwork ${path}`)) {
          const routes = world.networks.get(path)?.value.routes ?? [];
          const users = routes.filter((route) => route.kind === 'next-hop' && before.value.addresses.includes(route.nextHop));
          if (users.length > 0) {
            at.add(
              'WEFT_ERR_RULE_IN_USE',
              'metadata.name',
              ref.name,
              `must not be a next hop: the network's routes to ${users.map((route) => route.prefix).join(', ')} lead to it`,
              'remove the routes first',
            );
          }
        }
        ports.push({ before, after: undefined });
        found(ref, before.revision);
        break;
      }
      default:
        at.add('WEFT_ERR_MANIFEST_KIND', 'kind', ref.kind, 'must be a kind that has manifests', 'correct it');
    }
  }
  const plan = { tenants, networks: [...networks.values()], ports, gateways, assignments: [...assignments.values()], changes };
  return { plan, problems: problems.list };
}

type ItemKind = 'CustomerRoute' | 'GatewayConnection' | 'ExternalAddress' | 'NatRule';

function itemsOf(network: VirtualNetwork, kind: ItemKind): readonly { readonly name?: string | undefined }[] {
  switch (kind) {
    case 'CustomerRoute':
      return network.routes.filter((route) => route.name !== undefined);
    case 'GatewayConnection':
      return network.gateway?.connections ?? [];
    case 'ExternalAddress':
      return network.gateway?.externalAddresses ?? [];
    case 'NatRule':
      return network.gateway?.natRules ?? [];
  }
}

/** With the last connection go the gateway's subnet and all that the network had of the gateway. */
function withoutItem(network: VirtualNetwork, kind: ItemKind, name: string): VirtualNetwork {
  const rest = <T extends { readonly name?: string | undefined }>(items: readonly T[]): T[] => items.filter((item) => item.name !== name);
  if (kind === 'CustomerRoute') return { ...network, routes: rest(network.routes) };
  const of = network.gateway;
  if (of === undefined) return network;
  if (kind === 'ExternalAddress') return { ...network, gateway: { ...of, externalAddresses: rest(of.externalAddresses) } };
  if (kind === 'NatRule') return { ...network, gateway: { ...of, natRules: rest(of.natRules) } };
  const connections = rest(of.connections);
  if (connections.length > 0) return { ...network, gateway: { ...of, connections } };
  return { ...network, gateway: undefined, subnets: network.subnets.filter((subnet) => !isGatewaySubnet(subnet)) };
}

/** What rests on a connection or an external address, and does not go with it. */
function usersOfItem(network: VirtualNetwork, ref: ResourceRef, going: ReadonlySet<string>, path: string): string[] {
  const of = network.gateway;
  if (of === undefined || ref.kind === 'NatRule' || ref.kind === 'CustomerRoute') return [];
  const staying = <T extends { readonly name: string }>(kind: ItemKind, items: readonly T[]): T[] =>
    items.filter((item) => !going.has(`${kind} ${path}/${item.name}`));
  const name = (kind: ItemKind) => (item: { readonly name?: string | undefined }) => `${kind} ${path}/${item.name ?? ''}`;
  const rules = staying('NatRule', of.natRules);
  if (ref.kind === 'ExternalAddress') return rules.filter((rule) => rule.externalAddress === ref.name).map(name('NatRule'));
  const users: string[] = [];
  if (of.connections.find((one) => one.name === ref.name)?.mode === 'nat') users.push(...rules.map(name('NatRule')));
  if (staying('GatewayConnection', of.connections).length > 0) return users;
  users.push(...staying('ExternalAddress', of.externalAddresses).map(name('ExternalAddress')));
  for (const route of network.routes) {
    if (route.kind !== 'gateway' || (route.name !== undefined && going.has(`CustomerRoute ${path}/${route.name}`))) continue;
    users.push(route.name === undefined ? `route to ${route.prefix}` : `CustomerRoute ${path}/${route.name}`);
  }
  return users;
}

/** NAT rules whose target, and peerings whose offer, lies in a subnet that goes. */
function usersOfSubnet(before: VirtualNetwork, after: VirtualNetwork, going: ReadonlySet<string>, path: string): string[] {
  const of = before.gateway;
  if (of === undefined) return [];
  const rules = of.natRules.filter(
    (rule) => rule.kind !== 'snat' && isCustomerAddress(before, rule.customerAddress) && !isCustomerAddress(after, rule.customerAddress),
  );
  const routed = after.routes.filter(({ kind }) => kind === 'next-hop').map(({ prefix }) => prefix);
  const left = [...after.subnets.flatMap((subnet) => subnet.prefixes), ...routed];
  const peerings = of.connections.filter((one) => one.offers.some((prefix) => !left.some((each) => lies(each, prefix))));
  return [...rules.map(({ name }) => `NatRule ${path}/${name}`), ...peerings.map(({ name }) => `GatewayConnection ${path}/${name}`)].filter(
    (user) => !going.has(user),
  );
}

function notFound(at: ResourceProblems, name: string): void {
  at.add('WEFT_ERR_RULE_NOT_FOUND', 'metadata.name', name, 'must exist', 'see `weft get`');
}

function inUse(at: ResourceProblems, name: string, what: string, users: readonly string[]): void {
  const named = users.slice(0, MAX_NAMED).join(', ') + (users.length > MAX_NAMED ? ` and ${users.length - MAX_NAMED} more` : '');
  at.add('WEFT_ERR_RULE_IN_USE', 'metadata.name', name, `must have no ${what} left: ${named}`, `delete them first, or in the same command`);
}
