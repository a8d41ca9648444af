import { fromPort, MemoryTables } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import {
  buildTcpFrame,
  buildUdpFrame,
  foldSum,
  getU16,
  internetChecksum,
  parseIp,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  setU16,
} from '@weft/packet';
import type { FrameSource } from '@weft/tuntap';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dropCount, dropsOf, GSO_TYPE, Lab, type LabPort, until, VNET_HEADER_BYTES, withVnetHeader } from './support/lab.ts';

// What BPF_PROG_TEST_RUN can't carry: GSO frames, unfinished checksums, short frames. Written to a TAP as a hypervisor does, with a
// virtio-net header; read from another.

const BLUE = { vsid: 6001, networkId: 9, prefix: '10.0.3' };
const ALL = ['csum', 'tso4', 'tso6', 'ecn', 'uso4', 'uso6'] as const;
const PAYLOAD_BYTES = 40_000;
const MSS = 1380;

let lab: Lab;
let a1: LabPort;
let a2: LabPort;
let plain: LabPort;
let b1: LabPort;

beforeAll(() => {
  lab = new Lab();
  a1 = lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 1, offloads: ALL });
  a2 = lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 2, offloads: ALL });
  plain = lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 3, offloads: [] });
  b1 = lab.addPort(lab.b, { kind: 'tap', subnet: BLUE, number: 4, offloads: ALL });
});
afterAll(() => lab?.close());

const state = (): string => `drops at A: ${dropsOf(lab.a)}, at B: ${dropsOf(lab.b)}`;

function drain(tap: FrameSource): void {
  while (tap.read() !== null);
}

async function receive(port: LabPort, what: string): Promise<{ header: DataView; frame: Uint8Array }> {
  const bytes = await until(`${what}; ${state()}`, () => port.tap!.read(), 5000).catch((error: Error) => {
    throw new Error(`${error.message}; ${state()}`);
  });
  return { header: new DataView(bytes.buffer, bytes.byteOffset, VNET_HEADER_BYTES), frame: bytes.subarray(VNET_HEADER_BYTES) };
}

type Family = 'IPv4' | 'IPv6';
type Transport = 'TCP' | 'UDP';
const ipBytes = (family: Family): number => (family === 'IPv4' ? 20 : 40);
const checksumOffset = (transport: Transport): number => (transport === 'TCP' ? 16 : 6);

/** A frame whose transport checksum is left to whoever comes after: the field holds the pseudo header's sum. */
function unfinished(from: LabPort, to: LabPort, family: Family, transport: Transport, payloadBytes: number, ttl = 64): Uint8Array {
  const source = parseIp(family === 'IPv4' ? from.ca : from.ca6);
  const destination = parseIp(family === 'IPv4' ? to.ca : to.ca6);
  const payload = Uint8Array.from({ length: payloadBytes }, (_, i) => (i * 7) & 0xff);
  const fields = { sourceMac: from.mac, destinationMac: to.mac, source, destination, sourcePort: 1234, destinationPort: 4321, ttl };
  const frame =
    transport === 'TCP'
      ? buildTcpFrame({ ...fields, sequence: 1, acknowledgment: 1, flags: 0x10, window: 1000 } as never, payload)
      : buildUdpFrame(fields, payload);
  const l4 = 14 + ipBytes(family);
  const length = frame.length - l4;
  const protocol = transport === 'TCP' ? 6 : 17;
  const sum =
    family === 'IPv4'
      ? pseudoHeaderSum4(source, 12, destination, 12, protocol, length)
      : pseudoHeaderSum6(source, 0, destination, 0, protocol, length);
  setU16(frame, l4 + checksumOffset(transport), foldSum(sum));
  return frame;
}

const GSO_TYPES: Record<`${Transport}${Family}`, number> = {
  TCPIPv4: GSO_TYPE.tcp4,
  TCPIPv6: GSO_TYPE.tcp6,
  UDPIPv4: GSO_TYPE.udp,
  UDPIPv6: GSO_TYPE.udp,
};

