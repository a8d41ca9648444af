import { parsePrefix, prefixesOverlap } from '@weft/packet';
import type { ConnectionSpec } from './commands.ts';
import type { GatewayConnection, GatewayQuota, NatRule, NetworkGateway } from './gateway-records.ts';
import { gatewayAddress, ownSubnets } from './gateway-subnet.ts';
import { Problems, type ResourceProblems } from './problems.ts';
import type { VirtualNetwork } from './records.ts';
import { checkAddress, checkPortAddresses, checkPrefixText, isName } from './rules.ts';
import { isFamily4, lies } from './rules-gateway.ts';

// The rules for what a network has of a gateway: a connection's own fields, and what must hold of the network as a whole.

export const MAX_CONNECTIONS = 64;
export const MAX_EXTERNAL_ADDRESSES = 256;
export const MAX_NAT_RULES = 512;
export const MAX_FORWARDED_PORTS = 1_024;
/** External ports below this are in no block: never given out by mapping. */
const FIRST_BLOCK_PORT = 1_024;
const MAX_PREFIXES = 256;
/** Of all connections of a network together: its document has to fit in a message twice, as it was and as it is. */
export const MAX_CONNECTION_PREFIXES = 1_024;
const DEFAULT_QUOTA: GatewayQuota = { blocks: 64, flows: 65_536, newFlowsPerSecond: 10_000 };
const IPV4_DEFAULT = '0.0.0.0/0';
const IPV6_DEFAULT = '::/0';

/** What each mode takes besides gateway, mode and gatewaySubnet. */
const FIELDS: Readonly<Record<ConnectionSpec['mode'], { readonly must: readonly string[]; readonly may: readonly string[] }>> = {
  nat: { must: ['pool'], may: ['routes', 'ipv6', 'ipv6Inside', 'ipv6Prefix', 'quota'] },
  forward: { must: ['segment'], may: ['routes'] },
  peering: { must: ['peer', 'offers', 'accepts'], may: [] },
};

/** Form and presence of a connection's fields. */
export function checkConnectionFields(problems: ResourceProblems, spec: ConnectionSpec): void {
  const given: Readonly<Record<string, boolean>> = {
    routes: spec.routes !== undefined,
    pool: spec.pool !== '',
    segment: spec.segment !== '',
    ipv6: spec.ipv6 !== 'none',
    ipv6Inside: spec.ipv6Inside !== '',
    ipv6Prefix: spec.ipv6Prefix !== '',
    peer: spec.peerTenant !== '' || spec.peerNetwork !== '',
    offers: spec.offers.length > 0,
    accepts: spec.accepts.length > 0,
    quota: spec.quota.blocks > 0 || spec.quota.flows > 0 || spec.quota.newFlowsPerSecond > 0,
  };
  const { must, may } = FIELDS[spec.mode];
  for (const [field, there] of Object.entries(given)) {
    const path = `spec.${field}`;
    if (must.includes(field) && !there) problems.add('WEFT_ERR_RULE_CONNECTION', path, '', `must be there for mode ${spec.mode}`, 'add it');
    if (!must.includes(field) && !may.includes(field) && there)
      problems.add('WEFT_ERR_RULE_CONNECTION', path, field, `must be absent for mode ${spec.mode}`, 'remove it');
  }
  if (given['peer'] && !(isName(spec.peerTenant) && isName(spec.peerNetwork)))
    problems.add('WEFT_ERR_RULE_NAME', 'spec.peer', `${spec.peerTenant}/${spec.peerNetwork}`, 'must be tenant/network', 'correct it');
  for (const [field, texts] of [
    ['routes', spec.routes ?? []],
    ['offers', spec.offers],
    ['accepts', spec.accepts],
  ] as const)
    checkPrefixes(problems, `spec.${field}`, texts);
  for (const field of ['ipv6Inside', 'ipv6Prefix'] as const)
    if (spec[field] !== '') checkPrefixText(problems, `spec.${field}`, spec[field], 'WEFT_ERR_RULE_PREFIX');
  checkIpv6Fields(problems, spec);
}

