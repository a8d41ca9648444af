import { MemoryTables } from '@weft/forwarding';
import { type DropReason, dropReasonName } from '@weft/model';
import { foldSum, getU16, Ipv4Header, setU16 } from '@weft/packet';
import { beforeEach, describe, expect, test } from 'vitest';
import { datagram, tcpSegment, tunnelled } from '../conformance/frames.ts';
import { PA, PORTS, rowsOf } from '../conformance/world.ts';
import { Forwarder } from '../src/user/forwarder.ts';
import { GsoType, type Offload } from '../src/user/offload.ts';

// Host B of the conformance world, without devices: what the kernel of a neighbour hands over, written by hand.

const MAC = Uint8Array.of(2, 0, 0, 0, 0xbb, 1);
const RED3 = 13;
const NONE: Offload = { needsChecksum: false, gsoType: 0, hasEcn: false, gsoSize: 0, headerBytes: 0, checksumStart: 0, checksumOffset: 0 };

let delivered: { readonly frame: Uint8Array; readonly offload: Offload | undefined }[];
let tunnels: Uint8Array[];
let drops: string[];
let isDeviceThere: boolean;
let forwarder: Forwarder;

beforeEach(() => {
  delivered = [];
  tunnels = [];
  drops = [];
  isDeviceThere = true;
  forwarder = new Forwarder({
    tables: new MemoryTables(rowsOf('b', (name) => ({ red3: RED3, red4: 14, blue3: 23 })[name as string] ?? 0)),
    underlayIfindex: 2,
    underlayMac: MAC,
    context: () => ({ pa: PA.b, udpPort: 4789, nowBootNs: 0n }),
    deliver: (ifindex, frame, offload) => {
      expect(ifindex).toBe(RED3);
      delivered.push({ frame, offload });
      return isDeviceThere;
    },
    tunnel: (_, frame) => tunnels.push(frame),
    drop: (ifindex, vsid, reason: DropReason) => drops.push(`${ifindex} ${vsid} ${dropReasonName(reason)}`),
  });
});

/** A tunnel packet with a TCP super-frame in it, of red1 at A for red3 at B, as a kernel engine sends it: inner checksum and segments left open. */
function climbing(payloadBytes: number, ecn: { readonly outer: number; readonly inner: number } = { outer: 0, inner: 0 }) {
  const inner = tcpSegment('red1', 'red3', new Uint8Array(payloadBytes).fill(3));
  const ip = Ipv4Header.read(inner, 14) as Ipv4Header;
  ip.rewriteEcn(ecn.inner);
  setU16(inner, 34 + 16, foldSum(ip.pseudoHeaderSum(6, ip.payloadLength)));
  const outer = {
    sourceMac: Uint8Array.of(2, 0, 0, 0, 0xaa, 1),
    destinationMac: MAC,
    source: PA.a,
    destination: PA.b,
    vni: PORTS.red3.vsid,
  };
  const frame = tunnelled(outer, inner);
  (Ipv4Header.read(frame, 14) as Ipv4Header).rewriteEcn(ecn.outer);
  const offload = {
    ...NONE,
    needsChecksum: true,
    gsoType: GsoType.TCP4,
    gsoSize: 1000,
    headerBytes: 104,
    checksumStart: 84,
    checksumOffset: 16,
  };
  return { frame, inner, offload };
}