function sendGso(
  from: LabPort,
  to: LabPort,
  family: Family,
  transport: Transport,
  gsoSize: number,
  payloadBytes = PAYLOAD_BYTES,
  ttl = 64,
): Uint8Array {
  const frame = unfinished(from, to, family, transport, payloadBytes, ttl);
  const l4 = 14 + ipBytes(family);
  from.tap!.write(
    withVnetHeader(frame, {
      gsoType: GSO_TYPES[`${transport}${family}`],
      gsoSize,
      headerBytes: l4 + (transport === 'TCP' ? 20 : 8),
      checksum: [l4, checksumOffset(transport)],
    }),
  );
  return frame;
}

const KINDS: readonly [Transport, Family][] = [
  ['TCP', 'IPv4'],
  ['TCP', 'IPv6'],
  ['UDP', 'IPv4'],
  ['UDP', 'IPv6'],
];

describe('GSO frames', () => {
  it.each(KINDS)('of %s over %s reach a neighbour whole, locally', async (transport, family) => {
    drain(a2.tap!);
    const sent = sendGso(a1, a2, family, transport, MSS);
    const { header, frame } = await receive(a2, 'the frame');
    expect(Buffer.from(frame).equals(sent)).toBe(true);
    expect(header.getUint16(4, true)).toBe(MSS);
  });

  it.each(KINDS)('of %s over %s reach a port of another host whole, never cut to the MSS', async (transport, family) => {
    drain(b1.tap!);
    const sent = sendGso(a1, b1, family, transport, MSS);
    const { header, frame } = await receive(b1, 'the frame');
    expect(frame.length).toBe(sent.length);
    expect(Buffer.from(frame).equals(sent)).toBe(true);
    expect(header.getUint8(1) & 0x7f).toBe(GSO_TYPES[`${transport}${family}`]);
    expect(header.getUint16(4, true)).toBe(MSS);
    expect(b1.tap!.read()).toBeNull();
  });

  it('of old UDP fragmentation offload arrive as fragments', async () => {
    drain(b1.tap!);
    const frame = unfinished(a1, b1, 'IPv4', 'UDP', 5000);
    a1.tap!.write(withVnetHeader(frame, { gsoType: GSO_TYPE.udpFragments, gsoSize: 1400, headerBytes: 42, checksum: [34, 6] }));
    let payload = 0;
    while (payload < 5008) {
      const { frame: part } = await receive(b1, `the rest after ${payload} bytes`);
      expect(getU16(part, 20) & 0x3fff).not.toBe(0);
      payload += getU16(part, 16) - 20;
    }
    expect(payload).toBe(5008);
  });

  it('whose segments exceed the MTU come back as an ICMP error', async () => {
    drain(a1.tap!);
    const sent = sendGso(a1, b1, 'IPv4', 'TCP', 1420);
    const { frame } = await receive(a1, 'the error');
    expectError(frame, 'IPv4', sent, 'TCP');
    expect([frame[34], frame[35], getU16(frame, 40)]).toEqual([3, 4, 1450]);
  });
});

