import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ArpPacket,
  buildArp,
  buildArpFrame,
  buildEthernet,
  buildFragmentationNeeded,
  buildIcmpEcho,
  buildIcmpv4,
  buildIcmpv6,
  buildIp,
  buildIpv4,
  buildIpv6,
  buildIpv6Fragment,
  buildNeighborAdvertisement,
  buildNeighborAdvertisementFrame,
  buildNeighborSolicitation,
  buildNeighborSolicitationFrame,
  buildNvgre,
  buildNvgreFrame,
  buildPacketTooBig,
  buildTcp,
  buildTcpMssOption,
  buildUdp,
  buildVxlan,
  buildVxlanFrame,
  EthernetHeader,
  findIpv6UpperLayer,
  flowHashOfFrame,
  formatIp,
  formatMac,
  getU16,
  Icmpv4Header,
  Icmpv6Header,
  IP_PROTOCOL,
  Ipv4Header,
  Ipv6Header,
  internetChecksum,
  isIpv4Mapped,
  NeighborAdvertisement,
  NeighborSolicitation,
  NvgreHeader,
  pseudoHeaderSum,
  readTransportPorts,
  TcpHeader,
  tunnelSourcePort,
  UdpHeader,
  VlanTag,
  VxlanHeader,
} from '../src/index.ts';
import { ipPair, ipv4, ipv6, mac, payload, u8, u16, u24, u32, view, words } from './arbitraries.ts';

const bits = (max: number): fc.Arbitrary<number> => fc.integer({ min: 0, max });

/** The same bytes behind `lead` others: a view must not read relative to its buffer. */
function shift(bytes: Uint8Array, lead: number): Uint8Array {
  const shifted = new Uint8Array(lead + bytes.length).fill(0xa5);
  shifted.set(bytes, lead);
  return shifted;
}
const lead = fc.nat(9);

describe('Ethernet', () => {
  it('reads what buildEthernet() writes, tagged or not', () => {
    fc.assert(
      fc.property(
        mac,
        mac,
        u16,
        fc.option(bits(0xfff), { nil: undefined }),
        payload,
        lead,
        (destination, source, type, vlanId, data, at) => {
          const fields = { destination, source, type };
          const bytes = shift(buildEthernet(vlanId === undefined ? fields : { ...fields, vlanId }, data), at);
          const header = view(EthernetHeader.read(bytes, at));
          expect([header.destinationText, header.sourceText]).toEqual([formatMac(destination), formatMac(source)]);
          expect(formatMac(bytes, header.destinationOffset)).toBe(formatMac(destination));
          expect(formatMac(bytes, header.sourceOffset)).toBe(formatMac(source));
          if (vlanId === undefined) {
            expect(header.type).toBe(type);
            expect(header.isLlc).toBe(type < 0x600);
            expect(bytes.subarray(header.payloadOffset)).toEqual(data);
          } else {
            expect([header.type, header.isTagged]).toEqual([0x8100, true]);
            const tag = view(VlanTag.read(bytes, header.payloadOffset));
            expect([tag.vlanId, tag.type, tag.priority]).toEqual([vlanId, type, 0]);
            expect(bytes.subarray(tag.payloadOffset)).toEqual(data);
          }
        },
      ),
    );
  });

  it('setters write their field and no other', () => {
    const bytes = buildEthernet({ destination: '02:00:00:00:00:01', source: '02:00:00:00:00:02', type: 0x0800, vlanId: 5 });
    const header = view(EthernetHeader.read(bytes));
    header.setDestination(Uint8Array.of(0, 6, 5, 4, 3, 2, 1), 1);
    header.setSource(Uint8Array.of(1, 2, 3, 4, 5, 6));
    const tag = view(VlanTag.read(bytes, 14));
    bytes[14]! |= 0xe0;
    tag.vlanId = 0xabc;
    header.type = 0x88a8;
    expect(Buffer.from(bytes).toString('hex')).toBe('060504030201' + '010203040506' + '88a8' + 'eabc' + '0800');
    expect(tag.priority).toBe(7);
  });
});

describe('ARP', () => {
  it('reads what buildArp() writes', () => {
    fc.assert(
      fc.property(u16, mac, ipv4, mac, ipv4, lead, (operation, senderMac, senderIp, targetMac, targetIp, at) => {
        const bytes = shift(buildArp({ operation, senderMac, senderIp, targetMac, targetIp }), at);
        const packet = view(ArpPacket.read(bytes, at));
        expect(packet.operation).toBe(operation);
        expect(formatMac(bytes, packet.senderMacOffset)).toBe(formatMac(senderMac));
        expect(formatMac(bytes, packet.targetMacOffset)).toBe(formatMac(targetMac));
        expect(packet.copySenderIp()).toEqual(senderIp);
        expect(packet.copyTargetIp()).toEqual(targetIp);
      }),
    );
  });

  it('refuses other hardware, protocols and lengths', () => {
    const good = buildArp({ operation: 1, senderMac: '02:00:00:00:00:01', senderIp: '10.0.0.1', targetIp: '10.0.0.2' });
    for (const [at, value] of [
      [1, 6],
      [2, 0x86],
      [4, 8],
      [5, 16],
    ] as const) {
      const bad = Uint8Array.from(good);
      bad[at] = value;
      expect(ArpPacket.read(bad)).toBe('ARP_NOT_ETHERNET_IPV4');
    }
  });

  it('buildArpFrame() broadcasts a request and answers to the target', () => {
    const request = { operation: 1, senderMac: '02:00:00:00:00:01', senderIp: '10.0.0.1', targetIp: '10.0.0.2' };
    expect(view(EthernetHeader.read(buildArpFrame(request))).destinationText).toBe('ff:ff:ff:ff:ff:ff');
    const reply = { ...request, operation: 2, targetMac: '02:00:00:00:00:02' };
    expect(view(EthernetHeader.read(buildArpFrame(reply))).destinationText).toBe('02:00:00:00:00:02');
    expect(() => buildArp({ ...request, targetIp: '::1' })).toThrow(RangeError);
  });
});

