import { parseIp, parseMac } from '@weft/packet';
import { gatewayMac } from '../gateway-mac.ts';
import { PortFlag, RouteKind, SpeakerFlag, type TableChange, type Target, TargetFlag, TargetKind } from '../tables.ts';
import { Rng } from './rng.ts';

// One host's view of two tenants who use the same addresses and the same MAC addresses, so that any look-up which forgets its network
// shows. Each tenant:
//
//   subnet 0   10.0.0.0/24 2001:db8:0:0::/64    local ports, peers, a moved one, a redirect, a denied one, one without a host
//   subnet 1   10.0.1.0/24 2001:db8:0:1::/64    the same
//   subnet 2   10.0.2.0/24 2001:db8:0:2::/64    the gateway's own: .12 is behind a shard; default routes lead there
//
//   172.16/16 by way of the first port (a router VM here, if the tenant has a port here), 172.17/16 by way of a peer,
//   172.18/16 by way of nobody, 10.66/16 blackhole, 10.67/16 of kind 0; the same for 2001:db8:16::/48 and so on.
//
// Ports go round the tenants and their subnets 0 and 1, so four ports fill both.

/** Which devices the world's tables name; the caller's, since the kernel wants real ones. */
export interface WorldDevices {
  /** At least two, for two tenants. */
  readonly portIfindexes: readonly number[];
  readonly underlayIfindex: number;
}

export interface WorldSubnet {
  readonly tenant: number;
  readonly networkId: number;
  readonly vsid: number;
  /** 0, 1, or 2 for the gateway's. */
  readonly index: number;
  readonly gateway4: Uint8Array | undefined;
  readonly gateway6: Uint8Array | undefined;
}

/** A NIC that some record tells of, here or elsewhere. */
export interface WorldMember {
  readonly subnet: WorldSubnet;
  readonly mac: Uint8Array;
  readonly cas4: readonly Uint8Array[];
  readonly cas6: readonly Uint8Array[];
  readonly target: Target;
}

/** A port of this host. */
export interface WorldPort extends WorldMember {
  readonly ifindex: number;
  readonly mtuBytes: number;
  readonly isReady: boolean;
}

export interface World {
  readonly seed: number;
  /** All rows, as `put`s. */
  readonly changes: readonly TableChange[];
  readonly ports: readonly WorldPort[];
  /** Ports and those elsewhere; the gateway too. */
  readonly members: readonly WorldMember[];
  readonly subnets: readonly WorldSubnet[];
  /** This host's provider address, 16 bytes. */
  readonly pa: Uint8Array;
  /** Provider addresses of others: hosts, gateways and, last, a stranger. */
  readonly peers: readonly Uint8Array[];
  readonly udpPort: number;
  readonly nowBootNs: bigint;
  readonly underlayIfindex: number;
  /** Addresses that routes lead to and no record has, by family. */
  readonly routed4: readonly Uint8Array[];
  readonly routed6: readonly Uint8Array[];
  /** What mutations put into address fields. */
  readonly addresses4: readonly Uint8Array[];
  readonly addresses6: readonly Uint8Array[];
  readonly macs: readonly Uint8Array[];
}

const NO_ADDRESS: Uint8Array = new Uint8Array(16);
const OWN_PA = parseIp('192.0.2.1');
const HOSTS = ['192.0.2.11', '192.0.2.12', '192.0.2.13'].map(parseIp);
const GATEWAYS = ['192.0.2.21', '192.0.2.22'].map(parseIp);
const STRANGER = parseIp('192.0.2.99');
const MTUS = [1280, 1400, 1450, 1500];
const ROUTED4 = ['172.16.1.1', '172.17.1.1', '172.18.1.1', '10.66.0.1', '10.67.0.1', '198.51.100.7', '10.0.0.250', '10.0.1.250'].map(
  parseIp,
);
const ROUTED6 = ['2001:db8:16::1', '2001:db8:17::1', '2001:db8:18::1', '2001:db8:66::1', '2001:db8:67::1', '2a00::7', '2001:db8::250'].map(
  parseIp,
);
const ODD4 = ['0.0.0.0', '127.0.0.1', '224.0.0.1', '239.1.2.3', '240.0.0.1', '255.255.255.255', '169.254.1.1', '0.1.2.3'].map(parseIp);
const ODD6 = ['::', '::1', 'ff02::1', 'ff0e::7', 'fe80::1', 'febf::1', 'fec0::1', '::2', '10.0.0.10', '2001:db8:0:9::9'].map(parseIp);

