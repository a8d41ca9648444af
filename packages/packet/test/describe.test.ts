import { describe, expect, it } from 'vitest';
import {
  buildArpFrame,
  buildEthernet,
  buildFragmentationNeeded,
  buildIcmpEchoFrame,
  buildIcmpv4,
  buildIcmpv6,
  buildIpFrame,
  buildIpv4,
  buildIpv6Fragment,
  buildNeighborAdvertisementFrame,
  buildNeighborSolicitationFrame,
  buildPacketTooBig,
  buildTcpFrame,
  buildUdpFrame,
  describeFrame,
} from '../src/index.ts';

const macs = { sourceMac: '02:00:00:00:00:01', destinationMac: '02:00:00:00:00:02' };
const v4 = { ...macs, source: '192.0.2.1', destination: '192.0.2.2' };
const v6 = { ...macs, source: '2001:db8::1', destination: '2001:db8::2' };
const ports = { sourcePort: 40000, destinationPort: 53 };
const data = new Uint8Array(12);
const quoted = buildIpv4({ source: '192.0.2.2', destination: '198.51.100.1', protocol: 17 }, new Uint8Array(40));
const damaged = buildUdpFrame({ ...v4, ...ports });
damaged[24] = damaged[24]! ^ 0xff;
const longArp = { senderMac: macs.sourceMac, senderIp: v4.source, targetIp: v4.destination };
const fragment6 = (fragmentOffset: number): Uint8Array =>
  buildIpv6Fragment(
    { nextHeader: 17, fragmentOffset, moreFragments: fragmentOffset === 0, identification: 1 },
    new Uint8Array([156, 64, 0, 53, 5, 0, 0, 0]),
  );

