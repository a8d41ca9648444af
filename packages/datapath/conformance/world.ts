import { PortFlag, RouteKind, SpeakerFlag, type TableChange, type Target, TargetFlag, TargetKind } from '@weft/forwarding';
import { parseIp, parseMac } from '@weft/packet';

/*
 *   host A 192.0.2.1                        host B 192.0.2.2                 host C 192.0.2.3 (has no engine)
 *   red1   .11 subnet 1   TAP               red3   .13 subnet 1   veth       red9   .19 subnet 1
 *   red5   .15 subnet 1   veth              red4   .14 subnet 2   TAP
 *   red2   .12 subnet 2   veth
 *   blue1  .11 subnet 1   veth              blue3  .13 subnet 1   TAP
 *
 * Red and blue are tenants with the same addresses and the same MAC addresses. Subnet n: 10.0.n.0/24 and 2001:db8:n::/64, gateway .1 and ::1.
 * Host C speaks for red only; what comes from it the tests write by hand.
 */

export const HOSTS = ['a', 'b', 'c'] as const;
export type HostName = (typeof HOSTS)[number];

export const PA: Readonly<Record<HostName, Uint8Array>> = {
  a: parseIp('192.0.2.1'),
  b: parseIp('192.0.2.2'),
  c: parseIp('192.0.2.3'),
};
/** A host of nobody's. */
export const STRANGER_PA: Uint8Array = parseIp('192.0.2.99');
/** The largest packet of a tenant; the underlay carries 1,600. */
export const TENANT_MTU = 1450;

export interface WorldPort {
  readonly name: string;
  readonly host: HostName;
  readonly kind: 'tap' | 'veth';
  readonly networkId: number;
  readonly vsid: number;
  /** VSID of the tenant's other subnet. */
  readonly otherVsid: number;
  readonly mac: string;
  readonly ca4: string;
  readonly ca6: string;
  readonly gateway4: string;
  readonly gateway6: string;
}

function port(name: string, host: HostName, kind: 'tap' | 'veth', subnet: 1 | 2, number: number): WorldPort {
  const isRed = name.startsWith('red');
  const base = isRed ? 5000 : 6000;
  return {
    name,
    host,
    kind,
    networkId: isRed ? 7 : 8,
    vsid: base + subnet,
    otherVsid: base + 3 - subnet,
    mac: `02:00:00:00:0${subnet}:${number}`,
    ca4: `10.0.${subnet}.${number}`,
    ca6: `2001:db8:${subnet}::${number}`,
    gateway4: `10.0.${subnet}.1`,
    gateway6: `2001:db8:${subnet}::1`,
  };
}

export const PORTS = {
  red1: port('red1', 'a', 'tap', 1, 11),
  red5: port('red5', 'a', 'veth', 1, 15),
  red2: port('red2', 'a', 'veth', 2, 12),
  blue1: port('blue1', 'a', 'veth', 1, 11),
  red3: port('red3', 'b', 'veth', 1, 13),
  red4: port('red4', 'b', 'tap', 2, 14),
  blue3: port('blue3', 'b', 'tap', 1, 13),
  red9: port('red9', 'c', 'tap', 1, 19),
} as const;
export type PortName = keyof typeof PORTS;
export const PORT_NAMES = Object.keys(PORTS) as PortName[];

const NO_ADDRESS = new Uint8Array(16);

/** The record of a port as host `at` has it; `changes` replace fields. */
export function targetOf(of: WorldPort, at: HostName, ifindex: number, changes: Partial<Target> = {}): Target {
  const isHere = of.host === at;
  return {
    mac: parseMac(of.mac),
    kind: isHere ? TargetKind.LOCAL : TargetKind.PEER,
    flags: isHere && of.kind === 'veth' ? TargetFlag.VETH : 0,
    vsid: of.vsid,
    ifindexOrShard: isHere ? ifindex : 0,
    pa: PA[of.host],
    prevPa: NO_ADDRESS,
    prevUntilBootNs: 0n,
    generation: 1n,
    ...changes,
  };
}

/** `put`s of a port's addresses and MAC address. */
export function recordsOf(of: WorldPort, target: Target): TableChange[] {
  const { networkId, vsid } = of;
  return [
    { op: 'put', table: 'lookup', key: { networkId, ca: parseIp(of.ca4) }, value: target },
    { op: 'put', table: 'lookup', key: { networkId, ca: parseIp(of.ca6) }, value: target },
    { op: 'put', table: 'l2', key: { vsid, mac: parseMac(of.mac) }, value: target },
  ];
}

export function portRow(of: WorldPort, ifindex: number, flags: number = PortFlag.READY): TableChange {
  const { networkId, vsid } = of;
  const value = {
    networkId,
    vsid,
    mtuBytes: TENANT_MTU,
    flags: flags | (of.kind === 'veth' ? PortFlag.VETH : 0),
    mac: parseMac(of.mac),
  };
  return { op: 'put', table: 'port', key: { ifindex }, value };
}

/** All rows of host `at`. */
export function rowsOf(at: HostName, ifindexOf: (name: PortName) => number): TableChange[] {
  const rows: TableChange[] = [];
  for (const [networkId, base] of [
    [7, 5000],
    [8, 6000],
  ] as const) {
    for (const subnet of [1, 2]) {
      const vsid = base + subnet;
      const gateway4 = parseIp(`10.0.${subnet}.1`);
      const gateway6 = parseIp(`2001:db8:${subnet}::1`);
      rows.push({ op: 'put', table: 'subnet', key: { vsid }, value: { networkId, flags: 0, gateway4, gateway6 } });
      const onLink = { kind: RouteKind.ON_LINK, vsid, nextHop: NO_ADDRESS };
      rows.push({ op: 'put', table: 'route', key: { networkId, prefix: parseIp(`10.0.${subnet}.0`), prefixLength: 120 }, value: onLink });
      rows.push({
        op: 'put',
        table: 'route',
        key: { networkId, prefix: parseIp(`2001:db8:${subnet}::`), prefixLength: 64 },
        value: onLink,
      });
    }
    for (const other of HOSTS) {
      if (other === at || (other === 'c' && networkId !== 7)) continue;
      rows.push({ op: 'put', table: 'speaker', key: { pa: PA[other], networkId }, value: SpeakerFlag.HOST });
    }
  }
  for (const name of PORT_NAMES) {
    const of = PORTS[name];
    rows.push(...recordsOf(of, targetOf(of, at, ifindexOf(name))));
    if (of.host === at) rows.push(portRow(of, ifindexOf(name)));
  }
  return rows;
}
