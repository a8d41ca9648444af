import { spawn } from 'node:child_process';
import {
  ExternalAddressKind,
  ExternalPrefixKind,
  GatewayFlag,
  type GatewayMode,
  type GatewayTableChange,
  gatewayPortMac,
  GatewayMode as Mode,
  RouteKind,
  SourceRuleKind,
  SpeakerFlag,
  type TableChange,
  type Target,
  TargetKind,
} from '@weft/forwarding';
import { parseIp, parseMac } from '@weft/packet';
import { inNetns } from '@weft/tuntap';
import { Lab, type LabHost, netnsPath, sh, shIn } from './lab.ts';

/*
 *   VMs - host A - tunnel - host B, the gateway - [out0]========[eth0] server
 *                                                  segment 1, 203.0.113.0/24, 2001:db8:ffff::/64
 *
 *   .1 the server     .10 where the outside routes prefixes to     .20 STATIC     .30 POOL
 */

export interface LabNetwork {
  readonly networkId: number;
  readonly vsid: number;
  readonly prefix: string;
  /** The gateway's subnet. */
  readonly gatewayVsid: number;
  readonly mode: GatewayMode;
  readonly flags: number;
}

export const BLUE: LabNetwork = {
  networkId: 7,
  vsid: 5101,
  prefix: '10.1.1',
  gatewayVsid: 5201,
  mode: Mode.FORWARD,
  flags: GatewayFlag.NPTV6,
};
export const RED: LabNetwork = { networkId: 8, vsid: 5102, prefix: '10.1.2', gatewayVsid: 5202, mode: Mode.INSIDE, flags: 0 };
export const SERVER4 = '203.0.113.1';
export const SERVER6 = '2001:db8:ffff::1';
export const SHARD = 1;
export const EPOCH = 5n;
/** Larger than any clock. */
export const FOREVER: bigint = 1n << 62n;
const SEGMENT = 1;
const NO_ADDRESS = new Uint8Array(16);
const VM_MTU = 1450;

export const gatewayCa4 = ({ prefix }: LabNetwork): string => prefix.replace(/\.(\d+)$/, (_, third: string) => `.20${third}.2`);
export const gatewayCa6 = ({ gatewayVsid }: LabNetwork): string => `2001:db8:${gatewayVsid}::2`;

export class GatewayLab extends Lab {
  readonly server: string;
  readonly outIfindex: number;
  readonly #outMac: Uint8Array;