describe('a super-frame inside a tunnel packet', () => {
  test('is delivered whole, with the rest of the work still asked for', () => {
    const { frame, inner, offload } = climbing(5000);
    forwarder.fromUnderlay(frame, offload);
    expect(drops).toEqual([]);
    expect(delivered).toEqual([{ frame: inner, offload: { ...offload, headerBytes: 54, checksumStart: 34 } }]);
  });

  test('carries congestion on', () => {
    const { frame, inner, offload } = climbing(5000, { outer: 3, inner: 2 });
    forwarder.fromUnderlay(frame, offload);
    const marked = inner.slice();
    (Ipv4Header.read(marked, 14) as Ipv4Header).rewriteEcn(3);
    expect(delivered.map((one) => one.frame)).toEqual([marked]);
  });

  test('is dropped if it can not', () => {
    const { frame, offload } = climbing(5000, { outer: 3, inner: 0 });
    forwarder.fromUnderlay(frame, offload);
    expect(delivered).toEqual([]);
    expect(drops).toEqual(['2 5001 ECN_CE_ON_NOT_ECT']);
  });

  test('is refused if its segments or its checksum make no sense', () => {
    for (const changes of [
      { gsoType: GsoType.TCP6 },
      { gsoType: GsoType.UDP_FRAGMENTS },
      { checksumStart: 88 },
      { gsoType: GsoType.UDP_SEGMENTS },
    ]) {
      const { frame, offload } = climbing(5000);
      forwarder.fromUnderlay(frame, { ...offload, ...changes });
    }
    const { frame, offload } = climbing(5000);
    forwarder.fromUnderlay(frame, { ...offload, checksumStart: 70 });
    expect(delivered).toEqual([]);
    expect(drops).toEqual([...Array<string>(4).fill('2 5001 KERNEL_REFUSED'), '2 5001 CHECKSUM_OFFLOAD_MISPLACED']);
  });

  test('is judged as any other: who sends it comes first', () => {
    const { frame, offload } = climbing(5000);
    frame.set(PA.c.subarray(12), 26);
    forwarder.fromUnderlay(frame, { ...offload, checksumStart: 70 });
    expect(delivered).toEqual([]);
    expect(drops).toEqual(['2 5001 SOURCE_NOT_AT_THIS_PEER']);
  });

  test('is counted if the kernel does not take it', () => {
    isDeviceThere = false;
    const { frame, offload } = climbing(5000);
    forwarder.fromUnderlay(frame, offload);
    expect(drops).toEqual(['2 5001 KERNEL_REFUSED']);
  });
});

describe('a frame of a VM', () => {
  const misplaced: Offload = { ...NONE, needsChecksum: true, checksumStart: 34, checksumOffset: 2 };

  test('whose checksum would fall on its ports is dropped for that', () => {
    forwarder.fromPort(RED3, datagram('red3', 'red1', 'x'), misplaced);
    forwarder.fromPort(RED3, datagram('red3', 'red1', 'x', { destination: '203.0.113.1' }), misplaced);
    expect(drops).toEqual(Array<string>(2).fill(`${RED3} 5001 CHECKSUM_OFFLOAD_MISPLACED`));
    expect([delivered, tunnels]).toEqual([[], []]);
  });

  test('unless it is forged besides, which is checked before', () => {
    forwarder.fromPort(RED3, datagram('red3', 'red1', 'x', { source: PORTS.red4.ca4 }), misplaced);
    expect(drops).toEqual([`${RED3} 5001 SOURCE_ADDRESS_SPOOFED`]);
  });

  test('that stands for segments leaves as these, each in a tunnel packet of its own', () => {
    const frame = tcpSegment('red3', 'red1', new Uint8Array(4500).fill(9));
    forwarder.fromPort(RED3, frame, {
      ...NONE,
      needsChecksum: true,
      gsoType: GsoType.TCP4,
      gsoSize: 1000,
      headerBytes: 54,
      checksumStart: 34,
      checksumOffset: 16,
    });
    expect(tunnels.map((one) => one.length - 104)).toEqual([1000, 1000, 1000, 1000, 500]);
    expect(new Set(tunnels.map((one) => getU16(one, 34))).size).toBe(1);
  });

  test('that asks for more segments than a frame can have is refused', () => {
    const frame = tcpSegment('red3', 'red1', new Uint8Array(4500));
    forwarder.fromPort(RED3, frame, { ...NONE, gsoType: GsoType.TCP4, gsoSize: 1, headerBytes: 54 });
    expect(tunnels).toEqual([]);
    expect(drops).toEqual([`${RED3} 5001 KERNEL_REFUSED`]);
  });
});
