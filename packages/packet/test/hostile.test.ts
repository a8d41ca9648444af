import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ArpPacket,
  buildArpFrame,
  buildEthernet,
  buildIcmpEchoFrame,
  buildIpFrame,
  buildIpv6Fragment,
  buildNeighborAdvertisementFrame,
  buildNeighborSolicitationFrame,
  buildNvgre,
  buildNvgreFrame,
  buildTcp,
  buildTcpFrame,
  buildUdp,
  buildUdpFrame,
  buildVxlan,
  buildVxlanFrame,
  describeFrame,
  ETHER_TYPE,
  EthernetHeader,
  findIpv6UpperLayer,
  flowHashOfFrame,
  Icmpv4Header,
  Icmpv6Header,
  IP_PROTOCOL,
  Ipv4Header,
  Ipv6Header,
  isParseFailure,
  NeighborAdvertisement,
  NeighborSolicitation,
  NvgreHeader,
  PARSE_FAILURES,
  type ParseFailure,
  TcpHeader,
  UdpHeader,
  VlanTag,
  VxlanHeader,
} from '../src/index.ts';

const macs = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
const v4 = { ...macs, source: '192.0.2.1', destination: '192.0.2.2' };
const v6 = { ...macs, source: '2001:db8::1', destination: '2001:db8::2' };
const ports = { sourcePort: 40000, destinationPort: 80 };
const data = new Uint8Array(10);
const ping = buildIcmpEchoFrame({ ...v4, identifier: 1, sequence: 1 }, data);
const ping6 = buildIcmpEchoFrame({ ...v6, identifier: 1, sequence: 1 }, data);

const frames: Record<string, Uint8Array> = {
  arp: buildArpFrame({ operation: 1, senderMac: macs.sourceMac, senderIp: v4.source, targetIp: v4.destination }),
  ping,
  ping6,
  udp: buildUdpFrame({ ...v4, ...ports }, data),
  udp6: buildUdpFrame({ ...v6, ...ports }, data),
  tcp: buildTcpFrame({ ...v4, ...ports, options: Uint8Array.of(2, 4, 5, 0xb4) }, data),
  tcp6: buildTcpFrame({ ...v6, ...ports }, data),
  tagged: buildUdpFrame({ ...v4, ...ports, vlanId: 7 }, data),
  fragment6: buildIpFrame(
    { ...v6, protocol: 44 },
    buildIpv6Fragment({ nextHeader: 6, fragmentOffset: 0, moreFragments: true, identification: 1 }, new Uint8Array(24).fill(0x50)),
  ),
  solicitation: buildNeighborSolicitationFrame({
    ...macs,
    source: v6.source,
    target: v6.destination,
    sourceLinkLayerAddress: macs.sourceMac,
  }),
  advertisement: buildNeighborAdvertisementFrame({ ...v6, target: v6.source, targetLinkLayerAddress: macs.sourceMac }),
  vxlan: buildVxlanFrame({ ...v4, vni: 6000 }, ping),
  vxlan6: buildVxlanFrame({ ...v6, vni: 6000 }, ping6),
  nvgre: buildNvgreFrame({ ...v4, vsid: 6000 }, ping6),
};