describe('describeFrame()', () => {
  it.each<[string, Uint8Array]>([
    ['IPv4 192.0.2.1 > 192.0.2.2, UDP 40000 > 53, 12 bytes', buildUdpFrame({ ...v4, ...ports }, data)],
    ['IPv6 2001:db8::1 > 2001:db8::2, UDP 40000 > 53, 12 bytes', buildUdpFrame({ ...v6, ...ports }, data)],
    ['VLAN 7, IPv4 192.0.2.1 > 192.0.2.2, UDP 40000 > 53, 0 bytes', buildUdpFrame({ ...v4, ...ports, vlanId: 7 })],
    ['IPv4 192.0.2.1 > 192.0.2.2 (bad checksum), UDP 40000 > 53, 0 bytes', damaged],
    ['IPv4 192.0.2.1 > 192.0.2.2, TCP 40000 > 53 [S] seq 9, 0 bytes', buildTcpFrame({ ...v4, ...ports, sequence: 9, flags: 0x02 })],
    [
      'IPv4 192.0.2.1 > 192.0.2.2, TCP 40000 > 53 [P.] seq 9 ack 8, 12 bytes',
      buildTcpFrame({ ...v4, ...ports, sequence: 9, acknowledgment: 8, flags: 0x18 }, data),
    ],
    ['IPv4 192.0.2.1 > 192.0.2.2, TCP 40000 > 53 [none] seq 0, 0 bytes', buildTcpFrame({ ...v4, ...ports })],
    [
      'IPv4 192.0.2.1 > 192.0.2.2, ICMP echo reply id 1 seq 2, 12 bytes',
      buildIcmpEchoFrame({ ...v4, identifier: 1, sequence: 2, isReply: true }, data),
    ],
    [
      'IPv6 2001:db8::1 > 2001:db8::2, ICMPv6 echo request id 1 seq 2, 12 bytes',
      buildIcmpEchoFrame({ ...v6, identifier: 1, sequence: 2 }, data),
    ],
    [
      'IPv4 192.0.2.1 > 192.0.2.2, ICMP fragmentation needed, mtu 1450, quotes 192.0.2.2 > 198.51.100.1 protocol 17',
      buildIpFrame({ ...v4, protocol: 1 }, buildFragmentationNeeded(1450, quoted)),
    ],
    [
      'IPv4 192.0.2.1 > 192.0.2.2, ICMP type 5 code 10, quotes 12 bytes',
      buildIpFrame({ ...v4, protocol: 1 }, buildIcmpv4({ type: 5, code: 10 }, data)),
    ],
    [
      'IPv4 192.0.2.1 > 192.0.2.2, ICMP type 13 code 0, 12 bytes',
      buildIpFrame({ ...v4, protocol: 1 }, buildIcmpv4({ type: 13, code: 0 }, data)),
    ],
    [
      'IPv6 2001:db8::1 > 2001:db8::2, ICMPv6 packet too big, mtu 1430, quotes 12 bytes',
      buildIpFrame({ ...v6, protocol: 58 }, buildPacketTooBig({ ...v6, mtuBytes: 1430 }, data)),
    ],
    [
      'IPv6 2001:db8::1 > 2001:db8::2, ICMPv6 type 133 code 0, 12 bytes',
      buildIpFrame({ ...v6, protocol: 58 }, buildIcmpv6({ ...v6, type: 133, code: 0 }, data)),
    ],
    [
      'IPv6 2001:db8::1 > ff02::1:ff00:2, ND who-has 2001:db8::2',
      buildNeighborSolicitationFrame({ ...macs, source: v6.source, target: v6.destination }),
    ],
    [
      'IPv6 2001:db8::1 > 2001:db8::2, ND 2001:db8::1 is-at 02:00:00:00:00:01',
      buildNeighborAdvertisementFrame({ ...v6, target: v6.source, targetLinkLayerAddress: macs.sourceMac }),
    ],
    [
      'IPv6 2001:db8::1 > 2001:db8::2 (fragment offset 0+), UDP 40000 > 53, 1272 bytes',
      buildIpFrame({ ...v6, protocol: 44 }, fragment6(0)),
    ],
    ['IPv6 2001:db8::1 > 2001:db8::2 (fragment offset 1280), protocol 17, 8 bytes', buildIpFrame({ ...v6, protocol: 44 }, fragment6(1280))],
    ['IPv4 192.0.2.1 > 192.0.2.2, protocol 132, 12 bytes', buildIpFrame({ ...v4, protocol: 132 }, data)],
    ['IPv4 192.0.2.1 > 192.0.2.2, GRE NVGRE_FLAGS_INVALID', buildIpFrame({ ...v4, protocol: 47 }, data)],
    ['EtherType 0x88cc, 12 bytes', buildEthernet({ source: macs.sourceMac, destination: macs.destinationMac, type: 0x88cc }, data)],
    ['LLC length 38', buildEthernet({ source: macs.sourceMac, destination: macs.destinationMac, type: 38 }, data)],
  ])('%s', (expected, frame) => {
    expect(describeFrame(frame).replace(/^02:00:00:00:00:01 > [0-9a-f:]{17}, /, '')).toBe(expected);
  });

  it('tells ARP', () => {
    expect(describeFrame(buildArpFrame({ ...longArp, operation: 1 }))).toBe(
      '02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP who-has 192.0.2.2 tell 192.0.2.1 (02:00:00:00:00:01)',
    );
    expect(describeFrame(buildArpFrame({ ...longArp, operation: 2 }))).toContain('ARP 192.0.2.1 is-at 02:00:00:00:00:01');
    expect(describeFrame(buildArpFrame({ ...longArp, operation: 9 }))).toContain('ARP operation 9 192.0.2.1 > 192.0.2.2');
  });

  it('reads a frame inside a larger buffer', () => {
    const frame = buildUdpFrame({ ...v4, ...ports }, data);
    const buffer = new Uint8Array(frame.length + 20);
    buffer.set(frame, 5);
    expect(describeFrame(buffer, 5, 5 + frame.length)).toBe(describeFrame(frame));
  });
});
