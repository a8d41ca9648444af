import { gatewayPortMac, PortFlag, RouteKind, SpeakerFlag, type TableEntry, type Target, TargetFlag, TargetKind } from '@weft/forwarding';
import {
  type Assignment,
  type CustomerRoute,
  gatewayAddress,
  gatewayRoutes,
  isGatewaySubnet,
  type Port,
  type PortBinding,
  placementRefusal,
  type VirtualNetwork,
  type VirtualSubnet,
} from '@weft/model';
import { IPV4_PREFIX, ipOf, macOf, NO_ADDRESS, prefixOfText } from './address.ts';

// Rows out of records: pure functions, used by the incremental fold and by `compile` from zero alike.
//
//   VirtualNetwork ──► subnet (per VSID), route (on link per prefix; customer routes; to the gateway), lookup (the gateway's addresses)
//   Assignment ──► speaker (members), l2 (the gateway's port, on members)
//   Port × PortBinding ──► lookup (per CA), l2 (MAC), speaker (PA), port (local device)
//
// MAC and CAs come from the Port, which a controller signed, never from the host that bound it.

/** A device of this host that a port is, or will be, bound to. */
export interface LocalDevice {
  readonly ifindex: number;
  readonly kind: 'tap' | 'veth';
}

/** What of the rows depends on the host that has them. */
export interface HostContext {
  readonly hostId: string;
  /** Provider address, 16 bytes. */
  readonly pa: Uint8Array;
  /** Largest IP packet of a tenant: underlay MTU − 50. */
  readonly mtuBytes: number;
}

/** A port's recent history on this host, as boot-clock times: what records alone don't tell. */
export interface MoveWindow {
  /** Address accepted as second home, as text, until `previousUntilMs`; empty: none. */
  readonly previousProviderAddress: string;
  readonly previousUntilMs: number;
  /** Until when this host, having had the port, sends late frames on. 0: it never had it, or long ago. */
  readonly redirectUntilMs: number;
}

export const NO_MOVE: MoveWindow = { previousProviderAddress: '', previousUntilMs: 0, redirectUntilMs: 0 };

/** Everything of one port that rows are made of. */
export interface PortFacts {
  readonly port: Port | undefined;
  readonly binding: PortBinding | undefined;
  readonly device: LocalDevice | undefined;
  readonly move: MoveWindow;
}

/** A row and what decides between two ports that claim it. */
export interface Contribution {
  readonly entry: TableEntry;
  /** Revision of the Port record: the later statement wins while records arrive out of order. */
  readonly rank: number;
  readonly owner: string;
}

/** True if `a` wins over `b`. Total and independent of arrival. */
export function outranks(a: Contribution, b: Contribution): boolean {
  return a.rank !== b.rank ? a.rank > b.rank : a.owner < b.owner;
}

/** Subnets of the document that this host may use: VSID's claim names this network. */
export function usableSubnets(network: VirtualNetwork, vsidAllowed: (vsid: number) => boolean): VirtualSubnet[] {
  return network.networkId === 0 ? [] : network.subnets.filter((subnet) => subnet.vsid !== 0 && vsidAllowed(subnet.vsid));
}