/** Reads a frame as far as this package can, as a receiver would, and gives the reason it stopped for or `ok`. */
function walk(bytes: Uint8Array, offset = 0, end = bytes.length): ParseFailure | 'ok' {
  const ethernet = EthernetHeader.read(bytes, offset, end);
  if (isParseFailure(ethernet)) return ethernet;
  let { type, payloadOffset } = ethernet;
  if (ethernet.isTagged) {
    const tag = VlanTag.read(bytes, payloadOffset, end);
    if (isParseFailure(tag)) return tag;
    ({ type, payloadOffset } = tag);
  }
  if (type === ETHER_TYPE.arp) return done(ArpPacket.read(bytes, payloadOffset, end));
  if (type === ETHER_TYPE.ipv4) {
    const ip = Ipv4Header.read(bytes, payloadOffset, end);
    if (isParseFailure(ip)) return ip;
    expect(payloadOffset + 20 <= ip.payloadOffset && ip.payloadOffset <= ip.payloadEnd && ip.payloadEnd <= end).toBe(true);
    return ip.fragmentOffset > 0 ? 'ok' : transport(bytes, ip.protocol, ip.payloadOffset, ip.payloadEnd, ip.isFragment);
  }
  if (type === ETHER_TYPE.ipv6) {
    const ip = Ipv6Header.read(bytes, payloadOffset, end);
    if (isParseFailure(ip)) return ip;
    expect(ip.payloadOffset <= ip.payloadEnd && ip.payloadEnd <= end).toBe(true);
    const upper = findIpv6UpperLayer(ip);
    if (isParseFailure(upper)) return upper;
    expect(upper.offset >= ip.payloadOffset && upper.offset <= ip.payloadEnd).toBe(true);
    return upper.fragmentOffset > 0 ? 'ok' : transport(bytes, upper.protocol, upper.offset, ip.payloadEnd, upper.hasFragmentHeader);
  }
  return 'ok';
}

function transport(bytes: Uint8Array, protocol: number, offset: number, end: number, isFragment: boolean): ParseFailure | 'ok' {
  if (protocol === IP_PROTOCOL.tcp) {
    const tcp = TcpHeader.read(bytes, offset, end);
    if (isParseFailure(tcp)) return tcp;
    expect(tcp.payloadOffset <= end && tcp.mssOffset + 2 <= tcp.payloadOffset).toBe(true);
    return 'ok';
  }
  if (protocol === IP_PROTOCOL.udp) {
    const udp = isFragment ? UdpHeader.readQuoted(bytes, offset, end) : UdpHeader.read(bytes, offset, end);
    if (isParseFailure(udp)) return udp;
    if (isFragment || udp.destinationPort !== 4789) return 'ok';
    expect(udp.payloadEnd <= end).toBe(true);
    const vxlan = VxlanHeader.read(bytes, udp.payloadOffset, udp.payloadEnd);
    return isParseFailure(vxlan) ? vxlan : walk(bytes, vxlan.payloadOffset, udp.payloadEnd);
  }
  if (protocol === IP_PROTOCOL.gre) {
    const nvgre = NvgreHeader.read(bytes, offset, end);
    return isParseFailure(nvgre) ? nvgre : walk(bytes, nvgre.payloadOffset, end);
  }
  if (protocol === IP_PROTOCOL.icmp) return done(Icmpv4Header.read(bytes, offset, end));
  if (protocol === IP_PROTOCOL.icmpv6) {
    const icmp = Icmpv6Header.read(bytes, offset, end);
    if (isParseFailure(icmp)) return icmp;
    if (icmp.type === 135 || icmp.type === 136) {
      const message = (icmp.type === 135 ? NeighborSolicitation : NeighborAdvertisement).read(bytes, offset, end);
      if (isParseFailure(message)) return message;
      for (let type = 0; type < 256; type++) expect(message.optionOffset(type) < end).toBe(true);
    }
  }
  return 'ok';
}

function done(result: object | ParseFailure): ParseFailure | 'ok' {
  return isParseFailure(result) ? result : 'ok';
}

describe('truncated frames', () => {
  it.each(Object.keys(frames))('every truncation of %s is named', (name) => {
    const frame = frames[name]!;
    expect(walk(frame)).toBe('ok');
    expect(describeFrame(frame)).not.toMatch(/TRUNCATED|INVALID/);
    for (let length = 0; length < frame.length; length++) {
      const reason = walk(frame.subarray(0, length));
      expect(reason, `${length} bytes`).toMatch(/^TRUNCATED_/);
      expect(PARSE_FAILURES).toContain(reason);
      expect(describeFrame(frame.subarray(0, length)), `${length} bytes`).toContain(reason);
      // The same cut told by `end`, with the missing bytes still in the buffer: nothing may look beyond `end`.
      expect(walk(frame, 0, length)).toBe(reason);
    }
  });
});

