import { describe, expect, it } from 'vitest';
import {
  buildAnnouncement,
  buildIcmpEchoFrame,
  buildNvgre,
  buildNvgreFrame,
  buildVxlan,
  buildVxlanFrame,
  describeFrame,
  flowHash,
  internetChecksum,
  NvgreHeader,
  parseIp,
  tunnelSourcePort,
  VxlanHeader,
} from '../src/index.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// Frames of which each byte is known from the standards or was worked out by hand: a fault that builder and reader share can't hide here.
describe('golden frames', () => {
  it('buildVxlan() writes VNI 6000 as RFC 7348 section 5 draws it', () => {
    expect(hex(buildVxlan(6000, Uint8Array.of(0xaa)))).toBe('0800000000177000aa');
    const header = VxlanHeader.read(Uint8Array.from([8, 0, 0, 0, 0, 0x17, 0x70, 0]));
    expect(typeof header === 'string' ? header : header.vni).toBe(6000);
  });

  it('buildNvgre() writes VSID 6000 as RFC 7637 section 3.2 draws it', () => {
    expect(hex(buildNvgre(6000, 0, Uint8Array.of(0xaa)))).toBe('2000655800177000aa');
    const header = NvgreHeader.read(Uint8Array.from([0x20, 0, 0x65, 0x58, 0, 0x17, 0x70, 0x2a]));
    expect(typeof header === 'string' ? header : [header.vsid, header.flowId]).toEqual([6000, 0x2a]);
  });

  it('buildAnnouncement() writes ARP announcements as RFC 5227 section 1.1 and an override advertisement as RFC 4861 section 4.4 draw them', () => {
    const [request, reply] = buildAnnouncement('02:00:00:00:00:01', '203.0.113.16').map(hex);
    const body = (operation: string, target: string): string =>
      `ffffffffffff020000000001080600010800060400${operation}020000000001cb007110${target}cb007110`;
    expect(request).toBe(body('01', '000000000000'));
    expect(reply).toBe(body('02', '020000000001'));
    const [advertisement] = buildAnnouncement('02:00:00:00:00:01', '2001:db8:ffff::10').map(hex);
    expect(advertisement!.slice(0, 28)).toBe('33330000000102000000000186dd');
    expect(advertisement!.slice(28, 44)).toBe('6000000000203aff');
    expect(advertisement!.slice(44, 108)).toBe('20010db8ffff00000000000000000010ff020000000000000000000000000001');
    expect(advertisement!.slice(108, 112)).toBe('8800');
    expect(advertisement!.slice(116)).toBe('2000000020010db8ffff000000000000000000100201020000000001');
  });

  it('buildIcmpEchoFrame() writes a ping byte for byte', () => {
    const frame = buildIcmpEchoFrame(
      {
        sourceMac: '02:00:00:00:00:01',
        destinationMac: '02:00:00:00:00:02',
        source: '192.0.2.1',
        destination: '192.0.2.2',
        identifier: 1,
        sequence: 2,
      },
      new TextEncoder().encode('weft'),
    );
    // IPv4 words 4500+0020+4001+c000+0201+c000+0202 = 20924, folded 0926, complement f6d9.
    // ICMP words 0800+0001+0002+7765+6674 = e5dc, complement 1a23.
    expect(hex(frame)).toBe(
      '020000000002' +
        '020000000001' +
        '0800' +
        '4500002000000000' +
        '4001' +
        'f6d9' +
        'c0000201' +
        'c0000202' +
        '0800' +
        '1a23' +
        '00010002' +
        '77656674',
    );
  });

  it('internetChecksum() sums the example of RFC 1071 section 3', () => {
    // The RFC gives the sum ddf2; the checksum is its complement.
    expect(internetChecksum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7), 0, 8)).toBe(0x220d);
  });

  it('flowHash() keeps its vectors, which the BPF mirror is tested with too', () => {
    // Worked out by a second implementation, written from the specification in arbitrary-precision arithmetic.
    const hash = flowHash(parseIp('10.0.0.1'), parseIp('10.0.0.2'), 6, 40000, 80);
    expect(hash).toBe(1994253592);
    expect(tunnelSourcePort(hash)).toBe(58648);
    expect(flowHash(parseIp('2001:db8::1'), parseIp('2001:db8::2'), 17, 1, 65535)).toBe(724826931);
  });

  it('describeFrame() tells what is in a tunnel', () => {
    const inner = buildIcmpEchoFrame({
      sourceMac: '02:00:00:00:00:01',
      destinationMac: '02:00:00:00:00:02',
      source: '10.0.0.1',
      destination: '10.0.0.2',
      identifier: 1,
      sequence: 2,
    });
    const outer = { sourceMac: '02:00:00:00:01:01', destinationMac: '02:00:00:00:01:02', source: '192.0.2.1', destination: '192.0.2.2' };
    expect(describeFrame(buildVxlanFrame({ ...outer, vni: 6000, sourcePort: 50000 }, inner))).toBe(
      '02:00:00:00:01:01 > 02:00:00:00:01:02, IPv4 192.0.2.1 > 192.0.2.2, UDP 50000 > 4789, VXLAN vni 6000 | ' +
        '02:00:00:00:00:01 > 02:00:00:00:00:02, IPv4 10.0.0.1 > 10.0.0.2, ICMP echo request id 1 seq 2, 0 bytes',
    );
    expect(describeFrame(buildNvgreFrame({ ...outer, vsid: 6000, flowId: 7 }, inner))).toContain('NVGRE vsid 6000 flow 7 | 02:00');
  });
});
