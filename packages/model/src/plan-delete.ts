import type { DeleteRequest, Problem, ResourceChange, ResourceRef } from './commands.ts';
import { Problems, type ResourceProblems } from './problems.ts';
import type { Port, Tenant, VirtualNetwork } from './records.ts';
import { networkPath, type Plan, type PlannedWrite, portPath, type World } from './world.ts';

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

  const staying = (path: string): Port[] =>
    [...world.ports].filter(([key]) => key.startsWith(`${path}/`) && !going.has(`Port ${key}`)).map(([, { value }]) => value);
  const found = (ref: ResourceRef, revision: number): void => {
    changes.push({ action: 'deleted', resource: nameOfRef(ref), revision, fields: [] });
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
        const subnets = before.value.subnets.map((subnet) => subnet.name).filter((name) => !going.has(`VirtualSubnet ${path}/${name}`));
        if (subnets.length > 0) inUse(at, ref.name, 'virtual subnets', subnets);
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
        const base = networks.get(path)?.after ?? before.value;
        networks.set(path, { before, after: { ...base, subnets: base.subnets.filter((subnet) => subnet.name !== ref.name) } });
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
        at.add('WEFT_ERR_MANIFEST_KIND', 'kind', ref.kind, 'must be Tenant, VirtualNetwork, VirtualSubnet or Port', 'correct it');
    }
  }
  return { plan: { tenants, networks: [...networks.values()], ports, changes }, problems: problems.list };
}

function notFound(at: ResourceProblems, name: string): void {
  at.add('WEFT_ERR_RULE_NOT_FOUND', 'metadata.name', name, 'must exist', 'see `weft get`');
}

function inUse(at: ResourceProblems, name: string, what: string, users: readonly string[]): void {
  const named = users.slice(0, MAX_NAMED).join(', ') + (users.length > MAX_NAMED ? ` and ${users.length - MAX_NAMED} more` : '');
  at.add('WEFT_ERR_RULE_IN_USE', 'metadata.name', name, `must have no ${what} left: ${named}`, `delete them first, or in the same command`);
}