function checkIpv6Fields(problems: ResourceProblems, spec: ConnectionSpec): void {
  const wants = { none: [false, false], nat66: [false, false], forward: [false, true], nptv6: [true, true] }[spec.ipv6];
  if (spec.mode !== 'nat') return;
  for (const [i, field] of (['ipv6Inside', 'ipv6Prefix'] as const).entries()) {
    if ((spec[field] !== '') === wants[i]) continue;
    const rule = `must be ${wants[i] ? 'there' : 'absent'} for ipv6 ${spec.ipv6}`;
    problems.add('WEFT_ERR_RULE_CONNECTION', `spec.${field}`, spec[field], rule, wants[i] ? 'add it' : 'remove it');
  }
  if (spec.ipv6 !== 'nptv6' || !isPrefix(spec.ipv6Inside) || !isPrefix(spec.ipv6Prefix)) return;
  const [inside, outside] = [parsePrefix(spec.ipv6Inside), parsePrefix(spec.ipv6Prefix)];
  if (inside.family !== 6 || inside.length !== outside.length)
    problems.add(
      'WEFT_ERR_RULE_IPV6_PREFIX',
      'spec.ipv6Inside',
      spec.ipv6Inside,
      `must be an IPv6 prefix of ${outside.length} bits, as ipv6Prefix`,
      'correct it',
    );
}

function checkPrefixes(problems: ResourceProblems, path: string, texts: readonly string[]): void {
  if (texts.length > MAX_PREFIXES)
    problems.add('WEFT_ERR_RULE_LIMIT', path, texts.length, `must be at most ${MAX_PREFIXES} prefixes`, 'use shorter prefixes');
  for (const [i, text] of texts.entries()) {
    if (checkPrefixText(problems, `${path}[${i}]`, text, 'WEFT_ERR_RULE_ROUTE') === undefined) continue;
    if (texts.indexOf(text) !== i) problems.add('WEFT_ERR_RULE_ROUTE', `${path}[${i}]`, text, 'must be there once', 'remove one');
  }
}

/** The prefixes that lead to the gateway: those given, or the default routes of the families the connection carries. */
export function routesOf(spec: ConnectionSpec): string[] {
  if (spec.mode === 'peering') return [];
  if (spec.routes !== undefined) return [...spec.routes];
  return spec.mode === 'forward' || spec.ipv6 !== 'none' ? [IPV4_DEFAULT, IPV6_DEFAULT] : [IPV4_DEFAULT];
}

export function quotaOf({ mode, quota }: ConnectionSpec): GatewayQuota {
  if (mode !== 'nat') return { blocks: 0, flows: 0, newFlowsPerSecond: 0 };
  return {
    blocks: quota.blocks || DEFAULT_QUOTA.blocks,
    flows: quota.flows || DEFAULT_QUOTA.flows,
    newFlowsPerSecond: quota.newFlowsPerSecond || DEFAULT_QUOTA.newFlowsPerSecond,
  };
}

/** What must hold of a network as it will be. Values must be sound each by itself. */
export function checkNetworkGateway(problems: Problems, network: VirtualNetwork): void {
  const { gateway } = network;
  if (gateway === undefined) return;
  const path = `${network.tenant}/${network.name}`;
  const at = (kind: string, name: string): ResourceProblems => problems.of(`${kind} ${path}/${name}`);
  for (const one of gateway.connections) {
    const told = at('GatewayConnection', one.name);
    if (one.mode === 'peering') checkPeering(told, network, one);
    else checkRoutesOf(told, network, one);
    checkIpv6Of(told, network, one);
  }
  const prefixes = gateway.connections.reduce((sum, one) => sum + one.routes.length + one.offers.length + one.accepts.length, 0);
  if (prefixes > MAX_CONNECTION_PREFIXES)
    at('GatewayConnection', gateway.connections.at(-1)!.name).add(
      'WEFT_ERR_RULE_LIMIT',
      'spec',
      prefixes,
      `must leave the connections of the network at most ${MAX_CONNECTION_PREFIXES} prefixes in all`,
      'use shorter prefixes',
    );
  checkSegments(at, gateway);
  for (const rule of gateway.natRules) checkNatRule(at('NatRule', rule.name), network, rule);
  checkNatRulesTogether(at, gateway.natRules);
}