/** Rows of the network document. */
export function networkRows(network: VirtualNetwork, subnets: readonly VirtualSubnet[]): TableEntry[] {
  const { networkId } = network;
  const rows: TableEntry[] = [];
  const routes = new Map<string, TableEntry>();
  const route = (prefix: { address: Uint8Array; length: number }, kind: RouteKind, vsid: number, nextHop: Uint8Array): void => {
    const key = { networkId, prefix: prefix.address, prefixLength: prefix.length };
    const identity = `${prefix.length}/${prefix.address.join('.')}`;
    // On-link prefixes are given first and stay: a customer route can't take a subnet over.
    if (!routes.has(identity)) routes.set(identity, { table: 'route', key, value: { kind, vsid, nextHop } });
  };
  for (const subnet of subnets) {
    const gateways = subnet.gateways.map(ipOf);
    const gateway = (family: 4 | 6): Uint8Array => {
      const at = subnet.prefixes.findIndex((prefix) => prefixOfText(prefix)?.family === family);
      return (at < 0 ? undefined : gateways[at]) ?? NO_ADDRESS;
    };
    rows.push({
      table: 'subnet',
      key: { vsid: subnet.vsid },
      value: { networkId, flags: 0, gateway4: gateway(4), gateway6: gateway(6) },
    });
    for (const text of subnet.prefixes) {
      const prefix = prefixOfText(text);
      if (prefix !== undefined) route(prefix, RouteKind.ON_LINK, subnet.vsid, NO_ADDRESS);
    }
  }
  let coversIpv4 = false;
  for (const one of [...network.routes, ...routesToGateway(network)]) {
    const prefix = prefixOfText(one.prefix);
    if (prefix === undefined) continue;
    if (prefix.family === 6 && prefix.length <= 80) coversIpv4 ||= prefix.address.every((byte) => byte === 0);
    if (one.kind === 'blackhole') route(prefix, RouteKind.BLACKHOLE, 0, NO_ADDRESS);
    else {
      const nextHop = ipOf(one.kind === 'gateway' ? (gatewayAddress(network.gateway, prefix.family) ?? '') : one.nextHop);
      if (nextHop === undefined) route(prefix, RouteKind.DENY, 0, NO_ADDRESS);
      else route(prefix, RouteKind.NEXT_HOP, 0, nextHop);
    }
  }
  // By its bits an IPv6 default route covers the mapped IPv4 range too, and the trie would send all of IPv4 there.
  if (coversIpv4) route(IPV4_PREFIX, RouteKind.DENY, 0, NO_ADDRESS);
  rows.push(...routes.values());
  const target = gatewayTarget(network, subnets);
  for (const text of target === undefined ? [] : network.gateway!.addresses) {
    const ca = ipOf(text);
    if (ca !== undefined) rows.push({ table: 'lookup', key: { networkId, ca }, value: target! });
  }
  return rows;
}

/** Routes that connections make, for families that the gateway has an address of. */
function routesToGateway({ gateway }: VirtualNetwork): CustomerRoute[] {
  if (gateway === undefined) return [];
  return gatewayRoutes(gateway).flatMap((prefix) => {
    const family = prefixOfText(prefix)?.family;
    const served = family !== undefined && gatewayAddress(gateway, family) !== undefined;
    return served ? [{ prefix, kind: 'gateway' as const, nextHop: '' }] : [];
  });
}

/** Where the gateway's addresses live, on every host: at whoever owns the shard. Undefined: the network has no gateway that may be used. */
function gatewayTarget({ gateway }: VirtualNetwork, subnets: readonly VirtualSubnet[]): Target | undefined {
  const subnet = subnets.find(isGatewaySubnet);
  if (gateway === undefined || subnet === undefined || gateway.shard === 0) return undefined;
  return {
    mac: gatewayPortMac(subnet.vsid),
    kind: TargetKind.SHARD,
    flags: 0,
    vsid: subnet.vsid,
    ifindexOrShard: gateway.shard,
    pa: NO_ADDRESS,
    prevPa: NO_ADDRESS,
    prevUntilBootNs: 0n,
    generation: 0n,
  };
}

/** The assignment, if it is that of the network's gateway. */
export function assignmentOf(network: VirtualNetwork | undefined, assignment: Assignment | undefined): Assignment | undefined {
  const of = network?.gateway;
  return of !== undefined && assignment?.gatewayId === of.gatewayId ? assignment : undefined;
}

/** Rows of a member of the network's gateway: frames for the gateway's own MAC are its. */
export function memberRows(
  network: VirtualNetwork,
  subnets: readonly VirtualSubnet[],
  assignment: Assignment | undefined,
  host: HostContext,
): TableEntry[] {
  const target = gatewayTarget(network, subnets);
  if (target === undefined || !assignmentOf(network, assignment)?.members.some(({ hostId }) => hostId === host.hostId)) return [];
  return [{ table: 'l2', key: { vsid: target.vsid, mac: target.mac }, value: { ...target, kind: TargetKind.GATEWAY } }];
}

/** Provider addresses, as text, that may speak for the network as members of its gateway. This host's own is left out. */
export function gatewaySpeakers(network: VirtualNetwork | undefined, assignment: Assignment | undefined, host: HostContext): string[] {
  if (network === undefined || network.networkId === 0) return [];
  const members = assignmentOf(network, assignment)?.members ?? [];
  return [...new Set(members.map(({ providerAddress }) => providerAddress))].filter((text) => {
    const pa = ipOf(text);
    return pa !== undefined && !bytesEqual(pa, host.pa);
  });
}

