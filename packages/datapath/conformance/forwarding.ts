import { fromPort, gatewayMac } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { EthernetHeader, getU16, Ipv4Header, Ipv6Header, parseMac } from '@weft/packet';
import { waitFor } from '@weft/testkit';
import { openPacketSocket } from '@weft/tuntap';
import { describe, expect, test } from 'vitest';
import { addressOf, datagram, echo, FAMILIES, gatewayOf } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import { PA, PORTS, type PortName, TENANT_MTU } from './world.ts';

const PAIRS: readonly (readonly [PortName, PortName])[] = [
  ['red1', 'red3'],
  ['red3', 'red1'],
  ['red1', 'red5'],
  ['red5', 'red1'],
  ['red5', 'red3'],
  ['blue1', 'blue3'],
  ['blue3', 'blue1'],
];
const ROUTED: readonly (readonly [PortName, PortName])[] = [
  ['red1', 'red4'],
  ['red4', 'red1'],
  ['red1', 'red2'],
  ['red2', 'red5'],
  ['red3', 'red4'],
  ['red2', 'red3'],
];

/** `frame` as it leaves a router towards `to`. */
function routed(frame: Uint8Array, to: PortName): Uint8Array {
  const copy = frame.slice();
  copy.set(parseMac(PORTS[to].mac), 0);
  copy.set(gatewayMac(PORTS[to].vsid), 6);
  const ip = getU16(copy, 12) === 0x0800 ? Ipv4Header.read(copy, 14) : Ipv6Header.read(copy, 14);
  if (ip instanceof Ipv4Header) {
    ip.ttl--;
    ip.updateChecksum();
  } else if (ip instanceof Ipv6Header) ip.hopLimit--;
  return copy;
}

export function forwardingTests(lab: () => ConformanceLab): void {
  describe('forwarding', () => {
    test.each(PAIRS)('carries frames of a subnet from %s to %s unchanged', async (from, to) => {
      const frames = FAMILIES.flatMap((family) => [echo(from, to, family), datagram(from, to, `hello ${to}`, { family })]);
      for (const frame of frames) lab().vm(from).send(frame);
      await lab().expectReceived({ [to]: frames });
    });

    test.each(ROUTED)('routes from %s to %s', async (from, to) => {
      const frames = FAMILIES.flatMap((family) => [echo(from, to, family), datagram(from, to, 'routed', { family, ttl: 2 })]);
      for (const frame of frames) lab().vm(from).send(frame);
      await lab().expectReceived({ [to]: frames.map((frame) => routed(frame, to)) });
    });

    test('takes padding off', async () => {
      const frame = datagram('red1', 'red3', 'x');
      const padded = new Uint8Array(120).fill(0xee);
      padded.set(frame);
      lab().vm('red1').send(padded);
      await lab().expectReceived({ red3: [frame] });
    });

    test('carries the largest packet that fits, and the smallest', async () => {
      for (const family of FAMILIES) {
        const headers = family === 4 ? 28 : 48;
        const frames = [
          datagram('red1', 'red3', new Uint8Array(TENANT_MTU - headers).fill(5), { family }),
          datagram('red1', 'red3', new Uint8Array(0), { family }),
        ];
        lab().begin();
        for (const frame of frames) lab().vm('red1').send(frame);
        await lab().expectReceived({ red3: frames });
      }
    });

    test('puts tunnel headers on the wire as the contract has them', async () => {
      const wire = lab().b.in(() => openPacketSocket({ interfaceName: 'underlay0' }));
      const seen: Uint8Array[] = [];
      wire.start((batch) => {
        for (const frame of batch) if (getU16(frame, 12) === 0x0800 && getU16(frame, 36) === 4789) seen.push(frame.slice());
      });
      try {
        const flows = FAMILIES.flatMap((family) =>
          [7000, 7001, 7002].flatMap((sourcePort) => [
            datagram('red1', 'red3', 'flow', { family, sourcePort }),
            datagram('red1', 'red4', 'flow', { family, sourcePort }),
          ]),
        );
        // One with congestion bits: ECT(0) shows on the outside.
        const marked = datagram('red1', 'red3', 'ecn');
        (Ipv4Header.read(marked, 14) as Ipv4Header).rewriteEcn(2);
        flows.push(marked);
        const expected = flows.map((frame) => {
          const input = { ifindex: lab().ifindex('red1'), frame };
          const verdict = fromPort(lab().oracle(lab().a), input, { pa: PA.a, udpPort: 4789, nowBootNs: 0n });
          const onWire = verdict.frame!.slice();
          onWire.set(lab().b.underlayMac, 0);
          onWire.set(lab().a.underlayMac, 6);
          return onWire;
        });
        for (const frame of flows) lab().vm('red1').send(frame);
        await waitFor(() => seen.length >= flows.length, { what: 'tunnel frames on the wire' });
        expect(seen.map((frame) => Buffer.from(frame).toString('hex')).sort()).toEqual(
          expected.map((frame) => Buffer.from(frame).toString('hex')).sort(),
        );
        expect(new Set(seen.map((frame) => getU16(frame, 34))).size).toBeGreaterThan(6);
      } finally {
        wire.close();
      }
    });

    test.each(FAMILIES)('tells the sender of an IPv%i packet that is too big', async (family) => {
      const big = datagram('red1', 'red3', new Uint8Array(TENANT_MTU), { family });
      lab().vm('red1').send(big);
      await lab().expectDrops(lab().a, { 'red1 PACKET_TOO_BIG': 1 });
      const [answer] = await received(lab(), 'red1');
      checkError(answer!, family, family === 4 ? [3, 4] : [2, 0], TENANT_MTU, big);
    });

    test.each(FAMILIES)('tells the sender of an IPv%i packet whose time is over', async (family) => {
      const old = datagram('red1', 'red4', 'old', { family, ttl: 1 });
      lab().vm('red1').send(old);
      await lab().expectDrops(lab().a, { 'red1 TTL_EXCEEDED': 1 });
      const [answer] = await received(lab(), 'red1');
      checkError(answer!, family, family === 4 ? [11, 0] : [3, 0], 0, old);
    });

    test('drops by name what has nowhere to go', async () => {
      const vm = lab().vm('red1');
      vm.send(echo('red1', 'red3', 4, { destinationMac: '02:00:00:00:01:77' }));
      vm.send(echo('red1', 'red4', 4, { destination: '10.0.2.99' }));
      vm.send(echo('red1', 'red4', 4, { destination: '203.0.113.1' }));
      vm.send(echo('red1', 'red4', 6, { destination: '2001:db8:9::1' }));
      vm.send(echo('red1', 'red4', 4, { destination: '10.0.1.11' }));
      await lab().expectDrops(lab().a, {
        'red1 UNKNOWN_DESTINATION_MAC': 1,
        'red1 UNKNOWN_DESTINATION': 1,
        'red1 NO_ROUTE': 2,
        'red1 DESTINATION_IS_SOURCE': 1,
      });
      await lab().expectReceived();
    });

    test('counts drops with size, time and a sample', async () => {
      const frame = datagram('red1', 'red4', 'sampled', { destination: '203.0.113.9' });
      const isSample = (sample: Uint8Array): boolean => Buffer.from(sample).equals(Buffer.from(frame.subarray(0, 64)));
      const counterOf = () => {
        const ifindex = lab().ifindex('red1');
        return lab()
          .a.in(() => lab().a.datapath.drops())
          .find((one) => one.ifindex === ifindex && one.reason === DropReason.NO_ROUTE);
      };
      const before = counterOf();
      lab().vm('red1').send(frame);
      await lab().expectDrops(lab().a, { 'red1 NO_ROUTE': 1 });
      const after = counterOf()!;
      expect(after.vsid).toBe(PORTS.red1.vsid);
      expect(after.bytes - (before?.bytes ?? 0n)).toBe(BigInt(frame.length));
      expect(after.lastBootNs).toBeGreaterThan(before?.lastBootNs ?? 0n);
      expect(isSample(after.sample)).toBe(true);
    });
  });
}

