import { DropReason } from '@weft/model';
import {
  buildIcmpEchoFrame,
  flowHashOfFrame,
  Ipv4Header,
  Ipv6Header,
  internetChecksum,
  NeighborAdvertisement,
  parseIp,
  tunnelSourcePort,
} from '@weft/packet';
import { describe, expect, it } from 'vitest';
import { Action, gatewayMac, type Verdict, verdictCb } from '../src/index.ts';
import { udpTo } from './cases/port-forward.ts';
import { arp, solicitation } from './cases/port-link.ts';
import { inner } from './cases/underlay.ts';
import { A, B, C, D, E, GATEWAY_MAC, GATEWAY4, GATEWAY6, HOST_C, HOST_D, ofPeer, ofPort, PA, patched } from './fixture.ts';

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex');
/** Groups of hex digits as one string. */
const golden = (...groups: readonly string[]): string => groups.join('').replaceAll(' ', '');

function frameOf(verdict: Verdict, action: number): Uint8Array {
  expect(verdict.action).toBe(action);
  if (verdict.frame === undefined) throw new Error('the verdict has no frame');
  return verdict.frame;
}

/** Asserts the checksums of the IP header and an ICMP message by computing them whole. */
function expectSoundIcmp(frame: Uint8Array): void {
  if (frame[12] === 0x86) {
    const ip = Ipv6Header.read(frame, 14);
    if (typeof ip === 'string') throw new Error(ip);
    expect(ip.payloadEnd).toBe(frame.length);
    expect(internetChecksum(frame, 54, ip.payloadLength, ip.pseudoHeaderSum(58, ip.payloadLength))).toBe(0);
    return;
  }
  const ip = Ipv4Header.read(frame, 14);
  if (typeof ip === 'string') throw new Error(ip);
  expect(ip.payloadEnd).toBe(frame.length);
  expect(ip.isChecksumValid).toBe(true);
  expect(internetChecksum(frame, ip.payloadOffset, ip.payloadLength)).toBe(0);
}

describe('ARP replies', () => {
  it('are 42 bytes from the MAC address that was asked for', () => {
    const verdict = ofPort(Uint8Array.of(...arp(C.ip4), ...new Uint8Array(18).fill(0xee)));
    expect(hex(frameOf(verdict, Action.REPLY))).toBe(
      golden('02000000000a 02000000000c 0806', '0001 0800 06 04 0002', '02000000000c 0a000014', '02000000000a 0a00000a'),
    );
    expect(verdict.ifindex).toBe(A.ifindex);
  });

  it('come from the computed MAC address for the gateway', () => {
    expect(hex(frameOf(ofPort(arp(GATEWAY4)), Action.REPLY))).toBe(
      golden('02000000000a 025746001389 0806', '0001 0800 06 04 0002', '025746001389 0a000001', '02000000000a 0a00000a'),
    );
  });

  it('go back to 0.0.0.0 for a probe', () => {
    const frame = frameOf(ofPort(arp(C.ip4, { senderIp: parseIp('0.0.0.0') })), Action.REPLY);
    expect(hex(frame.subarray(32))).toBe(golden('02000000000a 00000000'));
  });
});

describe('neighbour advertisements', () => {
  it('are 86 bytes with the flags S and O', () => {
    const frame = frameOf(ofPort(solicitation(C.ip6)), Action.REPLY);
    expect(hex(frame)).toBe(
      golden(
        '02000000000a 02000000000c 86dd',
        '60000000 0020 3a ff',
        '20010db8000000000000000000000020',
        '20010db8000000000000000000000010',
        '88 00 8a1c 60000000',
        '20010db8000000000000000000000020',
        '02 01 02000000000c',
      ),
    );
    expectSoundIcmp(frame);
  });

  it('have the flag R too when the gateway answers', () => {
    const frame = frameOf(ofPort(solicitation(GATEWAY6)), Action.REPLY);
    expect(frame.length).toBe(86);
    expect(frame[58]).toBe(0xe0);
    expect(hex(frame.subarray(6, 12))).toBe(hex(GATEWAY_MAC));
    expect(hex(frame.subarray(80))).toBe(hex(GATEWAY_MAC));
    expect(NeighborAdvertisement.read(frame, 54)).toBeInstanceOf(NeighborAdvertisement);
    expectSoundIcmp(frame);
  });

  it('have right checksums towards an IPv4-mapped asker', () => {
    expectSoundIcmp(frameOf(ofPort(patched(solicitation(C.ip6), 22, ...A.ip4)), Action.REPLY));
  });
});

