import { parseIp, parseMac } from '@weft/packet';
import {
  type ForwardingContext,
  fromPort,
  fromTunnel,
  fromUnderlay,
  gatewayMac,
  MemoryTables,
  PortFlag,
  type PortInput,
  RouteKind,
  type TableChange,
  type Target,
  TargetKind,
  type TunnelInput,
  type UnderlayInput,
  type Verdict,
} from '../src/index.ts';
import { tunnelFrame } from '../src/testing/index.ts';

// What this host, 192.0.2.1, knows. Red (network 7) and blue (network 8) have the same addresses and MACs in their first subnets.
//
//            red 5001  10.0.0.0/24  2001:db8::/64            red 5002  10.0.1.0/24      blue 6001  as 5001
//   .10 ::10 A  device 11, MTU 1400, also .11                B .10 ::1:10 device 12     X  .10 ::10  device 13
//   .20 ::20 C  at 192.0.2.11, the router of 172.17/16       D .20  at 192.0.2.12       Y  .20 ::20  at 192.0.2.11
//   .24      E  moved to 192.0.2.12
//   .25      denied          .26 without host
//   .30      F  at .12, until now+10 also at .13
//   gateway: 5003, 10.0.2.2 behind shard 1, owned by 192.0.2.21, before by .22; default route

export const PA = parseIp('192.0.2.1');
export const HOST_C = parseIp('192.0.2.11');
export const HOST_D = parseIp('192.0.2.12');
export const HOST_OLD = parseIp('192.0.2.13');
export const GATEWAY_HOST = parseIp('192.0.2.21');
export const GATEWAY_OLD = parseIp('192.0.2.22');
export const STRANGER = parseIp('192.0.2.99');
export const RED = 7;
export const BLUE = 8;
export const NOW = 1_000_000n;
export const UDP_PORT = 4789;
const NONE16 = new Uint8Array(16);

/** A NIC: what frames from it carry. */
export interface Nic {
  readonly mac: Uint8Array;
  readonly ip4: Uint8Array;
  readonly ip6: Uint8Array;
  readonly ifindex: number;
  readonly vsid: number;
}

function nic(mac: string, ip4: string, ip6: string, vsid: number, ifindex = 0): Nic {
  return { mac: parseMac(mac), ip4: parseIp(ip4), ip6: parseIp(ip6), vsid, ifindex };
}

export const A: Nic = nic('02:00:00:00:00:0a', '10.0.0.10', '2001:db8::10', 5001, 11);
export const B: Nic = nic('02:00:00:00:00:0b', '10.0.1.10', '2001:db8:0:1::10', 5002, 12);
export const X: Nic = nic('02:00:00:00:00:0a', '10.0.0.10', '2001:db8::10', 6001, 13);
export const C: Nic = nic('02:00:00:00:00:0c', '10.0.0.20', '2001:db8::20', 5001);
export const D: Nic = nic('02:00:00:00:00:0d', '10.0.1.20', '2001:db8:0:1::20', 5002);
export const E: Nic = nic('02:00:00:00:00:0e', '10.0.0.24', '2001:db8::24', 5001);
export const F: Nic = nic('02:00:00:00:00:0f', '10.0.0.30', '2001:db8::30', 5001);
export const Y: Nic = nic('02:00:00:00:00:0c', '10.0.0.20', '2001:db8::20', 6001);
export const GATEWAY: Nic = nic('02:00:00:00:00:f0', '10.0.2.2', '2001:db8:0:2::2', 5003);
export const GATEWAY4: Uint8Array = parseIp('10.0.0.1');
export const GATEWAY6: Uint8Array = parseIp('2001:db8::1');
export const GATEWAY_MAC: Uint8Array = gatewayMac(5001);
export const A_SECOND4: Uint8Array = parseIp('10.0.0.11');

