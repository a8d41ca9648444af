import { foldSum, getU16, getU32, Ipv4Header, Ipv6Header, partialSum, setU16 } from '@weft/packet';
import { waitFor } from '@weft/testkit';
import { describe, expect, test } from 'vitest';
import { GsoType, type Offload } from '../src/user/offload.ts';
import { datagram, FAMILIES, type Family, tcpSegment } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import type { PortName } from './world.ts';

const NONE: Offload = { needsChecksum: false, gsoType: 0, hasEcn: false, gsoSize: 0, headerBytes: 0, checksumStart: 0, checksumOffset: 0 };
const WAYS: readonly (readonly [PortName, PortName])[] = [
  ['red1', 'red3'],
  ['red5', 'red4'],
  ['red3', 'red1'],
  ['red4', 'red5'],
  ['red1', 'red5'],
  ['red5', 'red1'],
  ['red2', 'red1'],
];
const PAYLOAD_BYTES = 20_000;
const SEGMENT_BYTES = 1_000;

/** The frame with its transport checksum left to the "NIC": the field holds the pseudo header's sum. */
function unfinished(frame: Uint8Array, family: Family, field: 6 | 16): { frame: Uint8Array; offload: Offload } {
  const copy = frame.slice();
  const ip = (family === 4 ? Ipv4Header.read(copy, 14) : Ipv6Header.read(copy, 14)) as Ipv4Header | Ipv6Header;
  const length = ip.payloadEnd - ip.payloadOffset;
  setU16(copy, ip.payloadOffset + field, foldSum(ip.pseudoHeaderSum(field === 16 ? 6 : 17, length)));
  return { frame: copy, offload: { ...NONE, needsChecksum: true, checksumStart: ip.payloadOffset, checksumOffset: field } };
}

function isSound(frame: Uint8Array): boolean {
  const isIpv6 = getU16(frame, 12) === 0x86dd;
  const ip = isIpv6 ? Ipv6Header.read(frame, 14) : Ipv4Header.read(frame, 14);
  if (typeof ip === 'string' || ip.payloadEnd !== frame.length) return false;
  const protocol = ip instanceof Ipv4Header ? ip.protocol : ip.nextHeader;
  const length = ip.payloadEnd - ip.payloadOffset;
  return foldSum(partialSum(frame, ip.payloadOffset, length, ip.pseudoHeaderSum(protocol, length))) === 0xffff;
}

/** What the VM's stack would make of the segments received: the bytes from `sequence` on, in order. */
function streamOf(lab: ConformanceLab, name: PortName, family: Family): Buffer {
  const l4 = family === 4 ? 34 : 54;
  const parts = lab.vm(name).received.map(({ frame, offload }, i) => {
    // A super-frame on a veth has its checksum still open; single segments are verified.
    if (offload.gsoType === GsoType.NONE) expect(isSound(lab.vm(name).frames()[i]!)).toBe(true);
    return { sequence: getU32(frame, l4 + 4), payload: frame.subarray(l4 + 20) };
  });
  parts.sort((a, b) => a.sequence - b.sequence);
  let next = 1000;
  for (const { sequence, payload } of parts) {
    expect(sequence).toBe(next);
    next += payload.length;
  }
  return Buffer.concat(parts.map(({ payload }) => payload));
}