describe('echo replies of the gateway', () => {
  const ends = { sourceMac: A.mac, destinationMac: GATEWAY_MAC, identifier: 0x1234, sequence: 5 };
  const data = Uint8Array.of(1, 2, 3, 4, 5);

  it('turn an IPv4 request round, with its class and identification', () => {
    const request = patched(buildIcmpEchoFrame({ ...ends, source: A.ip4, destination: GATEWAY4 }, data), 15, 0xb8);
    const frame = frameOf(ofPort(Uint8Array.of(...request, 0xee, 0xee)), Action.REPLY);
    expect(hex(frame)).toBe(
      golden('02000000000a 025746001389 0800', '45 b8 0021 0000 0000 40 01 661a', '0a000001 0a00000a', '00 00 e4c0 1234 0005 0102030405'),
    );
    expectSoundIcmp(frame);
  });

  it('keep IPv4 options', () => {
    const request = buildIcmpEchoFrame({ ...ends, source: A.ip4, destination: GATEWAY4 }, data);
    const withOptions = Uint8Array.of(...patched(request.slice(0, 34), 14, 0x46, 0, 0, 0x25), 1, 1, 1, 0, ...request.slice(34));
    const frame = frameOf(ofPort(withOptions), Action.REPLY);
    expect(hex(frame.subarray(34, 38))).toBe('01010100');
    expectSoundIcmp(frame);
  });

  it('turn an IPv6 request round, with its flow label', () => {
    const request = patched(
      buildIcmpEchoFrame({ ...ends, source: A.ip6, destination: GATEWAY6, ttl: 3 }, data),
      14,
      0x6b,
      0x81,
      0x23,
      0x45,
    );
    const frame = frameOf(ofPort(request), Action.REPLY);
    expect(hex(frame.subarray(14, 22))).toBe(golden('6b812345 000d 3a 40'));
    expect(hex(frame.subarray(22, 54))).toBe(hex(GATEWAY6) + hex(A.ip6));
    expect(frame[54]).toBe(129);
    expectSoundIcmp(frame);
  });
});

describe('ICMP errors', () => {
  const quoteOf = (packet: Uint8Array): string => hex(packet.subarray(14, 14 + 128));

  it('tell IPv4 senders that the TTL ran out, quoting the packet as it came', () => {
    const packet = udpTo('10.0.1.20', { ttl: 1 });
    const verdict = ofPort(Uint8Array.of(...packet, 0xee));
    const frame = frameOf(verdict, Action.REPLY);
    expect(hex(frame.subarray(0, 42))).toBe(
      golden('02000000000a 025746001389 0800', '45 00 0058 0000 0000 40 01 669b', '0a000001 0a00000a', '0b 00 0a57 00000000'),
    );
    expect(hex(frame.subarray(42))).toBe(quoteOf(packet));
    expectSoundIcmp(frame);
    expect(verdictCb(verdict)).toEqual([(Action.REPLY << 16) | DropReason.TTL_EXCEEDED, A.ifindex, 0, 0, 0]);
  });

  it('tell IPv6 senders that the hop limit ran out', () => {
    const packet = udpTo('2001:db8:0:1::20', { ttl: 1 });
    const frame = frameOf(ofPort(packet), Action.REPLY);
    expect(hex(frame.subarray(0, 54))).toBe(golden('02000000000a 025746001389 86dd', '60000000 0044 3a 40', hex(GATEWAY6), hex(A.ip6)));
    expect(hex(frame.subarray(54, 56))).toBe('0300');
    expect(hex(frame.subarray(58))).toBe(`00000000${quoteOf(packet)}`);
    expectSoundIcmp(frame);
  });

  it.each([
    ['10.0.0.20', 42, '0304', '00000578'],
    ['2001:db8::20', 62, '0200', '00000578'],
  ])('tell the MTU to the sender of a packet for %s, quoting 128 bytes', (destination, quoteOffset, typeAndCode, mtu) => {
    const packet = udpTo(destination, { mac: C.mac, size: 1401 });
    const frame = frameOf(ofPort(packet), Action.REPLY);
    expect(frame.length).toBe(quoteOffset + 128);
    expect(hex(frame.subarray(quoteOffset - 8, quoteOffset - 6))).toBe(typeAndCode);
    expect(hex(frame.subarray(quoteOffset - 4, quoteOffset))).toBe(mtu);
    expect(hex(frame.subarray(quoteOffset))).toBe(quoteOf(packet));
    expectSoundIcmp(frame);
  });
});