export function target(at: Partial<Target> & { readonly kind: TargetKind }): Target {
  return {
    mac: new Uint8Array(6),
    flags: 0,
    vsid: 0,
    ifindexOrShard: 0,
    pa: NONE16,
    prevPa: NONE16,
    prevUntilBootNs: 0n,
    generation: 1n,
    ...at,
  };
}

export function bind(networkId: number, who: Nic, at: Partial<Target> & { readonly kind: TargetKind }): TableChange[] {
  const value = target({ mac: who.mac, vsid: who.vsid, ifindexOrShard: who.ifindex, ...at });
  return [
    { op: 'put', table: 'lookup', key: { networkId, ca: who.ip4 }, value },
    { op: 'put', table: 'lookup', key: { networkId, ca: who.ip6 }, value },
    { op: 'put', table: 'l2', key: { vsid: who.vsid, mac: who.mac }, value },
  ];
}

export function port(networkId: number, who: Nic, value: { readonly mtuBytes?: number; readonly flags?: number } = {}): TableChange {
  const { mtuBytes = 1400, flags = PortFlag.READY } = value;
  return { op: 'put', table: 'port', key: { ifindex: who.ifindex }, value: { networkId, vsid: who.vsid, mtuBytes, flags, mac: who.mac } };
}

export function subnet(networkId: number, vsid: number, gateway4?: string, gateway6?: string): TableChange {
  const value = {
    networkId,
    flags: 0,
    gateway4: gateway4 === undefined ? NONE16 : parseIp(gateway4),
    gateway6: gateway6 === undefined ? NONE16 : parseIp(gateway6),
  };
  return { op: 'put', table: 'subnet', key: { vsid }, value };
}

export function route(networkId: number, prefix: string, prefixLength: number, kind: RouteKind, to: number | string = 0): TableChange {
  const value = { kind, vsid: typeof to === 'number' ? to : 0, nextHop: typeof to === 'string' ? parseIp(to) : NONE16 };
  return { op: 'put', table: 'route', key: { networkId, prefix: parseIp(prefix), prefixLength }, value };
}

export function shard(id: number, pa: Uint8Array, prevPa: Uint8Array = NONE16, prevUntilBootNs = 0n): TableChange {
  return { op: 'put', table: 'shard', key: { id }, value: { epoch: 1n, pa, prevPa, prevUntilBootNs } };
}

function speaker(pa: Uint8Array, networkId: number): TableChange {
  return { op: 'put', table: 'speaker', key: { pa, networkId }, value: 1 };
}

const { LOCAL, PEER, REDIRECT, SHARD, DENY } = TargetKind;