describe('unfinished checksums', () => {
  it.each(KINDS)('of %s over %s arrive right, finished or not', async (transport, family) => {
    for (const to of [a2, b1, plain]) {
      drain(to.tap!);
      const sent = unfinished(a1, to, family, transport, 99);
      const l4 = 14 + ipBytes(family);
      a1.tap!.write(withVnetHeader(sent, { checksum: [l4, checksumOffset(transport)] }));
      const { header, frame } = await receive(to, 'the frame');
      const complete = finish(header, frame);
      const pseudo =
        family === 'IPv4'
          ? pseudoHeaderSum4(sent, 26, sent, 30, sent[23]!, sent.length - l4)
          : pseudoHeaderSum6(sent, 22, sent, 38, sent[20]!, sent.length - l4);
      expect(internetChecksum(complete, l4, complete.length - l4, pseudo)).toBe(0);
      if (to === plain) expect(header.getUint8(0)).toBe(0);
    }
  });

  it.each(KINDS)('of %s over %s leave a right ICMP error, whoever finishes them', async (transport, family) => {
    for (const [from, to, payloadBytes] of [
      [a1, b1, 1500],
      [plain, b1, 1500],
      [a1, a2, 1600],
      [plain, a2, 1471],
    ] as const) {
      drain(from.tap!);
      const sent = unfinished(from, to, family, transport, payloadBytes);
      from.tap!.write(withVnetHeader(sent, { checksum: [14 + ipBytes(family), checksumOffset(transport)] }));
      const { header, frame } = await receive(from, 'the error');
      expectError(frame, family, sent, transport);
      expectError(finish(header, frame), family, sent, transport);
    }
  });

  it.each([
    ['over the source address', 20, 6], // the kernel itself refuses a start in the Ethernet header
    ['over the destination address', 30, 2],
    ['over the ports', 34, 0],
    ['before the transport header, to a place in it', 20, 30],
  ] as const)('that would be written %s are refused', async (_, start, offset) => {
    drain(a2.tap!);
    const before = dropCount(lab.a, DropReason.CHECKSUM_OFFLOAD_MISPLACED);
    a1.tap!.write(withVnetHeader(unfinished(a1, a2, 'IPv4', 'UDP', 99), { checksum: [start, offset] }));
    await until(`the drop; ${state()}`, () => dropCount(lab.a, DropReason.CHECKSUM_OFFLOAD_MISPLACED) === before + 1);
    expect(a2.tap!.read()).toBeNull();
  });
});

describe('frames too short for test runs', () => {
  const context = { pa: parseIp('192.0.2.1'), udpPort: 4789, nowBootNs: 0n };

  it.each([
    ['IPv4', 34],
    ['IPv6', 54],
  ] as const)('of %s are dropped for the reasons of the oracle', async (family, bytes) => {
    const tables = new MemoryTables(lab.a.datapath.entries().map((row) => ({ op: 'put', ...row }) as never));
    const whole = unfinished(a1, a2, family, 'UDP', 20);
    for (let length = 14; length < bytes; length++) {
      const frame = whole.slice(0, length);
      const { reason } = fromPort(tables, { ifindex: a1.ifindex, frame }, context);
      const before = dropCount(lab.a, reason);
      a1.tap!.write(withVnetHeader(frame));
      await until(`reason ${reason} at ${length} bytes; ${state()}`, () => dropCount(lab.a, reason) === before + 1);
    }
  });
});

/** Does what the reader of a frame with NEEDS_CSUM does. */
function finish(header: DataView, frame: Uint8Array): Uint8Array {
  const copy = frame.slice();
  if ((header.getUint8(0) & 1) === 0) return copy;
  const start = header.getUint16(6, true);
  const at = start + header.getUint16(8, true);
  setU16(copy, at, internetChecksum(copy, start, copy.length - start) || 0xffff);
  return copy;
}

/** The frame is an ICMP error from the gateway with a right checksum, and quotes `sent` but for its transport checksum. */
function expectError(frame: Uint8Array, family: Family, sent: Uint8Array, transport: Transport): void {
  const ip = ipBytes(family);
  const quoted = frame.subarray(14 + ip + 8);
  expect(quoted.length).toBe(Math.min(128, sent.length - 14));
  const expected = sent.slice(14, 14 + quoted.length);
  const at = ip + checksumOffset(transport);
  setU16(expected, at, getU16(quoted, at));
  expect(Buffer.from(quoted).toString('hex')).toBe(Buffer.from(expected).toString('hex'));
  if (family === 'IPv4') {
    expect(internetChecksum(frame, 14, 20)).toBe(0);
    expect(internetChecksum(frame, 34, frame.length - 34)).toBe(0);
  } else {
    const pseudo = pseudoHeaderSum6(frame, 22, frame, 38, 58, frame.length - 54);
    expect(internetChecksum(frame, 54, frame.length - 54, pseudo)).toBe(0);
  }
}