describe('IPv4', () => {
  const fields = fc.record({
    source: ipv4,
    destination: ipv4,
    protocol: u8,
    ttl: u8,
    dscp: bits(63),
    ecn: bits(3),
    identification: u16,
    dontFragment: fc.boolean(),
    moreFragments: fc.boolean(),
    fragmentOffset: bits(0x1fff).map((units) => units * 8),
    options: words,
  });

  it('reads what buildIpv4() writes, behind and before other bytes', () => {
    fc.assert(
      fc.property(fields, payload, lead, fc.nat(30), (given, data, at, padding) => {
        const packet = buildIpv4(given, data);
        const bytes = new Uint8Array(at + packet.length + padding);
        bytes.set(packet, at);
        const ip = view(Ipv4Header.read(bytes, at));
        const { source, destination, options, ...numbers } = given;
        const { protocol, ttl, dscp, ecn, identification, dontFragment, moreFragments, fragmentOffset } = ip;
        expect({ protocol, ttl, dscp, ecn, identification, dontFragment, moreFragments, fragmentOffset }).toEqual(numbers);
        expect(ip.copySource()).toEqual(source);
        expect(ip.copyDestination()).toEqual(destination);
        expect([ip.headerLength, ip.ihl * 4, ip.totalLength]).toEqual([20 + options.length, 20 + options.length, packet.length]);
        expect(ip.hasOptions).toBe(options.length > 0);
        expect(ip.flags).toBe((given.dontFragment ? 2 : 0) | (given.moreFragments ? 1 : 0));
        expect(ip.isFragment).toBe(given.moreFragments || given.fragmentOffset > 0);
        expect(bytes.subarray(ip.payloadOffset, ip.payloadEnd)).toEqual(data);
        expect(ip.payloadLength).toBe(data.length);
        expect(ip.isChecksumValid).toBe(true);
        expect(ip.pseudoHeaderSum(6, 9)).toBe(pseudoHeaderSum(source, destination, 6, 9));
      }),
    );
  });

  it('setters write their field and no other', () => {
    fc.assert(
      fc.property(fields, fields, payload, (before, after, data) => {
        const same = {
          ...after,
          options: before.options,
          dontFragment: before.dontFragment,
          moreFragments: before.moreFragments,
          fragmentOffset: before.fragmentOffset,
        };
        const bytes = buildIpv4(before, data);
        const ip = view(Ipv4Header.read(bytes));
        ip.setSource(same.source);
        ip.setDestination(same.destination);
        ip.protocol = same.protocol;
        ip.ttl = same.ttl;
        ip.dscp = same.dscp;
        ip.ecn = same.ecn;
        ip.identification = same.identification;
        ip.updateChecksum();
        expect(bytes).toEqual(buildIpv4(same, data));
      }),
    );
  });

  it('decrementTtl() and rewriteEcn() keep the checksum right', () => {
    fc.assert(
      fc.property(fields, payload, bits(3), (given, data, ecn) => {
        fc.pre(given.ttl > 0);
        const bytes = buildIpv4(given, data);
        const ip = view(Ipv4Header.read(bytes));
        ip.decrementTtl();
        ip.rewriteEcn(ecn);
        expect(bytes).toEqual(buildIpv4({ ...given, ttl: given.ttl - 1, ecn }, data));
      }),
    );
  });

  it('names what contradicts the format', () => {
    const good = buildIpv4({ source: '10.0.0.1', destination: '10.0.0.2', protocol: 17 }, new Uint8Array(12));
    const changed = (at: number, value: number): Uint8Array => Uint8Array.from(good, (byte, i) => (i === at ? value : byte));
    expect(Ipv4Header.read(changed(0, 0x65))).toBe('IPV4_VERSION_INVALID');
    expect(Ipv4Header.read(changed(0, 0x44))).toBe('IPV4_HEADER_LENGTH_INVALID');
    expect(Ipv4Header.read(changed(0, 0x4f))).toBe('TRUNCATED_IPV4_HEADER');
    expect(Ipv4Header.read(changed(3, 19))).toBe('IPV4_TOTAL_LENGTH_INVALID');
    expect(Ipv4Header.read(changed(3, 33))).toBe('TRUNCATED_IPV4_PAYLOAD');
    expect(view(Ipv4Header.readQuoted(changed(3, 33))).totalLength).toBe(33);
    expect(view(Ipv4Header.read(changed(8, 63))).isChecksumValid).toBe(false);
  });
});