/** Waits for the first frame of a VM. */
export async function received(lab: ConformanceLab, name: PortName): Promise<Uint8Array[]> {
  await waitFor(() => lab.vm(name).received.length > 0, { what: `a frame at ${name}`, show: () => JSON.stringify(lab.dropsSince()) });
  return lab.vm(name).frames();
}

/** An ICMP error from the gateway to red1, quoting `about`. */
function checkError(answer: Uint8Array, family: 4 | 6, [type, code]: readonly number[], mtu: number, about: Uint8Array): void {
  const red1 = PORTS.red1;
  const ethernet = EthernetHeader.read(answer);
  expect(typeof ethernet).toBe('object');
  expect(answer.subarray(0, 6)).toEqual(parseMac(red1.mac));
  expect(answer.subarray(6, 12)).toEqual(gatewayMac(red1.vsid));
  const ip = family === 4 ? Ipv4Header.read(answer, 14) : Ipv6Header.read(answer, 14);
  if (typeof ip === 'string') throw new Error(`The answer is unreadable: ${ip}`);
  const [source, destination] =
    family === 4 ? [answer.subarray(26, 30), answer.subarray(30, 34)] : [answer.subarray(22, 38), answer.subarray(38, 54)];
  expect(Buffer.from(source).toString('hex')).toBe(addressHex(gatewayOf(red1, family), family));
  expect(Buffer.from(destination).toString('hex')).toBe(addressHex(addressOf(red1, family), family));
  expect([answer[ip.payloadOffset], answer[ip.payloadOffset + 1]]).toEqual([type, code]);
  expect(getU16(answer, ip.payloadOffset + 6)).toBe(mtu);
  const quote = answer.subarray(ip.payloadOffset + 8, ip.payloadEnd);
  expect(Buffer.from(quote).equals(Buffer.from(about.subarray(14, 14 + quote.length)))).toBe(true);
  expect(quote.length).toBe(Math.min(128, about.length - 14));
}

function addressHex(text: string, family: 4 | 6): string {
  const frame = family === 4 ? echo('red1', 'red3', 4, { source: text }) : echo('red1', 'red3', 6, { source: text });
  return Buffer.from(family === 4 ? frame.subarray(26, 30) : frame.subarray(22, 38)).toString('hex');
}
