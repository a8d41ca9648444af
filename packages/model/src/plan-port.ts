import type { PortSpec } from './commands.ts';
import { diffFields } from './diff.ts';
import { isGatewaySubnet } from './gateway-subnet.ts';
import type { NetworkDraft, PlannedItem } from './network-draft.ts';
import type { ResourceProblems } from './problems.ts';
import type { Port } from './records.ts';
import { checkMac, checkPlacement, checkPortAddresses, derivedMac } from './rules.ts';
import { portSpecView } from './specs.ts';
import { type IdMaker, type PlannedWrite, portPath, type World } from './world.ts';

/** A port has a document of its own. */
export interface PlannedPort extends PlannedItem {
  readonly write: PlannedWrite<Port> & { readonly after: Port };
}

/** What it has in common with others of its network is judged at the end, by rules-network.ts. */
export function planPort(
  spec: PortSpec,
  draft: NetworkDraft,
  { world, ids }: { readonly world: World; readonly ids: IdMaker },
  problems: ResourceProblems,
): PlannedPort | undefined {
  const before = world.ports.get(portPath(spec.tenant, spec.network, spec.name));
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
    return undefined;
  }
  if (isGatewaySubnet(subnet)) {
    problems.add(
      'WEFT_ERR_RULE_GATEWAY_SUBNET',
      'spec.subnet',
      spec.subnet,
      "must not be the subnet of the network's gateway: no port may be put there",
      'take another subnet',
    );
    return undefined;
  }
  if (before !== undefined && before.value.subnet !== spec.subnet) {
    problems.add(
      'WEFT_ERR_RULE_IMMUTABLE',
      'spec.subnet',
      spec.subnet,
      `must stay ${before.value.subnet}`,
      'delete the port and make it again',
    );
    return undefined;
  }
  const addressed = draft.broken.has(spec.subnet) || checkPortAddresses(problems, spec.addresses, subnet);
  const id = before?.value.id ?? ids.port(draft.network.id, spec.name);
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
  return {
    exists: before !== undefined,
    fields: () => diffFields('spec.', before && portSpecView(before.value), portSpecView(after)),
    write: { before, after },
  };
}
