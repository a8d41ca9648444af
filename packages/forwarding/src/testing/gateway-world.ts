import { parseIp, parseMac } from '@weft/packet';
import {
  ExternalAddressKind,
  ExternalPrefixKind,
  GatewayFlag,
  type GatewayMode,
  type GatewayTableChange,
  SourceRuleKind,
} from '../gateway/gateway-tables.ts';
import { gatewayPortMac } from '../gateway-mac.ts';
import { type TableChange, type Target, TargetKind } from '../tables.ts';
import { Rng } from './rng.ts';
import { createWorld, type World, type WorldDevices, type WorldMember, type WorldSubnet } from './world.ts';

// A world whose host is a gateway of both tenants. Its two external devices lead to two segments with equal addresses:
//
//   .10, ::10  POOL     .11, ::11  STATIC to a port here     .12, ::12  STATIC to a peer     .13, ::13  RESERVED     .14, ::14  DENY
//   .15, ::15  STATIC of the other shard                     .16  STATIC to a CA of the other family
//   10.0/16, 2001:db8::/48  as they are (segment 1: first tenant, segment 2: second)      2001:db8:f048::/48, f056::/56, f064::/64  by NPT
//
// and the tenants peer: 10.77/16 and 2001:db8:77::/48 are the second's as the first sees it, 10.78/16 and 2001:db8:78::/48 the other way round.

export interface GatewayWorldDevices extends WorldDevices {
  /** Two. */
  readonly externalIfindexes: readonly number[];
}

/** An external device of the world. */
export interface WorldExternal {
  readonly ifindex: number;
  readonly segment: number;
  readonly mac: Uint8Array;
}

export interface GatewayWorld extends World {
  /** All rows of the gateway, as `put`s. */
  readonly gatewayChanges: readonly GatewayTableChange[];
  readonly externals: readonly WorldExternal[];
  /** The tenants' gateway subnets. */
  readonly gatewaySubnets: readonly WorldSubnet[];
  /** By tenant: the shard that its gateway's target names. */
  readonly shards: readonly number[];
  /** External addresses, and those of prefixes. */
  readonly outside4: readonly Uint8Array[];
  readonly outside6: readonly Uint8Array[];
  /** Addresses of port mapping. */
  readonly pools: readonly { readonly pool: number; readonly segment: number; readonly address: Uint8Array }[];
}

const NO_ADDRESS: Uint8Array = new Uint8Array(16);
const NO_MAC: Uint8Array = new Uint8Array(6);
/** Beyond the segments: no tenant has these. */
export const REMOTE4: Uint8Array = parseIp('198.51.100.7');
export const REMOTE6: Uint8Array = parseIp('2a00::7');
const GATEWAY_CA4 = parseIp('10.0.2.12');
const GATEWAY_CA6 = parseIp('2001:db8:0:2::12');
const NPT_OUTSIDE: Readonly<Record<number, Uint8Array>> = {
  40: parseIp('2001:db8:f000::'),
  48: parseIp('2001:db8:f048::'),
  56: parseIp('2001:db8:f056:1100::'),
  64: parseIp('2001:db8:f064:64::'),
};

/** A fresh world for a seed: equal seeds and devices make equal worlds. */
export function createGatewayWorld(seed: number, devices: GatewayWorldDevices): GatewayWorld {
  return new GatewayWorldBuilder(createWorld(seed, devices), devices).build();
}

class GatewayWorldBuilder {
  readonly #base: World;
  readonly #rng: Rng;
  readonly #changes: TableChange[] = [];
  readonly #gateway: GatewayTableChange[] = [];
  readonly #externals: readonly WorldExternal[];
  readonly #shards: readonly number[];
  readonly #outside4: Uint8Array[] = [];
  readonly #outside6: Uint8Array[] = [];