export const BASE: readonly TableChange[] = [
  subnet(RED, 5001, '10.0.0.1', '2001:db8::1'),
  subnet(RED, 5002, '10.0.1.1', '2001:db8:0:1::1'),
  subnet(RED, 5003),
  subnet(BLUE, 6001, '10.0.0.1', '2001:db8::1'),
  port(RED, A),
  port(RED, B),
  port(BLUE, X),
  ...bind(RED, A, { kind: LOCAL, pa: PA }),
  ...bind(RED, { ...A, ip4: A_SECOND4 }, { kind: LOCAL, pa: PA }),
  ...bind(RED, B, { kind: LOCAL, pa: PA }),
  ...bind(BLUE, X, { kind: LOCAL, pa: PA }),
  ...bind(RED, C, { kind: PEER, pa: HOST_C }),
  ...bind(RED, D, { kind: PEER, pa: HOST_D }),
  ...bind(RED, E, { kind: REDIRECT, pa: HOST_D }),
  ...bind(RED, nic('02:00:00:00:00:25', '10.0.0.25', '2001:db8::25', 5001), { kind: DENY }),
  ...bind(RED, nic('02:00:00:00:00:26', '10.0.0.26', '2001:db8::26', 5001), { kind: PEER }),
  ...bind(RED, F, { kind: PEER, pa: HOST_D, prevPa: HOST_OLD, prevUntilBootNs: NOW + 10n }),
  ...bind(BLUE, Y, { kind: PEER, pa: HOST_C }),
  ...bind(RED, GATEWAY, { kind: SHARD, ifindexOrShard: 1 }),
  shard(1, GATEWAY_HOST, GATEWAY_OLD, NOW + 10n),
  ...[HOST_C, HOST_D, HOST_OLD, GATEWAY_HOST].map((pa) => speaker(pa, RED)),
  speaker(HOST_C, BLUE),
  route(RED, '10.0.0.0', 120, RouteKind.ON_LINK, 5001),
  route(RED, '10.0.1.0', 120, RouteKind.ON_LINK, 5002),
  route(RED, '2001:db8::', 64, RouteKind.ON_LINK, 5001),
  route(RED, '2001:db8:0:1::', 64, RouteKind.ON_LINK, 5002),
  route(BLUE, '10.0.0.0', 120, RouteKind.ON_LINK, 6001),
  route(BLUE, '2001:db8::', 64, RouteKind.ON_LINK, 6001),
  route(RED, '172.16.0.0', 112, RouteKind.NEXT_HOP, '10.0.0.10'),
  route(RED, '172.17.0.0', 112, RouteKind.NEXT_HOP, '10.0.0.20'),
  route(RED, '172.18.0.0', 112, RouteKind.NEXT_HOP, '10.0.0.77'),
  route(RED, '10.66.0.0', 112, RouteKind.BLACKHOLE),
  route(RED, '10.67.0.0', 112, RouteKind.DENY),
  route(RED, '198.51.100.0', 120, RouteKind.NEXT_HOP, '10.0.2.2'),
  route(RED, '2a00::', 16, RouteKind.NEXT_HOP, '2001:db8:0:2::2'),
];

export const CONTEXT: ForwardingContext = { pa: PA, udpPort: UDP_PORT, nowBootNs: NOW };

export function tables(...more: readonly (TableChange | readonly TableChange[])[]): MemoryTables {
  return new MemoryTables([...BASE, ...more.flat()] as TableChange[]);
}

const base = tables();

/** The verdict about a frame of port A, unless another device is named. */
export function ofPort(frame: Uint8Array, more: Partial<PortInput> & { readonly tables?: MemoryTables } = {}): Verdict {
  const { tables: other = base, ...input } = more;
  return fromPort(other, { ifindex: A.ifindex, frame, ...input }, CONTEXT);
}

export interface FromPeer {
  readonly source?: Uint8Array;
  readonly vni?: number;
  readonly ecn?: number;
}

/** The verdict about a tunnel frame, from host C into subnet 5001 unless said otherwise. */
export function ofPeer(
  inner: Uint8Array,
  outer: FromPeer = {},
  more: Partial<UnderlayInput> & { readonly tables?: MemoryTables; readonly nowBootNs?: bigint } = {},
): Verdict {
  const { tables: other = base, nowBootNs = NOW, ...input } = more;
  const frame = tunnelFrame({ source: HOST_C, destination: PA, vni: 5001, ...outer }, inner);
  return fromUnderlay(other, { frame, ...input }, { ...CONTEXT, nowBootNs });
}

/** The verdict about a frame of the underlay as it is. */
export function ofUnderlay(frame: Uint8Array, more: Partial<UnderlayInput> = {}): Verdict {
  return fromUnderlay(base, { frame, ...more }, CONTEXT);
}

/** The verdict about a frame of the VXLAN device, from host C into subnet 5001 unless said otherwise. */
export function ofTunnel(frame: Uint8Array, more: Partial<TunnelInput> = {}): Verdict {
  return fromTunnel(base, { frame, source: HOST_C, vni: 5001, marked: true, ...more }, CONTEXT);
}

/** A copy of `bytes` with `values` written at `at`. */
export function patched(bytes: Uint8Array, at: number, ...values: readonly number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
}