/** All of a network's traffic leaves by one segment, so an address elsewhere would never answer. */
function checkSegments(at: (kind: string, name: string) => ResourceProblems, { connections, externalAddresses }: NetworkGateway): void {
  const outside = connections.find(({ mode }) => mode !== 'peering');
  if (outside === undefined) return;
  for (const one of externalAddresses) {
    if (one.segmentId === outside.segmentId) continue;
    at('ExternalAddress', one.name).add(
      'WEFT_ERR_RULE_POOL',
      'spec.pool',
      one.pool,
      `must be on segment ${outside.segment}, as the network's connection ${outside.name}`,
      'take a pool of that segment; an address that stands is deleted first',
    );
  }
}

function checkPeering(told: ResourceProblems, network: VirtualNetwork, one: GatewayConnection): void {
  const own = network.subnets.flatMap((subnet) => subnet.prefixes.map((prefix) => ({ prefix, what: `of subnet ${subnet.name}` })));
  const routed = network.routes.filter(({ kind, prefix }) => kind === 'next-hop' && isPrefix(prefix)).map(({ prefix }) => prefix);
  const offered = [...ownSubnets(network).flatMap((subnet) => subnet.prefixes), ...routed];
  for (const [i, prefix] of one.offers.entries()) {
    if (offered.some((each) => lies(each, prefix))) continue;
    told.add(
      'WEFT_ERR_RULE_PEERING',
      `spec.offers[${i}]`,
      prefix,
      'must lie in a subnet of the network, or in a route to one of its CAs',
      'correct it',
    );
  }
  const accepted = network
    .gateway!.connections.filter((other) => other.mode === 'peering' && other.name !== one.name)
    .flatMap((other) => other.accepts.map((prefix) => ({ prefix, what: `accepted from ${other.peerTenant}/${other.peerNetwork}` })));
  for (const [i, prefix] of one.accepts.entries()) {
    const other = [...own, ...accepted].find((each) => overlap(each.prefix, prefix));
    if (other !== undefined)
      told.add(
        'WEFT_ERR_RULE_PEERING',
        `spec.accepts[${i}]`,
        prefix,
        `must not overlap ${other.prefix} ${other.what}`,
        own.includes(other) ? 'accept others: the network has these itself, and reaches only its own' : 'accept a narrower prefix',
      );
    else checkAgainstRoutes(told, network, `spec.accepts[${i}]`, prefix);
    checkFamily(told, network, `spec.accepts[${i}]`, prefix);
  }
}

function checkRoutesOf(told: ResourceProblems, network: VirtualNetwork, one: GatewayConnection): void {
  const own = new Set(network.subnets.flatMap((subnet) => subnet.prefixes));
  for (const [i, prefix] of one.routes.entries()) {
    const path = `spec.routes[${i}]`;
    if (own.has(prefix)) told.add('WEFT_ERR_RULE_ROUTE', path, prefix, "must not be a virtual subnet's own prefix", 'remove it');
    checkAgainstRoutes(told, network, path, prefix);
    checkFamily(told, network, path, prefix);
  }
}

/** Two routes for one prefix: which one counts would be anyone's guess. */
function checkAgainstRoutes(told: ResourceProblems, network: VirtualNetwork, path: string, prefix: string): void {
  if (network.routes.some((route) => route.prefix === prefix && route.kind !== 'gateway'))
    told.add('WEFT_ERR_RULE_ROUTE', path, prefix, 'must not be the prefix of a customer route of the network', 'remove one of the two');
}