  constructor(base: World, devices: GatewayWorldDevices) {
    this.#base = base;
    this.#rng = new Rng(base.seed ^ 0x6a7e);
    this.#externals = devices.externalIfindexes.map((ifindex, i) => ({
      ifindex,
      segment: i + 1,
      mac: parseMac(`02:00:00:00:ee:0${i + 1}`),
    }));
    this.#shards = this.#rng.oneIn(2) ? [1, 1] : [1, 2];
  }

  build(): GatewayWorld {
    for (let tenant = 0; tenant < 2; tenant++) {
      this.#addTargets(tenant);
      this.#addNetwork(tenant);
      this.#addPeering(tenant);
      this.#addRules(tenant);
    }
    this.#addShards();
    for (const external of this.#externals) this.#addSegment(external);
    for (const pa of [this.#base.peers[0]!, this.#base.peers[3]!]) {
      this.#gateway.push({ op: 'put', table: 'peer_gateway', key: { pa }, value: 1 });
    }
    const base = this.#base;
    const remotes4 = [REMOTE4, GATEWAY_CA4, ...['10.77.0.20', '10.78.0.20', '203.0.113.1'].map(parseIp)];
    const remotes6 = [REMOTE6, GATEWAY_CA6, ...['2001:db8:77::20', '2001:db8:78::20', '2001:db8:0:ffff::9'].map(parseIp)];
    return {
      ...base,
      changes: [...base.changes, ...this.#changes],
      gatewayChanges: this.#gateway,
      externals: this.#externals,
      gatewaySubnets: [this.#subnet(0), this.#subnet(1)],
      shards: this.#shards,
      outside4: this.#outside4,
      outside6: this.#outside6,
      pools: [0, 1].flatMap((tenant) => [
        { pool: tenant + 1, segment: tenant + 1, address: parseIp('203.0.113.10') },
        { pool: (tenant + 1 + 0x8000_0000) >>> 0, segment: tenant + 1, address: parseIp('2001:db8:0:ffff::10') },
      ]),
      addresses4: [...base.addresses4, ...this.#outside4, ...remotes4],
      addresses6: [...base.addresses6, ...this.#outside6, ...remotes6],
      macs: [...base.macs, ...[0, 1].map((tenant) => gatewayPortMac(this.#subnet(tenant).vsid)), ...this.#externals.map(({ mac }) => mac)],
    };
  }

  #subnet(tenant: number): WorldSubnet {
    return this.#base.subnets.find((subnet) => subnet.tenant === tenant && subnet.index === 2)!;
  }

  /** The gateway's own port here, and the shard that the tenant's hosts send to: mostly this one. */
  #addTargets(tenant: number): void {
    const rng = this.#rng;
    const { vsid, networkId } = this.#subnet(tenant);
    const id = this.#shards[tenant]!;
    const mac = gatewayPortMac(vsid);
    const target: Target = {
      mac,
      kind: TargetKind.GATEWAY,
      flags: 0,
      vsid,
      ifindexOrShard: id,
      pa: NO_ADDRESS,
      prevPa: NO_ADDRESS,
      prevUntilBootNs: 0n,
      generation: 1n,
    };
    this.#changes.push({ op: 'put', table: 'l2', key: { vsid, mac }, value: target });
    for (const ca of [GATEWAY_CA4, GATEWAY_CA6]) {
      this.#changes.push({ op: 'put', table: 'lookup', key: { networkId, ca }, value: { ...target, kind: TargetKind.SHARD } });
    }
    const former = rng.oneIn(3)
      ? { prevPa: this.#base.peers[4]!, prevUntilBootNs: this.#base.nowBootNs + BigInt(rng.below(2)) }
      : undefined;
    const { prevPa = NO_ADDRESS, prevUntilBootNs = 0n } = former ?? {};
    const pa = rng.oneIn(6) ? this.#base.peers[3]! : this.#base.pa;
    this.#changes.push({ op: 'put', table: 'shard', key: { id }, value: { epoch: 7n, pa, prevPa, prevUntilBootNs } });
  }

  #addNetwork(tenant: number): void {
    const rng = this.#rng;
    const { vsid, networkId } = this.#subnet(tenant);
    if (rng.oneIn(30)) return;
    const nptBits = rng.pick([40, 48, 48, 56, 64, 64, 0, 65]);
    this.#gateway.push({
      op: 'put',
      table: 'gateway_network',
      key: { networkId },
      value: {
        shard: rng.oneIn(30) ? 9 : this.#shards[tenant]!,
        segment: rng.oneIn(20) ? 3 : tenant + 1,
        vsid: rng.oneIn(40) ? vsid + 1 : vsid,
        mode: rng.pick([1, 1, 1, 2, 2, 2, 3, rng.below(5)]) as GatewayMode,
        flags: rng.pick([GatewayFlag.NPTV6, GatewayFlag.NPTV6, GatewayFlag.FORWARD6, GatewayFlag.NAT66, rng.below(8)]),
        pool: tenant + 1,
        gateway4: rng.oneIn(12) ? NO_ADDRESS : GATEWAY_CA4,
        gateway6: rng.oneIn(12) ? NO_ADDRESS : GATEWAY_CA6,
        nptInside: parseIp('2001:db8::'),
        nptOutside: NPT_OUTSIDE[nptBits] ?? parseIp('2001:db8:f048::'),
        nptBits,
        mtuBytes: rng.pick([1280, 1400, 1450, 1500]),
      },
    });
  }

  /** The other tenant's members under addresses of their own, and this tenant's where the other sees them. */
  #addPeering(tenant: number): void {
    const rng = this.#rng;
    const { networkId } = this.#subnet(tenant);
    const other = this.#subnet(1 - tenant).networkId;
    const members = this.#base.members.filter(({ subnet }) => subnet.tenant === tenant && subnet.index < 2);
    const own = tenant === 0 ? '78' : '77';
    const theirs = tenant === 0 ? '77' : '78';
    members.forEach(({ target }, i) => {
      for (const ca of [parseIp(`10.${own}.0.${20 + i}`), parseIp(`2001:db8:${own}::${20 + i}`)]) {
        this.#changes.push({ op: 'put', table: 'lookup', key: { networkId, ca }, value: target });
      }
    });
    if (rng.oneIn(10)) return;
    const value = { networkId: rng.oneIn(12) ? 0 : other, flags: 0 };
    for (const [prefix, prefixLength] of [
      [`10.${theirs}.0.0`, 112],
      [`2001:db8:${theirs}::`, 48],
    ] as const) {
      this.#gateway.push({ op: 'put', table: 'peering', key: { networkId, prefix: parseIp(prefix), prefixLength }, value });
    }
  }

  #addRules(tenant: number): void {
    const rng = this.#rng;
    const { networkId } = this.#subnet(tenant);
    const members = this.#base.members.filter(({ subnet }) => subnet.tenant === tenant);
    for (const { cas4, cas6 } of members) {
      for (const [cas, address, other] of [
        [cas4, '203.0.113.11', '2001:db8:0:ffff::11'],
        [cas6, '2001:db8:0:ffff::11', '203.0.113.11'],
      ] as const) {
        const prefix = cas[0];
        if (prefix === undefined || !rng.oneIn(2)) continue;
        const kind = rng.pick([
          SourceRuleKind.STATIC,
          SourceRuleKind.STATIC,
          SourceRuleKind.STATIC,
          SourceRuleKind.PLAIN,
          SourceRuleKind.POOL,
          rng.below(6),
        ]);
        const pool = (rng.oneIn(8) ? 9 : tenant + 1) | (cas === cas6 ? 0x8000_0000 : 0);
        const value = { kind: kind as SourceRuleKind, pool: pool >>> 0, address: parseIp(rng.oneIn(8) ? other : address) };
        this.#gateway.push({ op: 'put', table: 'source_rule', key: { networkId, prefix, prefixLength: 128 }, value });
      }
    }
  }

  /** Owned, lost, or just being handed over. */
  #addShards(): void {
    const rng = this.#rng;
    const now = this.#base.nowBootNs;
    for (const shard of [1, 2]) {
      if (rng.oneIn(20)) continue;
      this.#gateway.push({
        op: 'put',
        table: 'gateway_shard',
        key: { shard },
        value: {
          epoch: 7n + BigInt(rng.next()) * 0x1_0000_0000n,
          deadlineBootNs: rng.oneIn(5) ? now - BigInt(rng.below(2)) : now + 1n + BigInt(rng.below(1000)),
          handoverUntilBootNs: rng.oneIn(2) ? now + BigInt(rng.below(2)) : 0n,
          handoverPa: rng.oneIn(8) ? NO_ADDRESS : this.#base.peers[4]!,
          handoverMac: rng.oneIn(8) ? NO_MAC : parseMac('02:00:00:00:ee:f1'),
        },
      });
    }
  }

  #addSegment({ ifindex, segment, mac }: WorldExternal): void {
    const rng = this.#rng;
    const tenant = segment - 1;
    const mtuBytes = rng.pick([1280, 1400, 1500, 1500]);
    if (!rng.oneIn(20)) this.#gateway.push({ op: 'put', table: 'external', key: { ifindex }, value: { segment, mtuBytes, mac } });
    const address4 = rng.oneIn(4) ? NO_ADDRESS : parseIp('203.0.113.2');
    const address6 = rng.oneIn(4) ? NO_ADDRESS : parseIp('2001:db8:0:ffff::2');
    if (!rng.oneIn(20)) {
      this.#gateway.push({ op: 'put', table: 'segment', key: { segment }, value: { ifindex, mtuBytes, mac, address4, address6 } });
    }
    const route = (prefix: string, prefixLength: number, nextHop: Uint8Array): void => {
      this.#gateway.push({
        op: 'put',
        table: 'external_route',
        key: { segment, prefix: parseIp(prefix), prefixLength },
        value: { nextHop },
      });
    };
    route('203.0.113.0', 120, NO_ADDRESS);
    route('2001:db8:0:ffff::', 64, NO_ADDRESS);
    if (!rng.oneIn(8)) route('0.0.0.0', 96, parseIp(rng.oneIn(4) ? 'fe80::1' : '203.0.113.1'));
    if (!rng.oneIn(8)) route('2000::', 3, parseIp('2001:db8:0:ffff::1'));
    this.#addAddresses(segment, tenant);
    this.#addPrefixes(segment, tenant);
  }

  #addAddresses(segment: number, tenant: number): void {
    const { networkId } = this.#subnet(tenant);
    const shard = this.#shards[tenant]!;
    const local = this.#member(tenant, TargetKind.LOCAL);
    const peer = this.#member(tenant, TargetKind.PEER);
    const add = (
      number: number,
      kind: ExternalAddressKind,
      member: WorldMember | undefined,
      other: Partial<{ shard: number; networkId: number }> = {},
    ): void => {
      for (const [address, ca] of [
        [parseIp(`203.0.113.${number}`), member?.cas4[0]],
        [parseIp(`2001:db8:0:ffff::${number}`), member?.cas6[0]],
      ] as const) {
        const value = { shard, kind, networkId: ca === undefined ? 0 : networkId, ca: ca ?? NO_ADDRESS, ...other };
        this.#gateway.push({ op: 'put', table: 'external_address', key: { segment, address }, value });
        if (segment === 1) (address[0] === 0 ? this.#outside4 : this.#outside6).push(address);
      }
    };
    add(10, ExternalAddressKind.POOL, undefined, {
      networkId: this.#rng.pick([0, 0, 0, networkId, networkId + 1]),
      shard: this.#rng.oneIn(8) ? 3 - shard : shard,
    });
    add(11, ExternalAddressKind.STATIC, local, this.#rng.oneIn(10) ? { networkId: networkId + 1 } : {});
    add(12, ExternalAddressKind.STATIC, peer);
    add(13, ExternalAddressKind.RESERVED, undefined);
    add(14, this.#rng.pick([ExternalAddressKind.DENY, 9 as ExternalAddressKind]), undefined);
    add(15, ExternalAddressKind.STATIC, peer, { shard: 3 - shard });
    const mixed = { shard, kind: ExternalAddressKind.STATIC, networkId, ca: peer?.cas6[0] ?? NO_ADDRESS };
    const address = parseIp('203.0.113.16');
    this.#gateway.push({ op: 'put', table: 'external_address', key: { segment, address }, value: mixed });
  }

  #addPrefixes(segment: number, tenant: number): void {
    const { networkId } = this.#subnet(tenant);
    const add = (prefix: string | Uint8Array, prefixLength: number, kind: number): void => {
      const key = { segment, prefix: typeof prefix === 'string' ? parseIp(prefix) : prefix, prefixLength };
      const of = this.#rng.oneIn(12) ? networkId + 1 : networkId;
      this.#gateway.push({ op: 'put', table: 'external_prefix', key, value: { networkId: of, kind: kind as ExternalPrefixKind } });
    };
    add('10.0.0.0', 112, ExternalPrefixKind.FORWARD);
    add('2001:db8::', 48, ExternalPrefixKind.FORWARD);
    add('10.0.1.128', 121, this.#rng.pick([ExternalPrefixKind.DENY, ExternalPrefixKind.NPT, 7]));
    for (const [bits, prefix] of Object.entries(NPT_OUTSIDE)) {
      add(prefix, Number(bits), ExternalPrefixKind.NPT);
      if (segment > 1) continue;
      for (const tail of ['::20', '::30', ':d550::20', ':ffff::20']) {
        const text = { 40: '2001:db8:f000', 48: '2001:db8:f048', 56: '2001:db8:f056', 64: '2001:db8:f064' }[bits]!;
        this.#outside6.push(parseIp(`${text}${tail}`));
      }
    }
  }

  #member(tenant: number, kind: TargetKind): WorldMember | undefined {
    return this.#base.members.find(({ subnet, target, cas6 }) => subnet.tenant === tenant && target.kind === kind && cas6.length > 0);
  }
}
