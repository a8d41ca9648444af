import type { NetworkSpec, RouteSpec, SubnetSpec } from './commands.ts';
import { diffFields } from './diff.ts';
import { GATEWAY_SUBNET_NAME } from './gateway-subnet.ts';
import { isGuid } from './keys.ts';
import { type NetworkDraft, type NetworkDrafts, type PlannedItem, replaced } from './network-draft.ts';
import type { ResourceProblems } from './problems.ts';
import type { VirtualNetwork, VirtualSubnet } from './records.ts';
import { checkGateways, checkSubnetPrefixes, checkVsidRange, MAX_SUBNETS } from './rules.ts';
import { networkSpecView, routeSpecView, subnetSpecView } from './specs.ts';
import { type IdMaker, networkPath, type World } from './world.ts';

// What makes up a network's document: itself, its subnets, its named routes. What must hold of them together is judged at the end, by
// rules-network.ts.

/** What standing and coming documents a network is planned against. */
export interface NetworkContext {
  readonly world: World;
  readonly ids: IdMaker;
  readonly drafts: NetworkDrafts;
}

/** Begins the network's draft. The tenant is there, and the name is valid. */
export function planNetwork(spec: NetworkSpec, context: NetworkContext, problems: ResourceProblems): PlannedItem {
  const path = networkPath(spec.tenant, spec.name);
  const before = context.world.networks.get(path);
  const id = routingDomainId(spec, before?.value, context, problems);
  const base: VirtualNetwork = before?.value ?? { id, tenant: spec.tenant, name: spec.name, networkId: 0, subnets: [], routes: [] };
  const named = base.routes.filter((route) => route.name !== undefined);
  const draft = context.drafts.begin(path, before, { ...base, id, routes: [...spec.routes, ...named] });
  return {
    exists: before !== undefined,
    fields: () => diffFields('spec.', before && networkSpecView(before.value), networkSpecView(draft.network)),
  };
}

function routingDomainId(
  spec: NetworkSpec,
  before: VirtualNetwork | undefined,
  { world, ids, drafts }: NetworkContext,
  problems: ResourceProblems,
): string {
  const asked = spec.routingDomainId;
  const path = 'spec.routingDomainId';
  if (asked === '') return before?.id ?? ids.network(spec.tenant, spec.name);
  if (!isGuid(asked) || /^[0-]*$/.test(asked)) {
    problems.add(
      'WEFT_ERR_RULE_RDID',
      path,
      asked,
      'must be a GUID in lower case without braces, not all zeros',
      'correct it, or leave it out',
    );
    return before?.id ?? ids.network(spec.tenant, spec.name);
  }
  if (before !== undefined && before.id !== asked) {
    problems.add('WEFT_ERR_RULE_IMMUTABLE', path, asked, `must stay ${before.id}`, 'leave it out, or delete the network and make it again');
    return before.id;
  }
  const owner = world.rdidOwners.get(asked) ?? drafts.all.find((draft) => draft.network.id === asked)?.path;
  if (owner !== undefined && owner !== networkPath(spec.tenant, spec.name)) {
    problems.add('WEFT_ERR_RULE_RDID', path, asked, 'must not be the id of another network', 'take another, or leave it out');
  }
  return asked;
}

export function planSubnet(
  spec: SubnetSpec,
  draft: NetworkDraft,
  context: NetworkContext,
  problems: ResourceProblems,
): PlannedItem | undefined {
  if (spec.name === GATEWAY_SUBNET_NAME) {
    problems.add(
      'WEFT_ERR_RULE_GATEWAY_SUBNET',
      'metadata.name',
      spec.name,
      `must not be ${GATEWAY_SUBNET_NAME}: Weft makes that subnet with the network's first connection`,
      'choose another name; its prefixes are gatewaySubnet of the GatewayConnection',
    );
    return undefined;
  }
  const before = draft.before?.value.subnets.find((subnet) => subnet.name === spec.name);
  const prefixes = checkSubnetPrefixes(problems, spec.prefixes);
  const gateways = prefixes === undefined ? undefined : checkGateways(problems, prefixes, spec.gateways);
  const vsid = subnetVsid(spec, draft, before, context, problems);
  if (prefixes === undefined || gateways === undefined) draft.broken.add(spec.name);
  const after: VirtualSubnet = {
    name: spec.name,
    vsid: vsid ?? before?.vsid ?? 0,
    prefixes: [...spec.prefixes],
    gateways: gateways ?? [...spec.gateways],
  };
  const known = draft.network.subnets.find((subnet) => subnet.name === spec.name);
  draft.network = { ...draft.network, subnets: replaced(draft.network.subnets, known, after) };
  if (known === undefined && draft.network.subnets.length > MAX_SUBNETS) {
    problems.add(
      'WEFT_ERR_RULE_LIMIT',
      'metadata.name',
      spec.name,
      `must be one of at most ${MAX_SUBNETS} virtual subnets of its network`,
      'split the network',
    );
  }
  return { exists: before !== undefined, fields: () => diffFields('spec.', before && subnetSpecView(before), subnetSpecView(after)) };
}

/** The VSID; 0 when one is to be allocated; undefined when it broke a rule. */
function subnetVsid(
  spec: SubnetSpec,
  draft: NetworkDraft,
  before: VirtualSubnet | undefined,
  { world, drafts }: NetworkContext,
  problems: ResourceProblems,
): number | undefined {
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
    drafts.all.flatMap((other) =>
      other.network.subnets.filter((subnet) => subnet.vsid === spec.vsid).map((subnet) => `${other.path}/${subnet.name}`),
    )[0] ?? (world.vsidOwners.has(spec.vsid) && world.vsidOwners.get(spec.vsid) !== draft.network.id ? 'another network' : undefined);
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

export function planRoute({ route }: RouteSpec, draft: NetworkDraft): PlannedItem {
  const before = draft.network.routes.find(({ name }) => name === route.name);
  draft.network = { ...draft.network, routes: replaced(draft.network.routes, before, route) };
  return { exists: before !== undefined, fields: () => diffFields('spec.', before && routeSpecView(before), routeSpecView(route)) };
}