  constructor() {
    super();
    this.server = this.addNetns('server');
    const { netns } = this.b;
    sh(`ip link add out0 netns ${netns} type veth peer name eth0 netns ${this.server}`);
    sh(
      `ip -n ${this.server} addr add ${SERVER4}/24 dev eth0; ip -n ${this.server} addr add ${SERVER6}/64 dev eth0 nodad; ip -n ${this.server} link set eth0 up`,
    );
    sh(
      `ip -n ${this.server} route add ${BLUE.prefix}.0/24 via 203.0.113.10; ip -n ${this.server} route add 2001:db8:f101::/48 via 2001:db8:ffff::10`,
    );
    // Addresses of the member's own, and a link-local one: what it asks for neighbours from.
    shIn(netns, 'sysctl -qw net.ipv6.conf.out0.addr_gen_mode=0');
    sh(
      `ip -n ${netns} addr add 203.0.113.2/24 dev out0; ip -n ${netns} addr add 2001:db8:ffff::2/64 dev out0 nodad; ip -n ${netns} link set out0 up`,
    );
    this.outIfindex = Number(shIn(netns, 'ip -o link show out0 | cut -d: -f1'));
    this.#outMac = parseMac(shIn(netns, 'ip -o link show out0').match(/link\/ether ([0-9a-f:]+)/)![1]!);
    for (const network of [BLUE, RED]) for (const host of this.hosts) host.datapath.apply(this.#hostRows(network, host));
    this.b.datapath.gateway.apply(this.gatewayRows());
    this.b.datapath.gateway.nat.set('pool', { pool: 3 }, { addresses: [{ segment: SEGMENT, address: parseIp('203.0.113.30') }] });
    this.b.datapath.gateway.nat.set(
      'free',
      { segment: SEGMENT, address: parseIp('203.0.113.30') },
      {
        own: new Uint8Array(128).fill(0xff),
        blocks: [16, 17, 18, 19].map((block) => ({ block, freeAtS: 0 })),
      },
    );
    this.b.datapath.gateway.nat.set(
      'quota',
      { networkId: RED.networkId },
      { blocks: 100, blocksPerSource: 4, sessions: 1000, newFlowsPerSecond: 0 },
    );
    this.b.in(() => this.b.datapath.gateway.attachExternal({ name: 'out0', ifindex: this.outIfindex }));
  }

  own(deadlineBootNs: bigint): boolean {
    return this.b.datapath.gateway.setDeadline(SHARD, EPOCH, deadlineBootNs);
  }

  /** Runs a command while this process's event loop goes on moving the frames of the TAPs. */
  run(netns: string, command: string): Promise<{ status: number | null; output: string }> {
    return new Promise((resolve) => {
      const child = inNetns(netnsPath(netns), () => spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] }));
      let output = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (data: Buffer) => {
          output += data.toString();
        });
      }
      child.on('close', (status) => resolve({ status, output }));
    });
  }

  #hostRows({ networkId, gatewayVsid: vsid, prefix, ...rest }: LabNetwork, host: LabHost): TableChange[] {
    const network = { networkId, gatewayVsid: vsid, prefix, ...rest };
    const isGateway = host === this.b;
    const mac = gatewayPortMac(vsid);
    const target: Target = {
      mac,
      kind: TargetKind.SHARD,
      flags: 0,
      vsid,
      ifindexOrShard: SHARD,
      pa: NO_ADDRESS,
      prevPa: NO_ADDRESS,
      prevUntilBootNs: 0n,
      generation: 1n,
    };
    const rows: TableChange[] = [
      { op: 'put', table: 'subnet', key: { vsid }, value: { networkId, flags: 0, gateway4: NO_ADDRESS, gateway6: NO_ADDRESS } },
      {
        op: 'put',
        table: 'shard',
        key: { id: SHARD },
        value: { epoch: EPOCH, pa: parseIp(this.b.pa), prevPa: NO_ADDRESS, prevUntilBootNs: 0n },
      },
      { op: 'put', table: 'l2', key: { vsid, mac }, value: isGateway ? { ...target, kind: TargetKind.GATEWAY } : target },
      { op: 'put', table: 'speaker', key: { pa: parseIp(this.b.pa), networkId }, value: SpeakerFlag.GATEWAY | SpeakerFlag.HOST },
    ];
    for (const [ca, prefixLength, prefixText] of [
      [gatewayCa4(network), 96, '0.0.0.0'],
      [gatewayCa6(network), 0, '::'],
    ] as const) {
      rows.push({ op: 'put', table: 'lookup', key: { networkId, ca: parseIp(ca) }, value: target });
      const value = { kind: RouteKind.NEXT_HOP, vsid: 0, nextHop: parseIp(ca) };
      rows.push({ op: 'put', table: 'route', key: { networkId, prefix: parseIp(prefixText), prefixLength }, value });
    }
    return rows;
  }

  gatewayRows(): GatewayTableChange[] {
    const key = { segment: SEGMENT };
    const mac = this.#outMac;
    const ifindex = this.outIfindex;
    const rows: GatewayTableChange[] = [
      { op: 'put', table: 'external', key: { ifindex }, value: { segment: SEGMENT, mtuBytes: 1500, mac } },
      {
        op: 'put',
        table: 'segment',
        key,
        value: { ifindex, mtuBytes: 1400, mac, address4: parseIp('203.0.113.2'), address6: parseIp('2001:db8:ffff::2') },
      },
      {
        op: 'put',
        table: 'gateway_shard',
        key: { shard: SHARD },
        value: { epoch: EPOCH, deadlineBootNs: FOREVER, handoverUntilBootNs: 0n, handoverPa: NO_ADDRESS, handoverMac: new Uint8Array(6) },
      },
      {
        op: 'put',
        table: 'external_route',
        key: { ...key, prefix: parseIp('203.0.113.0'), prefixLength: 120 },
        value: { nextHop: NO_ADDRESS },
      },
      {
        op: 'put',
        table: 'external_route',
        key: { ...key, prefix: parseIp('2001:db8:ffff::'), prefixLength: 64 },
        value: { nextHop: NO_ADDRESS },
      },
      {
        op: 'put',
        table: 'external_prefix',
        key: { ...key, prefix: parseIp(`${BLUE.prefix}.0`), prefixLength: 120 },
        value: { networkId: BLUE.networkId, kind: ExternalPrefixKind.FORWARD },
      },
      {
        op: 'put',
        table: 'external_prefix',
        key: { ...key, prefix: parseIp('2001:db8:f101::'), prefixLength: 48 },
        value: { networkId: BLUE.networkId, kind: ExternalPrefixKind.NPT },
      },
    ];
    for (const network of [BLUE, RED]) {
      const { networkId, gatewayVsid: vsid, mode, flags } = network;
      const value = {
        shard: SHARD,
        segment: SEGMENT,
        vsid,
        mode,
        flags,
        pool: 3,
        gateway4: parseIp(gatewayCa4(network)),
        gateway6: parseIp(gatewayCa6(network)),
        nptInside: parseIp('2001:db8:5101::'),
        nptOutside: parseIp('2001:db8:f101::'),
        nptBits: 48,
        mtuBytes: VM_MTU,
      };
      rows.push({ op: 'put', table: 'gateway_network', key: { networkId }, value });
      const other = network === BLUE ? RED : BLUE;
      for (const [prefix, prefixLength] of [
        [`${other.prefix}.0`, 120],
        [`2001:db8:${other.vsid}::`, 48],
      ] as const) {
        rows.push({
          op: 'put',
          table: 'peering',
          key: { networkId, prefix: parseIp(prefix), prefixLength },
          value: { networkId: other.networkId, flags: 0 },
        });
      }
    }
    const address = (text: string, kind: ExternalAddressKind, ca?: string): void => {
      const value = {
        shard: SHARD,
        kind,
        networkId: ca === undefined ? 0 : RED.networkId,
        ca: ca === undefined ? NO_ADDRESS : parseIp(ca),
      };
      rows.push({ op: 'put', table: 'external_address', key: { ...key, address: parseIp(text) }, value });
    };
    address('203.0.113.10', ExternalAddressKind.RESERVED);
    address('2001:db8:ffff::10', ExternalAddressKind.RESERVED);
    address('203.0.113.20', ExternalAddressKind.STATIC, `${RED.prefix}.2`);
    address('2001:db8:ffff::20', ExternalAddressKind.STATIC, `2001:db8:${RED.vsid}::2`);
    address('203.0.113.30', ExternalAddressKind.POOL);
    const rule = (source: string, kind: SourceRuleKind, to: string): void => {
      const value = { kind, pool: kind === SourceRuleKind.POOL ? 3 : 0, address: to === '' ? NO_ADDRESS : parseIp(to) };
      rows.push({ op: 'put', table: 'source_rule', key: { networkId: RED.networkId, prefix: parseIp(source), prefixLength: 128 }, value });
    };
    rule(`${RED.prefix}.2`, SourceRuleKind.STATIC, '203.0.113.20');
    rule(`2001:db8:${RED.vsid}::2`, SourceRuleKind.STATIC, '2001:db8:ffff::20');
    rule(`${RED.prefix}.3`, SourceRuleKind.POOL, '');
    return rows;
  }
}
