import type { Resource } from './commands.ts';
import { GATEWAY_SUBNET_NAME, gatewayAddress, isGatewaySubnet } from './gateway-subnet.ts';
import type { NetworkDraft } from './network-draft.ts';
import { Problems, type ResourceProblems } from './problems.ts';
import type { CustomerRoute, Port } from './records.ts';
import { nameOfResource } from './resource-names.ts';
import { checkPortAddresses, checkRoutes, MAX_ROUTES, overlapsOf } from './rules.ts';
import { isFamily4 } from './rules-gateway.ts';
import { networkPath } from './world.ts';

// What must hold of a network as a whole, when all that the request says of it has been put together.

/**
 * Subnets must not overlap.
 *
 * @param resources Of the request: a problem is told of the one that it speaks of.
 */
export function checkSubnetsTogether(problems: Problems, draft: NetworkDraft, resources: readonly (Resource | undefined)[]): void {
  const sound = draft.network.subnets.filter((subnet) => !draft.broken.has(subnet.name));
  for (const overlap of overlapsOf(sound)) {
    const index = resources.findIndex(
      (resource) =>
        resource?.kind === 'subnet' &&
        networkPath(resource.value.tenant, resource.value.network) === draft.path &&
        resource.value.name === overlap.b,
    );
    if (overlap.a === GATEWAY_SUBNET_NAME || overlap.b === GATEWAY_SUBNET_NAME) {
      gatewaySubnetOverlaps(problems, draft, overlap, resources);
      continue;
    }
    // Tell it of the one that the request speaks of.
    const [name, text, other, otherText] =
      index >= 0 ? [overlap.b, overlap.bPrefix, overlap.a, overlap.aPrefix] : [overlap.a, overlap.aPrefix, overlap.b, overlap.bPrefix];
    const at = sound.find((subnet) => subnet.name === name)?.prefixes.indexOf(text) ?? 0;
    problems
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
function gatewaySubnetOverlaps(
  problems: Problems,
  draft: NetworkDraft,
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
    problems.of(nameOfResource(connection)).add(code, 'spec.gatewaySubnet', gateway, rule, 'name other prefixes');
    return;
  }
  problems
    .of(`VirtualSubnet ${draft.path}/${name}`)
    .add(code, 'spec.prefixes', prefix, `must not overlap ${gateway}, the subnet of the network's gateway`, 'take another prefix');
}

/** Uniqueness in the network, and standing ports against subnets that the request changes. */
export function checkPortsTogether(problems: Problems, draft: NetworkDraft): void {
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
    const told = problems.of(`Port ${draft.path}/${port.name}`);
    for (const [i, address] of port.addresses.entries()) {
      const holder = byAddress.get(address);
      if (holder === undefined) byAddress.set(address, port);
      else if (holder !== port)
        told.add(
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
      told.add(
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
    problems
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
export function checkRoutesTogether(problems: Problems, draft: NetworkDraft): void {
  const prefixes = new Set(draft.network.subnets.flatMap((subnet) => subnet.prefixes));
  const unnamed = draft.network.routes.filter((route) => route.name === undefined);
  const network = problems.of(`VirtualNetwork ${draft.path}`);
  if (checkRoutes(network, unnamed, prefixes))
    for (const [i, route] of unnamed.entries()) checkNextHop(draft, route, `spec.routes[${i}]`, network);
  const seen = new Set(unnamed.map(({ prefix }) => prefix));
  for (const route of draft.network.routes) {
    if (route.name === undefined) continue;
    const told = problems.of(`CustomerRoute ${draft.path}/${route.name}`);
    const own: ResourceProblems = {
      ...told,
      add: (code, path, value, rule, hint) => told.add(code, path.replace('spec.routes[0]', 'spec'), value, rule, hint),
    };
    if (seen.has(route.prefix))
      told.add('WEFT_ERR_RULE_ROUTE', 'spec.prefix', route.prefix, 'must be the prefix of one route of the network', 'remove one');
    seen.add(route.prefix);
    if (checkRoutes(own, [route], prefixes)) checkNextHop(draft, route, 'spec', told);
  }
  if (draft.network.routes.length > MAX_ROUTES)
    network.add('WEFT_ERR_RULE_LIMIT', 'spec.routes', draft.network.routes.length, `must be at most ${MAX_ROUTES} routes`, 'delete some');
}

function checkNextHop(draft: NetworkDraft, route: CustomerRoute, path: string, problems: ResourceProblems): void {
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