/** Rows of one port, without speakers (those are shared between ports: {@link portSpeakers}). `nowMs`: boot clock. */
export function portRows(
  network: VirtualNetwork | undefined,
  vsids: ReadonlySet<number>,
  facts: PortFacts,
  host: HostContext,
  nowMs: number,
): TableEntry[] {
  const { port, binding, device, move } = facts;
  if (network === undefined || port === undefined || port.routingDomainId !== network.id || !vsids.has(port.vsid)) return [];
  const mac = macOf(port.mac);
  if (mac === undefined || isGatewayMac(mac)) return [];
  const { networkId } = network;
  const { vsid } = port;
  const bound = isBound(binding, port);
  const mine = bound && binding.hostId === host.hostId;
  const rows: TableEntry[] = [];
  if (device !== undefined) {
    const flags = (mine ? PortFlag.READY : 0) | (device.kind === 'veth' ? PortFlag.VETH : 0);
    rows.push({
      table: 'port',
      key: { ifindex: device.ifindex },
      value: { networkId, vsid, mtuBytes: host.mtuBytes, flags, mac },
    });
  }
  if (!bound) return rows;
  let pa: Uint8Array | undefined = host.pa;
  let kind: TargetKind = TargetKind.LOCAL;
  if (mine) {
    if (device === undefined) return rows;
  } else {
    pa = ipOf(binding.providerAddress);
    if (pa === undefined) return rows;
    kind = nowMs < move.redirectUntilMs ? TargetKind.REDIRECT : TargetKind.PEER;
  }
  let previousPa = nowMs < move.previousUntilMs ? ipOf(move.previousProviderAddress) : undefined;
  // Nobody but this host itself may send from its address: it is no second home here.
  if (previousPa !== undefined && bytesEqual(previousPa, host.pa)) previousPa = undefined;
  const value = {
    mac,
    kind,
    flags: mine && device?.kind === 'veth' ? TargetFlag.VETH : 0,
    vsid,
    ifindexOrShard: mine ? device!.ifindex : 0,
    pa,
    prevPa: previousPa ?? NO_ADDRESS,
    prevUntilBootNs: previousPa === undefined ? 0n : BigInt(Math.floor(move.previousUntilMs)) * 1_000_000n,
    generation: BigInt(binding.generation),
  };
  for (const text of port.addresses) {
    const ca = ipOf(text);
    if (ca !== undefined) rows.push({ table: 'lookup', key: { networkId, ca }, value });
  }
  rows.push({ table: 'l2', key: { vsid, mac }, value });
  return rows;
}

/** Provider addresses, as text, that may speak for the network because of this port. This host's own is left out: nobody else may use it. */
export function portSpeakers(
  network: VirtualNetwork | undefined,
  vsids: ReadonlySet<number>,
  facts: PortFacts,
  host: HostContext,
  nowMs: number,
): string[] {
  const { port, binding, move } = facts;
  if (network === undefined || port === undefined || port.routingDomainId !== network.id || !vsids.has(port.vsid)) return [];
  if (!isBound(binding, port)) return [];
  const speakers = binding.hostId === host.hostId ? [] : [binding.providerAddress];
  if (nowMs < move.previousUntilMs && move.previousProviderAddress !== binding.providerAddress) speakers.push(move.previousProviderAddress);
  return speakers.filter((text) => {
    const pa = ipOf(text);
    return pa !== undefined && !bytesEqual(pa, host.pa);
  });
}

/** @param isHost It has ports of the network. @param isGateway It is a member of its gateway. */
export function speakerRow(networkId: number, pa: string, isHost: boolean, isGateway: boolean): TableEntry {
  const value = (isHost ? SpeakerFlag.HOST : 0) | (isGateway ? SpeakerFlag.GATEWAY : 0);
  return { table: 'speaker', key: { pa: ipOf(pa)!, networkId }, value };
}

/** Placement is judged here, where both records are at hand, in whatever order they came. */
function isBound(binding: PortBinding | undefined, port: Port): binding is PortBinding {
  return binding !== undefined && binding.state === 'bound' && placementRefusal(binding, port) === undefined;
}

function isGatewayMac(mac: Uint8Array): boolean {
  return mac[0] === 0x02 && mac[1] === 0x57 && (mac[2] === 0x46 || mac[2] === 0x47);
}

function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