describe('IPv6', () => {
  const fields = fc.record({ source: ipv6, destination: ipv6, nextHeader: u8, hopLimit: u8, trafficClass: u8, flowLabel: bits(0xfffff) });

  it('reads what buildIpv6() writes', () => {
    fc.assert(
      fc.property(fields, payload, lead, fc.nat(30), (given, data, at, padding) => {
        const packet = buildIpv6(given, data);
        const bytes = new Uint8Array(at + packet.length + padding);
        bytes.set(packet, at);
        const ip = view(Ipv6Header.read(bytes, at));
        const { nextHeader, hopLimit, trafficClass, flowLabel } = ip;
        expect({ source: ip.copySource(), destination: ip.copyDestination(), nextHeader, hopLimit, trafficClass, flowLabel }).toEqual(
          given,
        );
        expect([ip.dscp, ip.ecn]).toEqual([given.trafficClass >> 2, given.trafficClass & 3]);
        expect([ip.payloadLength, ip.totalLength]).toEqual([data.length, packet.length]);
        expect(bytes.subarray(ip.payloadOffset, ip.payloadEnd)).toEqual(data);
        expect(internetChecksum(bytes, 0, 0, ip.pseudoHeaderSum(58, 9))).toBe(
          internetChecksum(bytes, 0, 0, pseudoHeaderSum(given.source, given.destination, 58, 9)),
        );
      }),
    );
  });

  it('setters write their field and no other', () => {
    fc.assert(
      fc.property(fields, fields, payload, bits(3), (before, after, data, ecn) => {
        const bytes = buildIpv6(before, data);
        const ip = view(Ipv6Header.read(bytes));
        ip.setSource(after.source);
        ip.setDestination(after.destination);
        ip.nextHeader = after.nextHeader;
        ip.hopLimit = after.hopLimit;
        ip.trafficClass = after.trafficClass;
        ip.flowLabel = after.flowLabel;
        expect(bytes).toEqual(buildIpv6(after, data));
        ip.ecn = ecn;
        expect(bytes).toEqual(buildIpv6({ ...after, trafficClass: (after.trafficClass & 0xfc) | ecn }, data));
      }),
    );
  });

  it('hasMappedAddress tells a packet that would pass for IPv4 in the 16-byte form', () => {
    const has = (source: string, destination: string): boolean =>
      view(Ipv6Header.read(buildIpv6({ source, destination, nextHeader: 59 }))).hasMappedAddress;
    expect([has('10.0.0.1', '2001:db8::1'), has('2001:db8::1', '10.0.0.1'), has('2001:db8::1', '2001:db8::2')]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('names what contradicts the format', () => {
    const good = buildIpv6({ source: '2001:db8::1', destination: '2001:db8::2', nextHeader: 17 }, new Uint8Array(12));
    const changed = (at: number, value: number): Uint8Array => Uint8Array.from(good, (byte, i) => (i === at ? value : byte));
    expect(Ipv6Header.read(changed(0, 0x45))).toBe('IPV6_VERSION_INVALID');
    expect(Ipv6Header.read(changed(5, 13))).toBe('TRUNCATED_IPV6_PAYLOAD');
    expect(view(Ipv6Header.readQuoted(changed(5, 13))).payloadLength).toBe(13);
  });

  it('findIpv6UpperLayer() walks a chain of extension headers', () => {
    const udp = buildUdp({ source: '2001:db8::1', destination: '2001:db8::2', sourcePort: 1, destinationPort: 2 });
    const fragment = buildIpv6Fragment({ nextHeader: IP_PROTOCOL.udp, fragmentOffset: 0, moreFragments: true, identification: 9 }, udp);
    // Hop-by-hop (8 bytes), routing (16), authentication (4 * (4 + 2) = 24), then the fragment header.
    const chain = Uint8Array.from([43, 0, ...Array(6).fill(0), 51, 1, ...Array(14).fill(0), 44, 4, ...Array(22).fill(0), ...fragment]);
    const packet = buildIpv6({ source: '2001:db8::1', destination: '2001:db8::2', nextHeader: 0 }, chain);
    const ip = view(Ipv6Header.read(packet));
    expect(findIpv6UpperLayer(ip)).toEqual({
      protocol: IP_PROTOCOL.udp,
      offset: 40 + 48 + 8,
      hasFragmentHeader: true,
      fragmentOffset: 0,
      moreFragments: true,
    });
    for (let end = 40; end < 40 + 48 + 8; end++) expect(findIpv6UpperLayer(ip, end)).toBe('TRUNCATED_IPV6_EXTENSION');
  });

  it('findIpv6UpperLayer() stops at a later fragment, whose next bytes are no header', () => {
    const fragment = buildIpv6Fragment(
      { nextHeader: 0, fragmentOffset: 1480, moreFragments: false, identification: 9 },
      Uint8Array.of(0, 200),
    );
    const ip = view(Ipv6Header.read(buildIpv6({ source: '2001:db8::1', destination: '2001:db8::2', nextHeader: 44 }, fragment)));
    expect(findIpv6UpperLayer(ip)).toEqual({
      protocol: 0,
      offset: 48,
      hasFragmentHeader: true,
      fragmentOffset: 1480,
      moreFragments: false,
    });
  });

  it('findIpv6UpperLayer() refuses a chain longer than 8', () => {
    const chainOf = (count: number): Uint8Array =>
      Uint8Array.from(Array.from({ length: count }, (_, i) => [i === count - 1 ? 59 : 60, 0, 0, 0, 0, 0, 0, 0]).flat());
    const read = (count: number): unknown =>
      findIpv6UpperLayer(view(Ipv6Header.read(buildIpv6({ source: '::1', destination: '::2', nextHeader: 60 }, chainOf(count)))));
    expect(read(8)).toMatchObject({ protocol: 59, offset: 104 });
    expect(read(9)).toBe('IPV6_EXTENSION_CHAIN_TOO_LONG');
  });
});

/** 0 if the transport checksum in `bytes` is right for these addresses. */
const residue = (source: Uint8Array, destination: Uint8Array, protocol: number, bytes: Uint8Array): number =>
  internetChecksum(bytes, 0, bytes.length, pseudoHeaderSum(source, destination, protocol, bytes.length));

describe('UDP', () => {
  it('reads what buildUdp() writes, with a right checksum that is never 0', () => {
    fc.assert(
      fc.property(ipPair, u16, u16, payload, lead, ([source, destination], sourcePort, destinationPort, data, at) => {
        const datagram = buildUdp({ source, destination, sourcePort, destinationPort }, data);
        const bytes = shift(datagram, at);
        const udp = view(UdpHeader.read(bytes, at));
        expect([udp.sourcePort, udp.destinationPort, udp.length]).toEqual([sourcePort, destinationPort, 8 + data.length]);
        expect(bytes.subarray(udp.payloadOffset, udp.payloadEnd)).toEqual(data);
        expect(residue(source, destination, IP_PROTOCOL.udp, datagram)).toBe(0);
        expect(udp.checksum).not.toBe(0);
        expect(readTransportPorts(bytes, at)).toBe(sourcePort * 0x10000 + destinationPort);
      }),
    );
  });

  it('writes a computed checksum of 0 as ffff, and 0 only when asked to', () => {
    const fields = { source: '0.0.0.0', destination: '0.0.0.0', sourcePort: 0, destinationPort: 0 };
    // Pseudo header 17 + 10, length 10, payload w: their sum is ffff for w = ffff - 37.
    const zero = buildUdp(fields, Uint8Array.of(0xff, 0xff - 37));
    expect(getU16(zero, 6)).toBe(0xffff);
    expect(getU16(buildUdp({ ...fields, checksum: false }, Uint8Array.of(1)), 6)).toBe(0);
  });

  it('setters write their field and no other', () => {
    const bytes = new Uint8Array(8);
    bytes[5] = 8;
    const udp = view(UdpHeader.read(bytes));
    udp.sourcePort = 0x1234;
    udp.destinationPort = 0x5678;
    udp.checksum = 0x9abc;
    udp.length = 0xdef0;
    expect(Buffer.from(bytes).toString('hex')).toBe('12345678def09abc');
  });

  it('names a length that contradicts the datagram', () => {
    const bytes = buildUdp({ source: '10.0.0.1', destination: '10.0.0.2', sourcePort: 1, destinationPort: 2 }, new Uint8Array(4));
    const withLength = (length: number): Uint8Array => Uint8Array.from(bytes, (byte, i) => (i === 5 ? length : byte));
    expect(UdpHeader.read(withLength(7))).toBe('UDP_LENGTH_INVALID');
    expect(UdpHeader.read(withLength(13))).toBe('TRUNCATED_UDP_PAYLOAD');
    expect(view(UdpHeader.readQuoted(withLength(13))).length).toBe(13);
    expect(readTransportPorts(bytes, 0, 3)).toBe('TRUNCATED_TRANSPORT_PORTS');
  });
});

describe('TCP', () => {
  it('reads what buildTcp() writes, with a right checksum', () => {
    const fields = fc.record({ sourcePort: u16, destinationPort: u16, sequence: u32, acknowledgment: u32, flags: u8, window: u16 });
    fc.assert(
      fc.property(ipPair, fields, words, payload, lead, ([source, destination], given, options, data, at) => {
        const segment = buildTcp({ source, destination, ...given, options }, data);
        const bytes = shift(segment, at);
        const tcp = view(TcpHeader.read(bytes, at));
        const { sourcePort, destinationPort, sequence, acknowledgment, flags, window } = tcp;
        expect({ sourcePort, destinationPort, sequence, acknowledgment, flags, window }).toEqual(given);
        expect(tcp.headerLength).toBe(20 + options.length);
        expect(bytes.subarray(tcp.payloadOffset)).toEqual(data);
        expect(residue(source, destination, IP_PROTOCOL.tcp, segment)).toBe(0);
        const mssOffset = tcp.mssOffset;
        expect(mssOffset === -1 || (mssOffset >= at + 22 && mssOffset + 2 <= tcp.payloadOffset)).toBe(true);
      }),
    );
  });

  it('setters write their field and no other', () => {
    const bytes = buildTcp({ source: '10.0.0.1', destination: '10.0.0.2', sourcePort: 0, destinationPort: 0 });
    const tcp = view(TcpHeader.read(bytes));
    tcp.sourcePort = 0x0102;
    tcp.destinationPort = 0x0304;
    tcp.sequence = 0x05060708;
    tcp.acknowledgment = 0xf90a0b0c;
    tcp.flags = 0x0e;
    tcp.window = 0x0f10;
    tcp.checksum = 0x1112;
    expect(Buffer.from(bytes).toString('hex')).toBe('0102030405060708f90a0b0c500e0f1011120000');
  });

  it('mssOffset finds the option behind others and gives up on malformed ones', () => {
    const mssAt = (options: number[]): number => {
      const padded = Uint8Array.from([...options, ...Array((4 - (options.length % 4)) % 4).fill(0)]);
      return view(
        TcpHeader.read(buildTcp({ source: '10.0.0.1', destination: '10.0.0.2', sourcePort: 1, destinationPort: 2, options: padded })),
      ).mssOffset;
    };
    const mss = [...buildTcpMssOption(1460)];
    expect(mssAt(mss)).toBe(22);
    expect(mssAt([1, 1, 3, 3, 7, ...mss])).toBe(27);
    expect(mssAt([])).toBe(-1);
    expect(mssAt([0, ...mss])).toBe(-1);
    expect(mssAt([3, 0, ...mss])).toBe(-1);
    expect(mssAt([3, 200, ...mss])).toBe(-1);
    expect(mssAt([2, 3, 5])).toBe(-1);
    expect(mssAt([1, 1, 1, 2])).toBe(-1);
    expect(mssAt([1, 1, 2, 4])).toBe(-1);
  });

  it('names a data offset that contradicts the segment', () => {
    const bytes = buildTcp({ source: '10.0.0.1', destination: '10.0.0.2', sourcePort: 1, destinationPort: 2 });
    bytes[12] = 0x40;
    expect(TcpHeader.read(bytes)).toBe('TCP_DATA_OFFSET_INVALID');
    bytes[12] = 0x60;
    expect(TcpHeader.read(bytes)).toBe('TRUNCATED_TCP_HEADER');
  });
});

describe('ICMP', () => {
  it('reads what buildIcmpEcho() writes, by the family of the addresses', () => {
    fc.assert(
      fc.property(ipPair, u16, u16, fc.boolean(), payload, lead, ([source, destination], identifier, sequence, isReply, data, at) => {
        const message = buildIcmpEcho({ source, destination, identifier, sequence, isReply }, data);
        const bytes = shift(message, at);
        const isIpv4 = isIpv4Mapped(source);
        const icmp = view<Icmpv4Header | Icmpv6Header>((isIpv4 ? Icmpv4Header : Icmpv6Header).read(bytes, at));
        expect([icmp.identifier, icmp.sequence, icmp.code, icmp.isEcho, icmp.isEchoRequest, icmp.isError]).toEqual([
          identifier,
          sequence,
          0,
          true,
          !isReply,
          false,
        ]);
        expect(bytes.subarray(icmp.payloadOffset)).toEqual(data);
        expect(isIpv4 ? internetChecksum(message, 0, message.length) : residue(source, destination, IP_PROTOCOL.icmpv6, message)).toBe(0);
      }),
    );
  });

  it('reads what buildIcmpv4() and buildIcmpv6() write', () => {
    fc.assert(
      fc.property(u8, u8, u32, payload, (type, code, rest, body) => {
        const v4 = view(Icmpv4Header.read(buildIcmpv4({ type, code, rest }, body)));
        expect([v4.type, v4.code, v4.rest, v4.isError]).toEqual([type, code, rest, [3, 4, 5, 11, 12].includes(type)]);
        const v6 = view(Icmpv6Header.read(buildIcmpv6({ type, code, rest, source: '::1', destination: '::2' }, body)));
        expect([v6.type, v6.code, v6.rest, v6.isError]).toEqual([type, code, rest, type < 128]);
      }),
    );
  });

  it('setters write their field and no other', () => {
    const bytes = new Uint8Array(8);
    const icmp = view(Icmpv4Header.read(bytes));
    icmp.type = 1;
    icmp.code = 2;
    icmp.checksum = 0x0304;
    icmp.rest = 0xf5060708;
    expect(Buffer.from(bytes).toString('hex')).toBe('01020304f5060708');
    icmp.identifier = 0xaaaa;
    icmp.sequence = 0xbbbb;
    expect(icmp.rest).toBe(0xaaaabbbb);
  });

  it('errors about size tell the MTU and quote no more than their limits', () => {
    const packet = new Uint8Array(3000).fill(7);
    const v4 = buildFragmentationNeeded(1450, packet);
    const icmp4 = view(Icmpv4Header.read(v4));
    expect([icmp4.type, icmp4.code, icmp4.nextHopMtu, v4.length]).toEqual([3, 4, 1450, 8 + 548]);
    const v6 = buildPacketTooBig({ source: '2001:db8::1', destination: '2001:db8::2', mtuBytes: 1430 }, packet);
    const icmp6 = view(Icmpv6Header.read(v6));
    expect([icmp6.type, icmp6.code, icmp6.mtu, v6.length]).toEqual([2, 0, 1430, 8 + 1232]);
    expect(buildFragmentationNeeded(1450, packet.subarray(0, 100)).length).toBe(108);
  });
});

describe('neighbour discovery', () => {
  it('reads what buildNeighborSolicitation() writes', () => {
    fc.assert(
      fc.property(
        ipv6,
        ipv6.filter((target) => target[0] !== 0xff),
        fc.option(mac, { nil: undefined }),
        lead,
        (source, target, linkLayer, at) => {
          const fields = { source, target };
          const message = buildNeighborSolicitation(linkLayer === undefined ? fields : { ...fields, sourceLinkLayerAddress: linkLayer });
          const bytes = shift(message, at);
          const ns = view(NeighborSolicitation.read(bytes, at));
          expect(ns.copyTarget()).toEqual(target);
          expect(formatIp(bytes, ns.targetOffset)).toBe(formatIp(target));
          if (linkLayer === undefined) expect(ns.sourceLinkLayerAddressOffset).toBe(-1);
          else expect(formatMac(bytes, ns.sourceLinkLayerAddressOffset)).toBe(formatMac(linkLayer));
          expect(ns.optionCount(1)).toBe(linkLayer === undefined ? 0 : 1);
        },
      ),
    );
  });

  it('reads what buildNeighborAdvertisement() writes', () => {
    fc.assert(
      fc.property(
        ipv6,
        ipv6,
        ipv6.filter((target) => target[0] !== 0xff),
        fc.option(mac, { nil: undefined }),
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        (source, destination, target, linkLayer, isRouter, isSolicited, isOverride) => {
          const fields = { source, destination, target, isRouter, isSolicited, isOverride };
          const message = buildNeighborAdvertisement(linkLayer === undefined ? fields : { ...fields, targetLinkLayerAddress: linkLayer });
          const na = view(NeighborAdvertisement.read(message));
          expect([na.isRouter, na.isSolicited, na.isOverride]).toEqual([isRouter, isSolicited, isOverride]);
          expect(na.copyTarget()).toEqual(target);
          if (linkLayer === undefined) expect(na.targetLinkLayerAddressOffset).toBe(-1);
          else expect(formatMac(message, na.targetLinkLayerAddressOffset)).toBe(formatMac(linkLayer));
          expect(residue(source, destination, IP_PROTOCOL.icmpv6, message)).toBe(0);
        },
      ),
    );
  });

  it('frames go to the solicited-node group with hop limit 255 and a right checksum', () => {
    const frame = buildNeighborSolicitationFrame({
      sourceMac: '02:00:00:00:00:01',
      source: '2001:db8::1',
      target: '2001:db8::ab:cdef',
      sourceLinkLayerAddress: '02:00:00:00:00:01',
    });
    const ethernet = view(EthernetHeader.read(frame));
    const ip = view(Ipv6Header.read(frame, ethernet.payloadOffset));
    expect([ethernet.destinationText, ethernet.type, ip.hopLimit, ip.nextHeader]).toEqual(['33:33:ff:ab:cd:ef', 0x86dd, 255, 58]);
    expect(formatIp(frame, ip.destinationOffset)).toBe('ff02::1:ffab:cdef');
    expect(internetChecksum(frame, ip.payloadOffset, ip.payloadLength, ip.pseudoHeaderSum(58, ip.payloadLength))).toBe(0);
    const answer = buildNeighborAdvertisementFrame({
      sourceMac: '02:00:00:00:00:02',
      destinationMac: '02:00:00:00:00:01',
      source: '2001:db8::2',
      destination: '2001:db8::1',
      target: '2001:db8::2',
      targetLinkLayerAddress: '02:00:00:00:00:02',
      isSolicited: true,
    });
    expect(answer.length).toBe(86);
    const ip6 = view(Ipv6Header.read(answer, 14));
    expect([ip6.hopLimit, internetChecksum(answer, 54, 32, ip6.pseudoHeaderSum(58, 32))]).toEqual([255, 0]);
  });

  it('names what RFC 4861 section 7.1.1 refuses', () => {
    const good = buildNeighborSolicitation({ source: '2001:db8::1', target: '2001:db8::2', sourceLinkLayerAddress: '02:00:00:00:00:01' });
    const changed = (at: number, value: number): Uint8Array => Uint8Array.from(good, (byte, i) => (i === at ? value : byte));
    expect(NeighborSolicitation.read(changed(0, 136))).toBe('NEIGHBOR_DISCOVERY_TYPE_INVALID');
    expect(NeighborAdvertisement.read(good)).toBe('NEIGHBOR_DISCOVERY_TYPE_INVALID');
    expect(NeighborSolicitation.read(changed(1, 1))).toBe('NEIGHBOR_DISCOVERY_CODE_INVALID');
    expect(NeighborSolicitation.read(changed(8, 0xff))).toBe('NEIGHBOR_DISCOVERY_TARGET_MULTICAST');
    expect(NeighborSolicitation.read(changed(25, 0))).toBe('NEIGHBOR_DISCOVERY_OPTION_LENGTH_ZERO');
    expect(NeighborSolicitation.read(changed(25, 2))).toBe('TRUNCATED_NEIGHBOR_DISCOVERY_OPTION');
    expect(NeighborSolicitation.read(good.slice(0, 25))).toBe('TRUNCATED_NEIGHBOR_DISCOVERY_OPTION');
  });

  it('finds an option behind others and ignores a link-layer address of another size', () => {
    const message = Uint8Array.from([
      135,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0x20,
      ...Array(15).fill(0),
      14,
      1,
      1,
      2,
      3,
      4,
      5,
      6,
      1,
      1,
      2,
      0,
      0,
      0,
      0,
      9,
    ]);
    const ns = view(NeighborSolicitation.read(message));
    expect([ns.optionOffset(14), ns.sourceLinkLayerAddressOffset, ns.optionOffset(5)]).toEqual([24, 34, -1]);
    const long = view(NeighborSolicitation.read(Uint8Array.from([...message.subarray(0, 24), 1, 2, ...Array(14).fill(0)])));
    expect(long.sourceLinkLayerAddressOffset).toBe(-1);
  });
});

describe('tunnels', () => {
  it('VXLAN and NVGRE read what they write', () => {
    fc.assert(
      fc.property(u24, u8, payload, lead, (id, flowId, data, at) => {
        const vxlanBytes = shift(buildVxlan(id, data), at);
        const vxlan = view(VxlanHeader.read(vxlanBytes, at));
        expect([vxlan.vni, vxlan.flags]).toEqual([id, 0x08]);
        expect(vxlanBytes.subarray(vxlan.payloadOffset)).toEqual(data);
        const nvgreBytes = shift(buildNvgre(id, flowId, data), at);
        const nvgre = view(NvgreHeader.read(nvgreBytes, at));
        expect([nvgre.vsid, nvgre.flowId]).toEqual([id, flowId]);
        expect(nvgreBytes.subarray(nvgre.payloadOffset)).toEqual(data);
      }),
    );
  });

  it('write() leaves nothing of what was in the buffer, and nothing beyond its 8 bytes', () => {
    const dirty = new Uint8Array(10).fill(0xff);
    VxlanHeader.write(dirty, 1, 6000);
    expect(Buffer.from(dirty).toString('hex')).toBe('ff0800000000177000ff');
    dirty.fill(0xff);
    NvgreHeader.write(dirty, 1, 6000, 1);
    expect(Buffer.from(dirty).toString('hex')).toBe('ff2000655800177001ff');
  });

  it('VXLAN ignores all reserved bits on receipt and needs the I flag (RFC 7348 section 5)', () => {
    expect(view(VxlanHeader.read(Uint8Array.from([0xff, 0xff, 0xff, 0xff, 0, 0x17, 0x70, 0xff]))).vni).toBe(6000);
    expect(VxlanHeader.read(Uint8Array.from([0xf7, 0, 0, 0, 0, 0x17, 0x70, 0]))).toBe('VXLAN_VNI_FLAG_CLEAR');
  });

  it.each([
    [0, 0xa0, 'NVGRE_FLAGS_INVALID'],
    [0, 0x30, 'NVGRE_FLAGS_INVALID'],
    [0, 0x00, 'NVGRE_FLAGS_INVALID'],
    [1, 0x01, 'NVGRE_FLAGS_INVALID'],
    [2, 0x08, 'NVGRE_PROTOCOL_INVALID'],
  ])('NVGRE refuses byte %i = %i', (at, value, reason) => {
    expect(NvgreHeader.read(buildNvgre(6000, 0, new Uint8Array(0)).map((byte, i) => (i === at ? value : byte)))).toBe(reason);
  });

  it('whole frames have the overhead, protocol, port and checksums that the RFCs tell', () => {
    const macs = { sourceMac: '02:00:00:00:01:01', destinationMac: '02:00:00:00:01:02' };
    fc.assert(
      fc.property(ipPair, u24, payload, fc.boolean(), ([source, destination], id, inner, udpChecksum) => {
        const isIpv4 = isIpv4Mapped(source);
        const read = isIpv4 ? Ipv4Header.read : Ipv6Header.read;
        const protocolOf = (ip: Ipv4Header | Ipv6Header): number => (ip instanceof Ipv4Header ? ip.protocol : ip.nextHeader);

        const vxlanFrame = buildVxlanFrame({ ...macs, source, destination, vni: id, udpChecksum }, inner);
        expect(vxlanFrame.length - inner.length).toBe(isIpv4 ? 50 : 70);
        const ip = view<Ipv4Header | Ipv6Header>(read(vxlanFrame, 14));
        const udp = view(UdpHeader.read(vxlanFrame, ip.payloadOffset, ip.payloadEnd));
        expect([protocolOf(ip), udp.destinationPort, udp.sourcePort]).toEqual([17, 4789, tunnelSourcePort(flowHashOfFrame(inner))]);
        if (udpChecksum) expect(internetChecksum(vxlanFrame, udp.offset, udp.length, ip.pseudoHeaderSum(17, udp.length))).toBe(0);
        else expect(udp.checksum).toBe(0);
        expect(view(VxlanHeader.read(vxlanFrame, udp.payloadOffset, udp.payloadEnd)).vni).toBe(id);

        const nvgreFrame = buildNvgreFrame({ ...macs, source, destination, vsid: id }, inner);
        expect(nvgreFrame.length - inner.length).toBe(isIpv4 ? 42 : 62);
        const outer = view<Ipv4Header | Ipv6Header>(read(nvgreFrame, 14));
        expect(protocolOf(outer)).toBe(47);
        expect(view(NvgreHeader.read(nvgreFrame, outer.payloadOffset)).vsid).toBe(id);
      }),
    );
  });
});

describe('builders and views refuse misuse', () => {
  it('builders refuse values that a field cannot hold, instead of cutting them', () => {
    const none = new Uint8Array(0);
    const ip = { source: '10.0.0.1', destination: '10.0.0.2' };
    const bad: [string, () => unknown][] = [
      ['VNI 2^24', () => buildVxlan(0x1000000, none)],
      ['VSID -1', () => buildNvgre(-1, 0, none)],
      ['FlowID 256', () => buildNvgre(1, 256, none)],
      ['port 65536', () => buildUdp({ ...ip, sourcePort: 65536, destinationPort: 0 })],
      ['port NaN', () => buildTcp({ ...ip, sourcePort: Number.NaN, destinationPort: 0 })],
      ['sequence 2^32', () => buildTcp({ ...ip, sourcePort: 0, destinationPort: 0, sequence: 0x100000000 })],
      ['TTL 256', () => buildIpv4({ ...ip, protocol: 1, ttl: 256 })],
      ['offset 4', () => buildIpv4({ ...ip, protocol: 1, fragmentOffset: 4 })],
      ['options of 3 bytes', () => buildIpv4({ ...ip, protocol: 1, options: new Uint8Array(3) })],
      ['options of 44 bytes', () => buildTcp({ ...ip, sourcePort: 0, destinationPort: 0, options: new Uint8Array(44) })],
      ['a packet of 65536 bytes', () => buildIpv4({ ...ip, protocol: 1 }, new Uint8Array(65516))],
      ['mixed families', () => buildIp({ source: '10.0.0.1', destination: '::1', protocol: 1 })],
      ['an address of 4 bytes', () => buildIpv6({ source: new Uint8Array(4), destination: '::1', nextHeader: 1 })],
      ['a MAC of 5 bytes', () => buildEthernet({ source: new Uint8Array(5), destination: new Uint8Array(6), type: 0 })],
      ['VLAN 4096', () => buildEthernet({ source: new Uint8Array(6), destination: new Uint8Array(6), type: 0, vlanId: 4096 })],
    ];
    for (const [what, act] of bad) expect(act, what).toThrow(RangeError);
    expect(() => buildVxlan(16777216, none)).toThrow('Cannot encode VNI 16777216: must be an integer between 0 and 16777215');
  });

  it('setters refuse values that a field cannot hold, and leave the bytes alone', () => {
    const bytes = buildVxlan(6000, new Uint8Array(0));
    const vxlan = view(VxlanHeader.read(bytes));
    for (const vni of [0x1000000, -1, 1.5, Number.NaN]) {
      expect(() => {
        vxlan.vni = vni;
      }).toThrow(RangeError);
    }
    expect(vxlan.vni).toBe(6000);
  });

  it('readers throw RangeError for a window outside the buffer: a caller at fault, not a packet', () => {
    const bytes = new Uint8Array(64);
    for (const [offset, end] of [
      [-1, 64],
      [0.5, 64],
      [0, 65],
      [0, Number.NaN],
    ] as const) {
      for (const read of [
        EthernetHeader.read,
        ArpPacket.read,
        Ipv4Header.read,
        Ipv6Header.read,
        UdpHeader.read,
        TcpHeader.read,
        Icmpv4Header.read,
        Icmpv6Header.read,
        NeighborSolicitation.read,
        VxlanHeader.read,
        NvgreHeader.read,
        VlanTag.read,
        readTransportPorts,
      ]) {
        expect(() => read(bytes, offset, end)).toThrow(RangeError);
      }
    }
    expect(UdpHeader.read(bytes, 100, 64)).toBe('TRUNCATED_UDP_HEADER');
  });

  it('builders copy their payload into a zeroed buffer of their own', () => {
    const data = Uint8Array.of(1, 2, 3);
    const built = [
      buildEthernet({ source: new Uint8Array(6), destination: new Uint8Array(6), type: 0 }, data),
      buildIpv4({ source: '10.0.0.1', destination: '10.0.0.2', protocol: 0 }, data),
      buildVxlan(1, data),
    ];
    data.fill(9);
    for (const bytes of built) {
      expect([...bytes.subarray(-3)]).toEqual([1, 2, 3]);
      expect(bytes.buffer.byteLength).toBe(bytes.length);
    }
  });
});