describe('encapsulation', () => {
  it('is 50 bytes, then the frame cut to its packet', () => {
    const packet = patched(udpTo('10.0.0.20', { mac: C.mac }), 15, 0xb9);
    const verdict = ofPort(Uint8Array.of(...packet, 0xee, 0xee));
    const frame = frameOf(verdict, Action.TUNNEL);
    expect(hex(frame.subarray(0, 34))).toBe(
      golden('000000000000 000000000000 0800', '45 01 006e 0000 4000 40 11 b671', 'c0000201 c000020b'),
    );
    expect(frame[34]! * 256 + frame[35]!).toBe(tunnelSourcePort(flowHashOfFrame(packet)));
    expect(hex(frame.subarray(36, 50))).toBe(golden('12b5 005a 0000', '08000000 00138900'));
    expect(hex(frame.subarray(50))).toBe(hex(packet));
    expect(internetChecksum(frame, 14, 20)).toBe(0);
    expect(verdict.pa).toEqual(HOST_C);
    expect(verdict.vsid).toBe(5001);
    const paInMemory = new Uint32Array(Uint8Array.of(192, 0, 2, 11).buffer)[0];
    expect(verdictCb(verdict)).toEqual([Action.TUNNEL << 16, 0, paInMemory, 5001, 0]);
  });

  it("carries the destination's VSID and the gateway's MAC address when routed", () => {
    const packet = udpTo('10.0.1.20', { ttl: 64 });
    const frame = frameOf(ofPort(packet), Action.TUNNEL);
    expect(hex(frame.subarray(46, 49))).toBe('00138a');
    const sent = frame.subarray(50);
    expect(hex(sent.subarray(0, 14))).toBe(golden(hex(D.mac), hex(gatewayMac(5002)), '0800'));
    expect(sent[22]).toBe(63);
    const ip = Ipv4Header.read(sent, 14);
    expect(ip instanceof Ipv4Header && ip.isChecksumValid).toBe(true);
    expect(hex(sent.subarray(26))).toBe(hex(packet.subarray(26)));
  });

  it('keeps the GSO of what goes on', () => {
    const gso = { size: 1372, segments: 7, type: 1 };
    expect(ofPort(udpTo('10.0.0.20', { mac: C.mac, size: 9000 }), { gso }).gso).toEqual(gso);
  });
});

describe('delivery', () => {
  it('rewrites a routed frame for a local port and leaves the frame that came in alone', () => {
    const packet = udpTo('2001:db8:0:1::10', { ttl: 2 });
    const before = packet.slice();
    const verdict = ofPort(packet);
    const frame = frameOf(verdict, Action.LOCAL);
    expect(packet).toEqual(before);
    expect(verdict.ifindex).toBe(B.ifindex);
    expect(hex(frame.subarray(0, 12))).toBe(hex(B.mac) + hex(gatewayMac(5002)));
    expect(frame[21]).toBe(1);
    expect(verdictCb(verdict)).toEqual([Action.LOCAL << 16, B.ifindex, 0, 0, 0]);
  });

  it('strips a tunnel frame and its padding', () => {
    const packet = inner(C, A);
    const verdict = ofPeer(Uint8Array.of(...packet, 0xee, 0xee, 0xee));
    expect(hex(frameOf(verdict, Action.LOCAL))).toBe(hex(packet));
    expect(verdict.ifindex).toBe(A.ifindex);
  });

  it.each([
    ['IPv4', false, 15],
    ['IPv6', true, 15],
  ])('carries a congestion mark over to %s', (_, isIpv6, at) => {
    const packet = inner(C, A, { isIpv6 });
    packet[at] = isIpv6 ? 0x20 : 0x02;
    if (!isIpv6) Ipv4HeaderOf(packet).updateChecksum();
    const frame = frameOf(ofPeer(packet, { ecn: 3 }), Action.LOCAL);
    expect(frame[at]).toBe(isIpv6 ? 0x30 : 0x03);
    if (!isIpv6) expect(Ipv4HeaderOf(frame).isChecksumValid).toBe(true);
  });

  it('sends a frame on to where its port has moved, with the same VNI and the mark outside too', () => {
    const packet = patched(inner(C, E), 15, 1);
    const verdict = ofPeer(packet, { ecn: 3 });
    const frame = frameOf(verdict, Action.TUNNEL);
    expect(verdict.pa).toEqual(HOST_D);
    expect(verdict.vsid).toBe(5001);
    expect(frame[15]).toBe(3);
    expect(frame[65]).toBe(3);
    expect(hex(frame.subarray(26, 30))).toBe(hex(PA.subarray(12)));
    expect(hex(frame.subarray(80))).toBe(hex(packet.subarray(30)));
  });
});

function Ipv4HeaderOf(frame: Uint8Array): Ipv4Header {
  const ip = Ipv4Header.read(frame, 14);
  if (typeof ip === 'string') throw new Error(ip);
  return ip;
}