function checkFamily(told: ResourceProblems, network: VirtualNetwork, path: string, prefix: string): void {
  const family = isFamily4(prefix) ? 4 : 6;
  // The default routes that nobody asked for may be of a family that the gateway subnet was made without.
  if (gatewayAddress(network.gateway, family) !== undefined || prefix === IPV4_DEFAULT || prefix === IPV6_DEFAULT) return;
  told.add(
    'WEFT_ERR_RULE_ROUTE',
    path,
    prefix,
    `must be of a family that the gateway subnet has: it has no IPv${family} prefix`,
    'add one to gatewaySubnet',
  );
}

function checkIpv6Of(told: ResourceProblems, network: VirtualNetwork, one: GatewayConnection): void {
  if (one.ipv6Prefix === '') return;
  const own = ownSubnets(network)
    .flatMap(({ prefixes }) => prefixes)
    .filter((prefix) => !isFamily4(prefix));
  if (one.ipv6 === 'forward') {
    const outside = own.find((prefix) => !lies(one.ipv6Prefix, prefix));
    if (outside !== undefined)
      told.add(
        'WEFT_ERR_RULE_IPV6_PREFIX',
        'spec.ipv6Prefix',
        one.ipv6Prefix,
        `must hold every IPv6 prefix of the network's subnets: ${outside} lies outside`,
        'use nptv6, or other subnets',
      );
  } else if (!own.some((prefix) => overlap(prefix, one.ipv6Inside)))
    told.add(
      'WEFT_ERR_RULE_IPV6_PREFIX',
      'spec.ipv6Inside',
      one.ipv6Inside,
      "must hold an IPv6 prefix of the network's subnets, or lie in one",
      'correct it',
    );
}

function checkNatRule(told: ResourceProblems, network: VirtualNetwork, rule: NatRule): void {
  const path = `spec.${rule.kind}`;
  const external = network.gateway!.externalAddresses.find(({ name }) => name === rule.externalAddress);
  if (rule.kind === 'snat') {
    if (checkPrefixText(told, `${path}.source`, rule.source, 'WEFT_ERR_RULE_PREFIX') === undefined) return;
    if (external === undefined) return;
    if (external.use === 'static') useRefused(told, path, external.name, 'snat or reserved', external.use);
    if (isFamily4(external.address) !== isFamily4(rule.source))
      told.add('WEFT_ERR_RULE_NAT_RULE', `${path}.source`, rule.source, `must be of the family of ${external.address}`, 'correct it');
    return;
  }
  if (checkAddress(told, `${path}.address`, rule.customerAddress) === undefined || external === undefined) return;
  if (!isCustomerAddress(network, rule.customerAddress))
    told.add(
      'WEFT_ERR_RULE_NAT_TARGET',
      `${path}.address`,
      rule.customerAddress,
      'must be an address that a port in a subnet of the network can have',
      'correct it',
    );
  else if (isFamily4(external.address) !== isFamily4(rule.customerAddress))
    told.add(
      'WEFT_ERR_RULE_NAT_RULE',
      `${path}.address`,
      rule.customerAddress,
      `must be of the family of ${external.address}`,
      'correct it',
    );
  if (rule.kind === 'static') {
    if (external.use !== 'static') useRefused(told, path, external.name, 'static', external.use);
    return;
  }
  if (external.use === 'static') useRefused(told, path, external.name, 'reserved or snat', external.use);
  checkPorts(told, path, rule);
  const mapped =
    external.use === 'snat' || network.gateway!.natRules.some((one) => one.kind === 'snat' && one.externalAddress === external.name);
  if (mapped && rule.lastPort >= FIRST_BLOCK_PORT)
    told.add(
      'WEFT_ERR_RULE_PORTS',
      `${path}.ports`,
      portsText(rule),
      `must be below ${FIRST_BLOCK_PORT}: the others of ${external.name} are given out for SNAT`,
      'use a reserved address that no snat rule names',
    );
}