/** A fresh world for a seed: equal seeds and devices make equal worlds. */
export function createWorld(seed: number, devices: WorldDevices): World {
  return new WorldBuilder(seed, devices).build();
}

class WorldBuilder {
  readonly #seed: number;
  readonly #rng: Rng;
  readonly #devices: WorldDevices;
  readonly #now: bigint;
  readonly #changes: TableChange[] = [];
  readonly #ports: WorldPort[] = [];
  readonly #members: WorldMember[] = [];
  readonly #subnets: WorldSubnet[] = [];

  constructor(seed: number, devices: WorldDevices) {
    this.#seed = seed;
    this.#rng = new Rng(seed ^ 0x5eed);
    this.#devices = devices;
    this.#now = 1_000_000_000_000n + BigInt(this.#rng.next());
  }

  build(): World {
    this.#addSubnets();
    this.#devices.portIfindexes.forEach((ifindex, i) => {
      this.#addPort(ifindex, i);
    });
    for (const subnet of this.#subnets) if (subnet.index < 2) this.#addOthers(subnet);
    for (let tenant = 0; tenant < 2; tenant++) {
      this.#addGateway(tenant);
      this.#addRoutes(tenant);
      this.#addSpeakers(tenant);
    }
    return {
      seed: this.#seed,
      changes: this.#changes,
      ports: this.#ports,
      members: this.#members,
      subnets: this.#subnets,
      pa: OWN_PA,
      peers: [...HOSTS, ...GATEWAYS, STRANGER],
      udpPort: 4789,
      nowBootNs: this.#now,
      underlayIfindex: this.#devices.underlayIfindex,
      routed4: ROUTED4,
      routed6: ROUTED6,
      addresses4: [...this.#members.flatMap(({ cas4 }) => cas4), ...this.#gateways('gateway4'), ...ROUTED4, ...ODD4],
      addresses6: [...this.#members.flatMap(({ cas6 }) => cas6), ...this.#gateways('gateway6'), ...ROUTED6, ...ODD6],
      macs: [
        ...this.#members.map(({ mac }) => mac),
        ...this.#subnets.map(({ vsid }) => gatewayMac(vsid)),
        ...['ff:ff:ff:ff:ff:ff', '33:33:00:00:00:01', '01:00:5e:00:00:01', '00:00:00:00:00:00', '02:57:46:00:00:00'].map(parseMac),
      ],
    };
  }

  #gateways(family: 'gateway4' | 'gateway6'): Uint8Array[] {
    return this.#subnets.flatMap((subnet) => subnet[family] ?? []);
  }

  #addSubnets(): void {
    const rng = this.#rng;
    const vsid = 4096 + rng.below(16_777_214 - 4096 - 64);
    const networkId = 1 + rng.below(0xffff_fff0);
    for (let tenant = 0; tenant < 2; tenant++) {
      for (let index = 0; index < 3; index++) {
        const subnet: WorldSubnet = {
          tenant,
          index,
          networkId: networkId + tenant,
          vsid: vsid + tenant * 16 + index,
          gateway4: rng.oneIn(8) ? undefined : parseIp(`10.0.${index}.1`),
          gateway6: rng.oneIn(8) ? undefined : parseIp(`2001:db8:0:${index}::1`),
        };
        this.#subnets.push(subnet);
        const { gateway4 = NO_ADDRESS, gateway6 = NO_ADDRESS } = subnet;
        const value = { networkId: subnet.networkId, flags: 0, gateway4, gateway6 };
        this.#changes.push({ op: 'put', table: 'subnet', key: { vsid: subnet.vsid }, value });
      }
    }
  }

  #addPort(ifindex: number, i: number): void {
    const rng = this.#rng;
    const subnet = this.#subnetOf(i % 2, (i >> 1) % 2);
    const flags = rng.oneIn(3) ? TargetFlag.VETH : 0;
    const isReady = !rng.oneIn(60);
    const member = this.#addMember(subnet, i >> 2, { kind: TargetKind.LOCAL, ifindexOrShard: ifindex, pa: OWN_PA, flags }, this.#move());
    const mtuBytes = rng.pick(MTUS);
    this.#ports.push({ ...member, ifindex, mtuBytes, isReady });
    const portFlags = (isReady ? PortFlag.READY : 0) | (flags === 0 ? 0 : PortFlag.VETH);
    const value = { networkId: subnet.networkId, vsid: subnet.vsid, mtuBytes, flags: portFlags, mac: member.mac };
    this.#changes.push({ op: 'put', table: 'port', key: { ifindex }, value });
  }

  #addOthers(subnet: WorldSubnet): void {
    const rng = this.#rng;
    const moved = { prevPa: HOSTS[2]!, prevUntilBootNs: this.#now + 1_000_000_000n };
    const ended = { prevPa: HOSTS[2]!, prevUntilBootNs: this.#now - BigInt(rng.below(2)) };
    this.#addMember(subnet, 20, { kind: TargetKind.PEER, pa: HOSTS[0]! }, this.#move());
    this.#addMember(subnet, 21, { kind: TargetKind.PEER, pa: HOSTS[1]! }, {});
    this.#addMember(subnet, 22, { kind: TargetKind.PEER, pa: HOSTS[0]! }, moved);
    this.#addMember(subnet, 23, { kind: TargetKind.PEER, pa: HOSTS[1]! }, ended);
    this.#addMember(subnet, 24, { kind: TargetKind.REDIRECT, pa: HOSTS[0]! }, rng.oneIn(2) ? {} : { ...moved, prevPa: OWN_PA });
    this.#addMember(subnet, 25, { kind: TargetKind.DENY }, {});
    // A kind that this version doesn't know: whatever else stands there, nothing is sent to it.
    this.#addMember(subnet, 27, { kind: rng.pick([5, 6, 255]) as TargetKind, pa: HOSTS[0]! }, this.#move());
    if (rng.oneIn(2)) this.#addMember(subnet, 26, { kind: TargetKind.PEER, pa: rng.oneIn(2) ? NO_ADDRESS : OWN_PA }, {});
  }

  /** The gateway's subnet, its wildcard record and its shard: owned, without owner, owned by this host, being handed over, or unknown. */
  #addGateway(tenant: number): void {
    const rng = this.#rng;
    const id = tenant + 1;
    this.#addMember(this.#subnetOf(tenant, 2), 2, { kind: TargetKind.SHARD, ifindexOrShard: id }, {});
    if (rng.oneIn(8)) return;
    const pa = rng.oneIn(8) ? NO_ADDRESS : rng.oneIn(8) ? OWN_PA : GATEWAYS[0]!;
    const { prevPa = NO_ADDRESS, prevUntilBootNs = 0n } = rng.oneIn(2)
      ? { prevPa: GATEWAYS[1]!, prevUntilBootNs: this.#now + BigInt(rng.below(3)) - 1n }
      : {};
    const value = { epoch: BigInt(rng.next()), pa, prevPa, prevUntilBootNs };
    this.#changes.push({ op: 'put', table: 'shard', key: { id }, value });
  }

  #addRoutes(tenant: number): void {
    const subnet = this.#subnetOf(tenant, 0);
    const local = this.#ports.find((port) => port.subnet === subnet)?.cas4[0];
    const onLink = (index: number): { kind: RouteKind; vsid: number } => ({
      kind: RouteKind.ON_LINK,
      vsid: this.#subnetOf(tenant, index).vsid,
    });
    for (let index = 0; index < 3; index++) {
      this.#addRoute(tenant, `10.0.${index}.0`, 120, onLink(index));
      this.#addRoute(tenant, `2001:db8:0:${index}::`, 64, onLink(index));
    }
    const hops = [local ?? parseIp('10.0.0.30'), parseIp('10.0.0.30'), parseIp('10.0.0.77')];
    hops.forEach((nextHop, i) => {
      this.#addRoute(tenant, `172.${16 + i}.0.0`, 112, { kind: RouteKind.NEXT_HOP, nextHop });
      // A next hop of the other family is odd but sound: its record says where, whatever the family.
      this.#addRoute(tenant, `2001:db8:${16 + i}::`, 48, { kind: RouteKind.NEXT_HOP, nextHop });
    });
    this.#addRoute(tenant, '10.66.0.0', 112, { kind: RouteKind.BLACKHOLE });
    this.#addRoute(tenant, '2001:db8:66::', 48, { kind: RouteKind.BLACKHOLE });
    this.#addRoute(tenant, '10.67.0.0', 112, { kind: RouteKind.DENY });
    this.#addRoute(tenant, '2001:db8:67::', 48, { kind: RouteKind.DENY });
    this.#addRoute(tenant, '172.16.99.0', 120, { kind: RouteKind.BLACKHOLE });
    if (this.#rng.oneIn(5)) return;
    this.#addRoute(tenant, '0.0.0.0', 96, { kind: RouteKind.NEXT_HOP, nextHop: parseIp('10.0.2.12') });
    this.#addRoute(tenant, '2000::', 3, { kind: RouteKind.NEXT_HOP, nextHop: parseIp('2001:db8:0:2::12') });
  }

  #addRoute(tenant: number, prefix: string, prefixLength: number, route: { kind: RouteKind; vsid?: number; nextHop?: Uint8Array }): void {
    const { networkId } = this.#subnetOf(tenant, 0);
    const { kind, vsid = 0, nextHop = NO_ADDRESS } = route;
    this.#changes.push({
      op: 'put',
      table: 'route',
      key: { networkId, prefix: parseIp(prefix), prefixLength },
      value: { kind, vsid, nextHop },
    });
  }

  /** The third host and the second gateway speak for the first tenant only. */
  #addSpeakers(tenant: number): void {
    const { networkId } = this.#subnetOf(tenant, 0);
    const speaks = (pa: Uint8Array, value: number): void => {
      this.#changes.push({ op: 'put', table: 'speaker', key: { pa, networkId }, value });
    };
    for (const pa of HOSTS.slice(0, tenant === 0 ? 3 : 2)) speaks(pa, SpeakerFlag.HOST);
    for (const pa of GATEWAYS.slice(0, tenant === 0 ? 2 : 1)) speaks(pa, SpeakerFlag.GATEWAY);
  }

  #addMember(
    subnet: WorldSubnet,
    number: number,
    at: Partial<Target> & { readonly kind: TargetKind },
    move: { readonly prevPa?: Uint8Array; readonly prevUntilBootNs?: bigint },
  ): WorldMember {
    const rng = this.#rng;
    const { vsid, networkId, index } = subnet;
    const host = 10 + number;
    const mac = parseMac(`02:00:00:00:00:${host.toString(16).padStart(2, '0')}`);
    const cas4 = [parseIp(`10.0.${index}.${host}`)];
    if (rng.oneIn(2)) cas4.push(parseIp(`10.0.${index}.${150 + number}`));
    const cas6 = rng.oneIn(6) && index < 2 ? [] : [parseIp(`2001:db8:0:${index}::${host}`)];
    if (rng.oneIn(3)) cas6.push(parseIp(`2001:db8:0:${index}::f:${host}`));
    const target: Target = {
      mac,
      flags: 0,
      vsid,
      ifindexOrShard: 0,
      pa: NO_ADDRESS,
      prevPa: NO_ADDRESS,
      prevUntilBootNs: 0n,
      generation: BigInt(1 + rng.below(1000)),
      ...at,
      ...move,
    };
    for (const ca of [...cas4, ...cas6]) this.#changes.push({ op: 'put', table: 'lookup', key: { networkId, ca }, value: target });
    this.#changes.push({ op: 'put', table: 'l2', key: { vsid, mac }, value: target });
    const member: WorldMember = { subnet, mac, cas4, cas6, target };
    this.#members.push(member);
    return member;
  }

  /** Sometimes: has just come from a host, with a second home that is still good, just over, or long over. */
  #move(): { readonly prevPa?: Uint8Array; readonly prevUntilBootNs?: bigint } {
    if (!this.#rng.oneIn(2)) return {};
    return { prevPa: this.#rng.pick(HOSTS), prevUntilBootNs: this.#now + this.#rng.pick([2_000_000_000n, 1n, 0n, -1n]) };
  }

  #subnetOf(tenant: number, index: number): WorldSubnet {
    return this.#subnets[tenant * 3 + index]!;
  }
}
