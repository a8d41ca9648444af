import {
  ARP_OPERATION,
  buildArpFrame,
  buildEthernet,
  buildIcmpEcho,
  buildIcmpv4,
  buildIcmpv6,
  buildIpv4,
  buildIpv6,
  buildNeighborAdvertisementFrame,
  buildNeighborSolicitationFrame,
  buildTcp,
  buildTcpFrame,
  buildUdp,
  buildUdpFrame,
  ETHER_TYPE,
  IP_PROTOCOL,
  isIpv4Mapped,
  multicastMacOf,
  parseIp,
  parseMac,
  setU16,
} from '@weft/packet';
import { encodeProbe, ProbeType } from '../gateway/probe.ts';
import { gatewayMac, gatewayPortMac } from '../gateway-mac.ts';
import { TargetKind } from '../tables.ts';
import { type GatewayWorld, REMOTE4, REMOTE6, type WorldExternal } from './gateway-world.ts';
import { mutate, mutateOuter } from './mutate.ts';
import type { NamedFrame } from './port-frames.ts';
import type { Rng } from './rng.ts';
import { SHAPES, shapeFrame } from './shapes.ts';
import { tunnelFrame } from './underlay-frames.ts';

/** A frame for one of the programs a gateway's traffic meets, as it comes in by `ifindex`. */
export interface GatewayTrialFrame {
  readonly program: 'from_port' | 'from_underlay' | 'from_external' | 'to_gateway';
  readonly ifindex: number;
  readonly frame: Uint8Array;
  readonly label: string;
  /** Of `to_gateway`: which network's, and whether it was sent on. */
  readonly entry?: { readonly networkId: number; readonly shard: number; readonly vsid: number; readonly isSecondHand: boolean };
}

const NEIGHBOR_MAC = parseMac('02:00:00:00:ee:99');
const BROADCAST = new Uint8Array(6).fill(0xff);
const UNDERLAY_SOURCE_MAC = parseMac('02:00:00:00:aa:01');
const UNDERLAY_MAC = parseMac('02:00:00:00:aa:02');
const OUTER_BYTES = 50;
const UNSPECIFIED6 = parseIp('::');

/** What an ICMP error quotes, as the shapes of tests go. */
const QUOTES = ['udp', 'tcp', 'tcp-8', 'echo', 'gre', 'fragment', 'short', 'udp-no-checksum', 'error'] as const;