function checkPorts(told: ResourceProblems, path: string, rule: NatRule): void {
  const refuse = (field: string, value: unknown, what: string): void =>
    told.add('WEFT_ERR_RULE_PORTS', `${path}.${field}`, value, what, 'correct it');
  const count = rule.lastPort - rule.firstPort + 1;
  if (rule.protocol === 'none') refuse('protocol', rule.protocol, 'must be tcp or udp');
  if (rule.firstPort < 1 || rule.lastPort > 65_535 || count < 1) refuse('ports', portsText(rule), 'must be from 1 to 65535, first to last');
  else if (count > MAX_FORWARDED_PORTS) refuse('ports', portsText(rule), `must be at most ${MAX_FORWARDED_PORTS} ports`);
  else if (rule.customerPort < 1 || rule.customerPort + count - 1 > 65_535)
    refuse('port', rule.customerPort, `must leave room for ${count} ports up to 65535`);
}

function checkNatRulesTogether(at: (kind: string, name: string) => ResourceProblems, rules: readonly NatRule[]): void {
  const once = (kind: NatRule['kind'], field: string, value: (rule: NatRule) => string, what: string): void => {
    const seen = new Map<string, string>();
    for (const rule of rules) {
      if (rule.kind !== kind) continue;
      const other = seen.get(value(rule));
      if (other !== undefined)
        at('NatRule', rule.name).add(
          'WEFT_ERR_RULE_NAT_RULE',
          `spec.${kind}.${field}`,
          value(rule),
          `must be ${what} once (${other} has it)`,
          'delete one',
        );
      else seen.set(value(rule), rule.name);
    }
  };
  once('snat', 'source', (rule) => rule.source, 'the source of a rule');
  once('static', 'externalAddress', (rule) => rule.externalAddress, 'given out');
  once('static', 'address', (rule) => rule.customerAddress, 'the target of a static rule');
  const forwards = rules.filter(({ kind }) => kind === 'forward').sort((a, b) => a.firstPort - b.firstPort);
  const open = new Map<string, NatRule>();
  for (const rule of forwards) {
    const key = `${rule.externalAddress}/${rule.protocol}`;
    const other = open.get(key);
    if (other !== undefined && rule.firstPort <= other.lastPort)
      at('NatRule', rule.name).add(
        'WEFT_ERR_RULE_PORTS',
        'spec.forward.ports',
        portsText(rule),
        `must not overlap ${portsText(other)} of ${other.name} on ${rule.externalAddress}`,
        'take other ports',
      );
    if (other === undefined || rule.lastPort > other.lastPort) open.set(key, rule);
  }
}

function useRefused(told: ResourceProblems, path: string, name: string, wanted: string, is: string): void {
  told.add(
    'WEFT_ERR_RULE_NAT_RULE',
    `${path}.externalAddress`,
    name,
    `must be an external address of use ${wanted}: it is ${is}`,
    'take another',
  );
}

/** Whether a port could have the address. */
export function isCustomerAddress(network: VirtualNetwork, address: string): boolean {
  return ownSubnets(network).some((subnet) => checkPortAddresses(new Problems().of(''), [address], subnet));
}

function portsText({ firstPort, lastPort }: NatRule): string {
  return firstPort === lastPort ? String(firstPort) : `${firstPort}-${lastPort}`;
}

function overlap(a: string, b: string): boolean {
  return isPrefix(a) && isPrefix(b) && prefixesOverlap(parsePrefix(a), parsePrefix(b));
}

function isPrefix(text: string): boolean {
  return checkPrefixText(new Problems().of(''), '', text, 'WEFT_ERR_RULE_PREFIX') !== undefined;
}
