import { gatewayMac } from '@weft/forwarding';
import {
  ARP_OPERATION,
  buildArpFrame,
  buildIcmpEchoFrame,
  buildNeighborAdvertisementFrame,
  buildNeighborSolicitationFrame,
  getU16,
  Ipv4Header,
  type MacLike,
  parseIp,
  parseMac,
} from '@weft/packet';
import { describe, expect, test } from 'vitest';
import { received } from './forwarding.ts';
import { addressOf, datagram, FAMILIES, gatewayOf } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import { PORTS, type PortName } from './world.ts';

const BROADCAST = 'ff:ff:ff:ff:ff:ff';

export function arpRequest(
  from: PortName,
  target: string,
  changes: { senderMac?: string; senderIp?: string; sourceMac?: string } = {},
): Uint8Array {
  const { mac, ca4 } = PORTS[from];
  const { senderMac = mac, senderIp = ca4, sourceMac } = changes;
  const frame = buildArpFrame({ operation: ARP_OPERATION.request, senderMac, senderIp, targetMac: '00:00:00:00:00:00', targetIp: target });
  frame.set(parseMac(BROADCAST), 0);
  frame.set(parseMac(sourceMac ?? mac), 6);
  return frame;
}

function arpReply(to: PortName, address: string, mac: MacLike): Uint8Array {
  const { mac: targetMac, ca4: targetIp } = PORTS[to];
  return buildArpFrame({ operation: ARP_OPERATION.reply, senderMac: mac, senderIp: address, targetMac, targetIp });
}

function solicitation(from: PortName, target: string): Uint8Array {
  const { mac, ca6 } = PORTS[from];
  return buildNeighborSolicitationFrame({ sourceMac: mac, source: ca6, target, sourceLinkLayerAddress: mac });
}

function advertisement(to: PortName, address: string, mac: MacLike, isRouter: boolean): Uint8Array {
  return buildNeighborAdvertisementFrame({
    sourceMac: mac,
    destinationMac: PORTS[to].mac,
    source: address,
    destination: PORTS[to].ca6,
    target: address,
    targetLinkLayerAddress: mac,
    isSolicited: true,
    isOverride: true,
    isRouter,
  });
}

export function answersTests(lab: () => ConformanceLab): void {
  describe('answers', () => {
    test('ARP: of a port here, of one elsewhere, of the gateway', async () => {
      const { red3, red5 } = PORTS;
      for (const target of [red3.ca4, red5.ca4, PORTS.red1.gateway4]) lab().vm('red1').send(arpRequest('red1', target));
      await lab().expectReceived({
        red1: [
          arpReply('red1', red3.ca4, red3.mac),
          arpReply('red1', red5.ca4, red5.mac),
          arpReply('red1', PORTS.red1.gateway4, gatewayMac(PORTS.red1.vsid)),
        ],
      });
    });

    test('neighbour discovery: the same', async () => {
      const { red1, red3, red5 } = PORTS;
      for (const target of [red1.ca6, red5.ca6, red3.gateway6]) lab().vm('red3').send(solicitation('red3', target));
      await lab().expectReceived({
        red3: [
          advertisement('red3', red1.ca6, red1.mac, false),
          advertisement('red3', red5.ca6, red5.mac, false),
          advertisement('red3', red3.gateway6, gatewayMac(red3.vsid), true),
        ],
      });
    });

    test('are silence for addresses that nobody has, of another subnet, and of oneself', async () => {
      const vm = lab().vm('red1');
      vm.send(arpRequest('red1', '10.0.1.200'));
      vm.send(arpRequest('red1', PORTS.red4.ca4));
      vm.send(arpRequest('red1', PORTS.red1.ca4));
      vm.send(solicitation('red1', '2001:db8:1::200'));
      vm.send(solicitation('red1', PORTS.red4.ca6));
      await lab().expectDrops(lab().a, { 'red1 ARP_TARGET_UNKNOWN': 2, 'red1 ARP_ANNOUNCEMENT': 1, 'red1 ND_TARGET_UNKNOWN': 2 });
      await lab().expectReceived();
    });

    test.each(FAMILIES)('the gateway answers an IPv%i ping', async (family) => {
      const { red1 } = PORTS;
      const data = new TextEncoder().encode('are you there?');
      const question = {
        sourceMac: red1.mac,
        destinationMac: gatewayMac(red1.vsid),
        source: addressOf(red1, family),
        destination: gatewayOf(red1, family),
        identifier: 77,
        sequence: 5,
      };
      lab().vm('red1').send(buildIcmpEchoFrame(question, data));
      const [answer] = await received(lab(), 'red1');
      const expected = buildIcmpEchoFrame(
        {
          ...question,
          sourceMac: question.destinationMac,
          destinationMac: question.sourceMac,
          source: question.destination,
          destination: question.source,
          isReply: true,
        },
        data,
      );
      if (family === 4) {
        // The identification is the question's; all else is compared.
        const ip = Ipv4Header.read(expected, 14) as Ipv4Header;
        ip.identification = getU16(answer!, 18);
        setFlags(expected, answer!);
        ip.updateChecksum();
      }
      expect(Buffer.from(answer!).toString('hex')).toBe(Buffer.from(expected).toString('hex'));
    });

    test('the gateway of the other subnet answers, too, and serves nothing else', async () => {
      const { red1, red4 } = PORTS;
      const fields = { sourceMac: red1.mac, destinationMac: gatewayMac(red1.vsid), source: red1.ca4, destination: red4.gateway4 };
      lab()
        .vm('red1')
        .send(buildIcmpEchoFrame({ ...fields, identifier: 1, sequence: 1 }));
      const [answer] = await received(lab(), 'red1');
      expect(answer!.subarray(26, 30)).toEqual(parseIp(red4.gateway4).subarray(12));
      lab().begin();
      lab()
        .vm('red1')
        .send(datagram('red1', 'red4', 'dns?', { destination: red4.gateway4 }));
      await lab().expectDrops(lab().a, { 'red1 GATEWAY_NO_SERVICE': 1 });
      await lab().expectReceived();
    });
  });
}

function setFlags(expected: Uint8Array, answer: Uint8Array): void {
  expected[20] = answer[20]!;
  expected[21] = answer[21]!;
}