interface Ends {
  readonly sourceMac: Uint8Array;
  readonly destinationMac: Uint8Array;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

/** An ICMP error from `ends.source`, about a packet from `quoted.source` to `quoted.destination`. */
function errorFrame(ends: Ends, quoted: { source: Uint8Array; destination: Uint8Array }, quote: (typeof QUOTES)[number]): Uint8Array {
  const isIpv4 = isIpv4Mapped(ends.source);
  const inner = quotedPacket(quoted, quote, isIpv4);
  const { source, destination } = ends;
  const message = isIpv4 ? buildIcmpv4({ type: 3, code: 1 }, inner) : buildIcmpv6({ type: 1, code: 0, source, destination }, inner);
  const packet = isIpv4
    ? buildIpv4({ source, destination, protocol: IP_PROTOCOL.icmp }, message)
    : buildIpv6({ source, destination, nextHeader: IP_PROTOCOL.icmpv6 }, message);
  const type = isIpv4 ? ETHER_TYPE.ipv4 : ETHER_TYPE.ipv6;
  return buildEthernet({ destination: ends.destinationMac, source: ends.sourceMac, type }, packet);
}

function quotedPacket(ends: { source: Uint8Array; destination: Uint8Array }, quote: (typeof QUOTES)[number], isIpv4: boolean): Uint8Array {
  const icmp = isIpv4 ? IP_PROTOCOL.icmp : IP_PROTOCOL.icmpv6;
  const data = new Uint8Array(16).fill(0x5a);
  const ip = (protocol: number, payload: Uint8Array): Uint8Array =>
    isIpv4 ? buildIpv4({ ...ends, protocol }, payload) : buildIpv6({ ...ends, nextHeader: protocol }, payload);
  const udp = buildUdp({ ...ends, sourcePort: 4000, destinationPort: 5000 }, data);
  const tcp = buildTcp({ ...ends, sourcePort: 4001, destinationPort: 443, flags: 0x10 }, data);
  switch (quote) {
    case 'udp':
      return ip(IP_PROTOCOL.udp, udp);
    case 'udp-no-checksum':
      setU16(udp, 6, 0);
      return ip(IP_PROTOCOL.udp, udp);
    case 'tcp':
      return ip(IP_PROTOCOL.tcp, tcp);
    case 'tcp-8':
      return ip(IP_PROTOCOL.tcp, tcp.subarray(0, 8));
    case 'echo':
      return ip(icmp, buildIcmpEcho({ ...ends, identifier: 9, sequence: 2 }, data));
    case 'gre':
      return ip(IP_PROTOCOL.gre, data);
    case 'error':
      return ip(icmp, isIpv4 ? buildIcmpv4({ type: 3, code: 3 }, data) : buildIcmpv6({ ...ends, type: 1, code: 4 }, data));
    case 'fragment': {
      const packet = ip(isIpv4 ? IP_PROTOCOL.udp : IP_PROTOCOL.fragment, udp);
      if (isIpv4) packet[7] = 3;
      else packet.set([17, 0, 0, 0x18], 40);
      return packet;
    }
    case 'short':
      return ip(IP_PROTOCOL.udp, udp).subarray(0, isIpv4 ? 26 : 46);
  }
}

/** What peers' hosts and this host's ports send to the gateway. */
function innerFrames(
  world: GatewayWorld,
  tenant: number,
): { readonly frame: Uint8Array; readonly label: string; readonly pa: Uint8Array }[] {
  const frames: { frame: Uint8Array; label: string; pa: Uint8Array }[] = [];
  const { vsid } = world.gatewaySubnets[tenant]!;
  const macs = { sourceMac: gatewayMac(vsid), destinationMac: gatewayPortMac(vsid) };
  const own = tenant === 0 ? '78' : '77';
  const theirs = tenant === 0 ? '77' : '78';
  const members = world.members.filter(({ subnet }) => subnet.tenant === tenant && subnet.index < 2);
  let turn = 0;
  const add = (kind: string, source: Uint8Array | undefined, destination: Uint8Array, pa: Uint8Array): void => {
    if (source === undefined || isIpv4Mapped(source) !== isIpv4Mapped(destination)) return;
    for (let i = 0; i < 2; i++) {
      const shape = SHAPES[turn++ % SHAPES.length]!;
      frames.push({ label: `${shape} ${kind}`, frame: shapeFrame(shape, { ...macs, source, destination }), pa });
    }
    const quote = QUOTES[turn++ % QUOTES.length]!;
    const quoted = { source: destination, destination: source };
    frames.push({ label: `error about ${quote} ${kind}`, frame: errorFrame({ ...macs, source, destination }, quoted, quote), pa });
  };
  members.forEach(({ cas4, cas6, target }, i) => {
    if (target.kind !== TargetKind.PEER && target.kind !== TargetKind.LOCAL) return;
    const origins = isIpv4Mapped(target.pa) ? [target.pa] : [];
    for (const pa of [...origins, ...(i % 3 === 0 ? [world.peers[4]!] : [])]) {
      for (const destination of [REMOTE4, ...world.outside4, parseIp('10.0.2.12'), parseIp('10.0.0.20'), parseIp('203.0.113.77')]) {
        add('to the outside', cas4[0], destination, pa);
      }
      for (const destination of [REMOTE6, ...world.outside6.slice(0, 8), parseIp('2001:db8:0:2::12'), parseIp('2001:db8:0:ffff::77')]) {
        add('to the outside', cas6[0], destination, pa);
      }
      for (let n = 20; n < 20 + members.length; n += 2) {
        add('to a peered network', parseIp(`10.${own}.0.${20 + i}`), parseIp(`10.${theirs}.0.${n}`), pa);
        add('to a peered network', parseIp(`2001:db8:${own}::${20 + i}`), parseIp(`2001:db8:${theirs}::${n}`), pa);
      }
      for (const [source, destination] of [
        [cas4[0], REMOTE4],
        [cas6[0], REMOTE6],
        [cas4[0], world.outside4[1]!],
      ] as const) {
        if (source === undefined) continue;
        const fields = { ...macs, source, destination, sourcePort: 41000, destinationPort: 443, flags: 0x02 };
        frames.push({ label: 'tcp syn to the outside', frame: buildTcpFrame(fields), pa });
        frames.push({ label: 'udp to the outside', frame: shapeFrame('udp', { ...macs, source, destination }), pa });
        frames.push({ label: 'echo to the outside', frame: shapeFrame('echo', { ...macs, source, destination }), pa });
      }
      // An error may quote what was sent to another than its sender: a router VM's, or a liar's.
      const other = members[(i + 1) % members.length]!;
      for (const [source, destination, about] of [
        [cas4[0], REMOTE4, other.cas4[0]],
        [cas6[0], REMOTE6, other.cas6[0]],
      ] as const) {
        if (source === undefined || about === undefined) continue;
        const quoted = { source: destination, destination: about };
        const frame = errorFrame({ ...macs, source, destination }, quoted, QUOTES[turn++ % QUOTES.length]!);
        frames.push({ label: 'error about what another was sent', frame, pa });
      }
      const ping = { ...macs, source: cas4[0]!, destination: parseIp('10.0.2.12') };
      frames.push({ label: 'ping of the gateway', frame: shapeFrame('echo', ping), pa });
      if (cas6[0] !== undefined) {
        const ping6 = { ...macs, source: cas6[0], destination: parseIp('2001:db8:0:2::12') };
        frames.push({ label: 'ping of the gateway', frame: shapeFrame('echo', ping6), pa });
        // An all-ones subnet has no counterpart.
        add('from an untranslatable address', parseIp('2001:db8:0:ffff::5'), REMOTE6, pa);
      }
    }
  });
  return frames;
}

function externalFrames(world: GatewayWorld, { mac }: WorldExternal): NamedFrame[] {
  const frames: NamedFrame[] = [];
  const macs = { sourceMac: NEIGHBOR_MAC, destinationMac: mac };
  let turn = 0;
  const inside4 = world.members.flatMap(({ cas4 }) => cas4);
  const inside6 = world.members.flatMap(({ cas6 }) => cas6);
  for (const destination of [...world.outside4, parseIp('203.0.113.16'), parseIp('203.0.113.99'), ...inside4]) {
    for (const source of [REMOTE4, world.outside4[turn % world.outside4.length]!, parseIp('203.0.113.1')]) send(source, destination);
  }
  for (const destination of [...world.outside6, ...inside6]) for (const source of [REMOTE6, parseIp('fe80::5')]) send(source, destination);
  const target4 = world.outside4[0]!;
  const target6 = world.outside6[0]!;
  const arp = (
    label: string,
    senderIp: Uint8Array,
    targetIp: Uint8Array,
    operation: number,
    senderMac: Uint8Array = NEIGHBOR_MAC,
  ): void => {
    frames.push({ label: `arp ${label}`, frame: buildArpFrame({ operation, senderMac, senderIp, targetIp }) });
  };
  for (const targetIp of [...world.outside4, parseIp('203.0.113.99')])
    arp('request', parseIp('203.0.113.1'), targetIp, ARP_OPERATION.request);
  arp('probe', parseIp('0.0.0.0'), target4, ARP_OPERATION.request);
  arp('announcement', target4, target4, ARP_OPERATION.request);
  arp('announcement of ours', target4, target4, ARP_OPERATION.request, mac);
  arp('request from one of ours', world.outside4[1]!, parseIp('203.0.113.1'), ARP_OPERATION.request);
  arp('reply', target4, parseIp('203.0.113.1'), ARP_OPERATION.reply);
  const solicit = (label: string, source: Uint8Array, target: Uint8Array, sourceMac: Uint8Array = NEIGHBOR_MAC): void => {
    frames.push({ label: `ns ${label}`, frame: buildNeighborSolicitationFrame({ sourceMac, source, target }) });
  };
  for (const target of world.outside6.slice(0, 6)) solicit('request', parseIp('2001:db8:0:ffff::1'), target);
  solicit('from link-local', parseIp('fe80::1'), target6);
  solicit('probe', UNSPECIFIED6, target6);
  solicit('of our own', parseIp('2001:db8:0:ffff::1'), target6, mac);
  solicit('from one of ours', world.outside6[1]!, target6);
  frames.push({
    label: 'na for one of ours',
    frame: buildNeighborAdvertisementFrame({
      sourceMac: NEIGHBOR_MAC,
      destinationMac: multicastMacOf(parseIp('ff02::1')),
      source: target6,
      destination: parseIp('ff02::1'),
      target: target6,
      targetLinkLayerAddress: NEIGHBOR_MAC,
      isOverride: true,
    }),
  });
  const elsewhere = { sourceMac: NEIGHBOR_MAC, source: REMOTE4, destination: target4 };
  frames.push({ label: 'to another MAC', frame: shapeFrame('udp', { ...elsewhere, destinationMac: BROADCAST }) });
  return frames;

  function send(source: Uint8Array, destination: Uint8Array): void {
    for (let i = 0; i < 2; i++) {
      const shape = SHAPES[turn++ % SHAPES.length]!;
      frames.push({ label: `${shape} from outside`, frame: shapeFrame(shape, { ...macs, source, destination }) });
    }
    const quote = QUOTES[turn++ % QUOTES.length]!;
    const quoted = { source: turn % 5 === 0 ? source : destination, destination: REMOTE4 };
    const isIpv4 = isIpv4Mapped(source);
    const about = { ...quoted, destination: isIpv4 ? REMOTE4 : REMOTE6 };
    frames.push({ label: `error about ${quote} from outside`, frame: errorFrame({ ...macs, source, destination }, about, quote) });
  }
}

function probeFrames(world: GatewayWorld): NamedFrame[] {
  const probe = (
    label: string,
    source: Uint8Array,
    payload: Uint8Array,
    ports: { sourcePort?: number; destinationPort?: number } = {},
  ): NamedFrame => ({
    label: `probe ${label}`,
    frame: buildUdpFrame(
      {
        sourceMac: UNDERLAY_SOURCE_MAC,
        destinationMac: UNDERLAY_MAC,
        source,
        destination: world.pa,
        sourcePort: 4790,
        destinationPort: 4790,
        ...ports,
      },
      payload,
    ),
  });
  const shards = [1, 2, 3, 4, 5, 6, 7, 8].map((shard) => ({ shard, epoch: BigInt(shard) << 33n, isForwarding: shard % 2 === 0 }));
  const of = (type: ProbeType, count: number): Uint8Array =>
    encodeProbe({ type, nonce: 0x0102_0304_0506_0708n, shards: shards.slice(0, count) });
  const peer = world.peers[0]!;
  const padded = new Uint8Array(64);
  padded.set(probe('', peer, of(ProbeType.REQUEST, 0)).frame);
  const unsummed = probe('without checksum', peer, of(ProbeType.REQUEST, 2));
  setU16(unsummed.frame, 40, 0);
  return [
    ...[0, 1, 2, 8].map((count) => probe(`for ${count}`, peer, of(ProbeType.REQUEST, count))),
    probe('from a stranger', world.peers.at(-1)!, of(ProbeType.REQUEST, 2)),
    ...[0, 3, 8].map((count) => probe(`reply of ${count}`, peer, of(ProbeType.REPLY, count))),
    probe('reply from a stranger', world.peers.at(-1)!, of(ProbeType.REPLY, 1)),
    probe('from another port', peer, of(ProbeType.REQUEST, 1), { sourcePort: 4791 }),
    probe('to another port', peer, of(ProbeType.REQUEST, 1), { destinationPort: 4791 }),
    probe('of a type that is none', peer, of(3 as ProbeType, 1)),
    probe('cut short', peer, of(ProbeType.REQUEST, 2).subarray(0, 40)),
    probe('that is none', peer, new Uint8Array(24)),
    { label: 'probe padded', frame: padded },
    unsummed,
  ];
}

const frames = new WeakMap<GatewayWorld, readonly GatewayTrialFrame[]>();

/** All sound frames for the gateway of a world, once made and then kept. They are shared: copy before writing. */
export function gatewayFrames(world: GatewayWorld): readonly GatewayTrialFrame[] {
  const known = frames.get(world);
  if (known !== undefined) return known;
  const made: GatewayTrialFrame[] = [];
  const { underlayIfindex } = world;
  for (const tenant of [0, 1]) {
    const { vsid, networkId } = world.gatewaySubnets[tenant]!;
    const shard = world.shards[tenant]!;
    innerFrames(world, tenant).forEach(({ frame, label, pa }, i) => {
      const outer = { source: pa, destination: world.pa, vni: vsid, udpPort: world.udpPort, ecn: i % 7 === 0 ? 3 : 0 };
      made.push({ program: 'from_underlay', ifindex: underlayIfindex, frame: tunnelFrame(outer, frame), label });
      const entry = { networkId, shard, vsid, isSecondHand: i % 9 === 0 };
      // What calls it has cut the frame.
      if (!label.startsWith('padded')) made.push({ program: 'to_gateway', ifindex: underlayIfindex, frame, label, entry });
    });
  }
  for (const port of world.ports) {
    const macs = { sourceMac: port.mac, destinationMac: gatewayMac(port.subnet.vsid) };
    SHAPES.forEach((shape, i) => {
      for (const [source, destinations] of [
        [port.cas4[0], [REMOTE4, world.outside4[i % world.outside4.length]!]],
        [port.cas6[0], [REMOTE6, world.outside6[i % world.outside6.length]!]],
      ] as const) {
        if (source === undefined) continue;
        for (const destination of destinations) {
          const frame = shapeFrame(shape, { ...macs, source, destination });
          made.push({ program: 'from_port', ifindex: port.ifindex, frame, label: `${shape} of a port to the outside` });
        }
      }
    });
  }
  for (const external of world.externals) {
    for (const { frame, label } of externalFrames(world, external)) {
      made.push({ program: 'from_external', ifindex: external.ifindex, frame, label });
    }
  }
  for (const { frame, label } of probeFrames(world)) made.push({ program: 'from_underlay', ifindex: underlayIfindex, frame, label });
  frames.set(world, made);
  return made;
}

/** One frame: sound as it is, cut, padded, or with one or two lies. A fresh buffer each time; follows from the state of `rng` and the world. */
export function generateGatewayFrame(rng: Rng, world: GatewayWorld): GatewayTrialFrame {
  const from = rng.pick(gatewayFrames(world));
  const frame = from.frame.slice();
  // What calls to_gateway has checked the packet: only what is left to it may be bent.
  const isInner = from.program === 'to_gateway';
  switch (isInner ? 0 : rng.below(8)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return { ...from, frame };
    case 4: {
      const length = rng.below(frame.length + 1);
      return { ...from, frame: frame.slice(0, length), label: `${from.label}; cut to ${length}` };
    }
    case 5: {
      const padding = 1 + rng.below(64);
      const padded = new Uint8Array(frame.length + padding).fill(0xee);
      padded.set(frame);
      return { ...from, frame: padded, label: `${from.label}; ${padding} bytes more` };
    }
    default: {
      let { label } = from;
      for (let i = 0; i < 1 + rng.below(2); i++) label += `; ${bend(rng, world, from, frame)}`;
      return { ...from, frame, label };
    }
  }
}

function bend(rng: Rng, world: GatewayWorld, from: GatewayTrialFrame, frame: Uint8Array): string {
  if (from.program !== 'from_underlay') return mutate(rng, world, frame, 0);
  if (from.label.startsWith('probe')) {
    const at = rng.below(Math.min(frame.length, 74));
    frame[at] = rng.pick([0, 1, 2, 3, 8, 9, 0xff, rng.below(256)]);
    return `byte ${at}`;
  }
  return rng.oneIn(4) ? mutateOuter(rng, world, frame) : mutate(rng, world, frame, OUTER_BYTES);
}

/**
 * What the outside sends back to a frame that left for it: an answer, and ICMP errors about it of both kinds. `leaving` is an `EXTERNAL` verdict's frame.
 */
export function answersTo(leaving: Uint8Array, external: WorldExternal): NamedFrame[] {
  const isIpv4 = leaving[12] === 0x08 && leaving[13] === 0;
  const at = 14;
  const protocol = leaving[at + (isIpv4 ? 9 : 6)]!;
  const l4 = at + (isIpv4 ? (leaving[at]! & 15) * 4 : 40);
  const address = (offset: number): Uint8Array =>
    isIpv4 ? parseIp([...leaving.subarray(at + offset, at + offset + 4)].join('.')) : leaving.slice(at + offset, at + offset + 16);
  const source = address(isIpv4 ? 12 : 8);
  const destination = address(isIpv4 ? 16 : 24);
  const answer = leaving.slice();
  answer.set(external.mac, 0);
  answer.set(NEIGHBOR_MAC, 6);
  const length = isIpv4 ? 4 : 16;
  const [from, to] = isIpv4 ? [12, 16] : [8, 24];
  answer.set(leaving.subarray(at + to, at + to + length), at + from);
  answer.set(leaving.subarray(at + from, at + from + length), at + to);
  if (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp) {
    answer.set(leaving.subarray(l4 + 2, l4 + 4), l4);
    answer.set(leaving.subarray(l4, l4 + 2), l4 + 2);
  } else {
    answer[l4] = isIpv4 ? 0 : 129;
  }
  const quote = leaving.slice(at, Math.min(leaving.length, at + 100));
  const macs = { destination: external.mac, source: NEIGHBOR_MAC };
  const error = (reporter: Uint8Array): Uint8Array => {
    if (isIpv4) {
      const packet = buildIpv4(
        { source: reporter, destination: source, protocol: IP_PROTOCOL.icmp },
        buildIcmpv4({ type: 11, code: 0 }, quote),
      );
      return buildEthernet({ ...macs, type: ETHER_TYPE.ipv4 }, packet);
    }
    const message = buildIcmpv6({ type: 3, code: 0, source: reporter, destination: source }, quote);
    return buildEthernet(
      { ...macs, type: ETHER_TYPE.ipv6 },
      buildIpv6({ source: reporter, destination: source, nextHeader: IP_PROTOCOL.icmpv6 }, message),
    );
  };
  return [
    { label: 'answer from outside', frame: answer },
    { label: 'error from a router outside', frame: error(isIpv4 ? parseIp('198.18.0.1') : parseIp('2a00:1::1')) },
    { label: 'error from the destination', frame: error(destination) },
  ];
}