export function offloadTests(lab: () => ConformanceLab): void {
  describe('offload', () => {
    test.each(WAYS)('a checksum left open by %s is right at %s', async (from, to) => {
      const frames = FAMILIES.map((family) => datagram(from, to, 'checked', { family, ttl: 9 }));
      for (const family of FAMILIES) {
        const { frame, offload } = unfinished(frames[family === 4 ? 0 : 1]!, family, 6);
        lab().vm(from).send(frame, offload);
      }
      await waitFor(() => lab().vm(to).received.length >= 2, {
        what: `two frames at ${to}`,
        show: () => JSON.stringify(lab().dropsSince()),
      });
      for (const frame of lab().vm(to).frames()) expect(isSound(frame)).toBe(true);
    });

    test.each(WAYS.flatMap((way) => FAMILIES.map((family) => [...way, family] as const)))(
      'a TCP super-frame of %s reaches %s over IPv%i, whole or in segments',
      async (from, to, family) => {
        const payload = Uint8Array.from({ length: PAYLOAD_BYTES }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
        const { frame, offload } = unfinished(tcpSegment(from, to, payload, { family }), family, 16);
        const gsoType = family === 4 ? GsoType.TCP4 : GsoType.TCP6;
        lab()
          .vm(from)
          .send(frame, { ...offload, gsoType, gsoSize: SEGMENT_BYTES, headerBytes: offload.checksumStart + 20 });
        const received = (): number =>
          lab()
            .vm(to)
            .received.reduce((sum, one) => sum + one.frame.length - offload.checksumStart - 20, 0);
        await waitFor(() => received() >= PAYLOAD_BYTES, {
          what: `${PAYLOAD_BYTES} bytes at ${to}`,
          show: () => JSON.stringify({ received: received(), ...lab().dropsSince() }),
        });
        expect(streamOf(lab(), to, family).equals(Buffer.from(payload))).toBe(true);
        for (const { frame: one, offload: its } of lab().vm(to).received) {
          if (its.gsoType === GsoType.NONE) expect(one.length).toBeLessThanOrEqual(offload.checksumStart + 20 + SEGMENT_BYTES);
          else expect(its.gsoSize).toBe(SEGMENT_BYTES);
        }
        const lengths = lab().vm(to).received.length;
        await lab().flush();
        expect(lab().vm(to).received.length).toBe(lengths);
      },
    );

    test.each(WAYS.slice(0, 5))('a UDP super-frame of %s reaches %s', async (from, to) => {
      const payload = Uint8Array.from({ length: 5_500 }, (_, i) => (i >> 2) & 0xff);
      const { frame, offload } = unfinished(datagram(from, to, payload), 4, 6);
      lab()
        .vm(from)
        .send(frame, { ...offload, gsoType: GsoType.UDP_SEGMENTS, gsoSize: 1_000, headerBytes: 42 });
      const parts = (): Buffer[] =>
        lab()
          .vm(to)
          .received.map(({ frame: one }) => Buffer.from(one.subarray(42)));
      const total = (): number => parts().reduce((sum, part) => sum + part.length, 0);
      await waitFor(() => total() >= payload.length, { what: `5,500 bytes at ${to}`, show: () => JSON.stringify(lab().dropsSince()) });
      expect(Buffer.concat(parts()).equals(Buffer.from(payload))).toBe(true);
    });

    test('a super-frame is judged by its segments: too long ones are refused, and the sender told', async () => {
      const { frame, offload } = unfinished(tcpSegment('red1', 'red3', new Uint8Array(8_000)), 4, 16);
      lab()
        .vm('red1')
        .send(frame, { ...offload, gsoType: GsoType.TCP4, gsoSize: 1_440, headerBytes: 54 });
      await lab().expectDrops(lab().a, { 'red1 PACKET_TOO_BIG': 1 });
      await waitFor(() => lab().vm('red1').received.length === 1, { what: 'the ICMP error' });
      lab().vm('red1').received.length = 0;
      await lab().expectReceived();
    });

    test('a spoofed super-frame goes nowhere', async () => {
      const { frame, offload } = unfinished(tcpSegment('red1', 'red3', new Uint8Array(8_000), { source: '10.0.1.15' }), 4, 16);
      lab()
        .vm('red1')
        .send(frame, { ...offload, gsoType: GsoType.TCP4, gsoSize: 1_000, headerBytes: 54 });
      await lab().expectDrops(lab().a, { 'red1 SOURCE_ADDRESS_SPOOFED': 1 });
      await lab().expectReceived();
    });

    test('a checksum that would be written over a checked address goes nowhere', async () => {
      const frame = datagram('red1', 'red3', 'overwritten');
      // In the low half of the source address, and in the destination port.
      lab()
        .vm('red1')
        .send(frame, { ...NONE, needsChecksum: true, checksumStart: 20, checksumOffset: 8 });
      lab()
        .vm('red1')
        .send(frame, { ...NONE, needsChecksum: true, checksumStart: 34, checksumOffset: 2 });
      await lab().expectDrops(lab().a, { 'red1 CHECKSUM_OFFLOAD_MISPLACED': 2 });
      await lab().expectReceived();
    });

    test('super-frames of kinds that make no sense harm nobody', async () => {
      const vm = lab().vm('red1');
      const { frame, offload } = unfinished(tcpSegment('red1', 'red3', new Uint8Array(4_000)), 4, 16);
      for (const gsoType of [1, 2, 3, 4, 5, 6, 0x7f]) {
        for (const gsoSize of [0, 1, 7, 65_535]) {
          for (const checksumStart of [0, 13, 34, 60, 65_000]) {
            vm.trySend(frame, { ...offload, gsoType, gsoSize, checksumStart, headerBytes: 54 });
            vm.trySend(frame, { ...offload, needsChecksum: false, gsoType, gsoSize, headerBytes: 5_000 });
          }
        }
      }
      await lab().flush();
      const elsewhere = [...lab().vms].filter(([name, one]) => name !== 'red3' && name !== 'red1' && one.received.length > 0);
      expect(elsewhere.map(([name]) => name)).toEqual([]);
    });
  });
}