describe('truncated headers', () => {
  const addresses = { source: v6.source, destination: v6.destination };
  // Each reader on its own layer. `whole` bytes make the layer; the buffer goes on behind `end`, and nothing there may be believed.
  const layers: [string, (bytes: Uint8Array, offset: number, end: number) => object | ParseFailure, Uint8Array][] = [
    ['EthernetHeader', EthernetHeader.read, ping.subarray(0, 14)],
    ['VlanTag', VlanTag.read, frames.tagged!.subarray(14, 18)],
    ['ArpPacket', ArpPacket.read, frames.arp!.subarray(14)],
    ['Ipv4Header', Ipv4Header.read, ping.subarray(14)],
    ['Ipv6Header', Ipv6Header.read, ping6.subarray(14)],
    ['UdpHeader', UdpHeader.read, buildUdp({ ...addresses, ...ports }, data)],
    ['TcpHeader', TcpHeader.read, buildTcp({ ...addresses, ...ports, options: new Uint8Array(8) })],
    ['Icmpv4Header', Icmpv4Header.read, ping.subarray(34, 42)],
    ['Icmpv6Header', Icmpv6Header.read, ping6.subarray(54, 62)],
    ['VxlanHeader', VxlanHeader.read, buildVxlan(6000, new Uint8Array(0))],
    ['NvgreHeader', NvgreHeader.read, buildNvgre(6000, 0, new Uint8Array(0))],
    ['NeighborSolicitation', NeighborSolicitation.read, frames.solicitation!.subarray(54)],
    ['NeighborAdvertisement', NeighborAdvertisement.read, frames.advertisement!.subarray(54)],
  ];

  it.each(layers)('%s.read() names every truncation', (name, read, whole) => {
    const bytes = new Uint8Array(3 + whole.length + 64);
    bytes.set(whole, 3);
    expect(isParseFailure(read(bytes, 3, 3 + whole.length))).toBe(false);
    for (let length = 0; length < whole.length; length++) {
      // A neighbour message may end between two options.
      if (name.startsWith('Neighbor') && length === 24) continue;
      expect(read(bytes, 3, 3 + length), `${length} bytes`).toMatch(/^TRUNCATED_/);
    }
  });
});

describe('hostile frames', () => {
  const changed = fc
    .tuple(fc.constantFrom(...Object.values(frames)), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }), fc.nat())
    .map(([frame, changes, cut]) => {
      const copy = Uint8Array.from(frame);
      for (const [at, value] of changes) copy[at % copy.length] = value;
      return cut % 3 === 0 ? copy.subarray(0, cut % (copy.length + 1)) : copy;
    });
  const noise = fc
    .tuple(fc.constantFrom(0x0800, 0x86dd, 0x0806, 0x8100), fc.uint8Array({ maxLength: 120 }))
    .map(([type, bytes]) => buildEthernet({ source: macs.sourceMac, destination: macs.destinationMac, type }, bytes));

  it('readers, describeFrame() and flowHashOfFrame() never throw, and views stay within their window', () => {
    fc.assert(
      fc.property(fc.oneof(changed, noise, fc.uint8Array({ maxLength: 120 })), (frame) => {
        const reason = walk(frame);
        expect(reason === 'ok' || PARSE_FAILURES.includes(reason)).toBe(true);
        expect(describeFrame(frame)).not.toMatch(/undefined|NaN/);
        expect(flowHashOfFrame(frame)).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 5000 },
    );
  });

  it('describeFrame() stays short on a frame of nested tags or tunnels', () => {
    const tags = new Uint8Array(1500);
    for (let i = 12; i < 1500; i += 4) tags.set([0x81, 0x00], i);
    expect(describeFrame(tags)).toContain('more VLAN tags');
    let nested = ping;
    for (let i = 0; i < 20; i++) nested = buildVxlanFrame({ ...v4, vni: i }, nested);
    expect(describeFrame(nested).length).toBeLessThan(400);
  });
});
