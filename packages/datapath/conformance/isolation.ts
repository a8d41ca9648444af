import { buildNeighborSolicitationFrame } from '@weft/packet';
import { describe, expect, test } from 'vitest';
import { arpRequest } from './answers.ts';
import { datagram, echo, FAMILIES } from './frames.ts';
import { type ConformanceLab, VM_NAMES } from './lab.ts';
import { PORTS } from './world.ts';

const ROUNDS = 50;

export function isolationTests(lab: () => ConformanceLab): void {
  describe('identity', () => {
    test('a VM speaks by its own MAC address only', async () => {
      lab()
        .vm('red1')
        .send(echo('red1', 'red3', 4, { sourceMac: PORTS.red5.mac }));
      lab()
        .vm('red3')
        .send(echo('red3', 'red1', 6, { sourceMac: '02:57:46:00:13:89' }));
      await lab().expectDrops(lab().a, { 'red1 SOURCE_MAC_SPOOFED': 1 });
      await lab().expectDrops(lab().b, { 'red3 SOURCE_MAC_SPOOFED': 1 });
      await lab().expectReceived();
    });

    test('and by its own addresses only', async () => {
      const vm = lab().vm('red1');
      vm.send(echo('red1', 'red3', 4, { source: PORTS.red5.ca4 }));
      vm.send(echo('red1', 'red3', 4, { source: PORTS.red3.ca4 }));
      vm.send(echo('red1', 'red3', 4, { source: '203.0.113.5' }));
      vm.send(echo('red1', 'red4', 4, { source: PORTS.red1.gateway4 }));
      vm.send(echo('red1', 'red3', 6, { source: PORTS.red5.ca6 }));
      vm.send(echo('red1', 'red3', 6, { source: '2001:db8:ffff::1' }));
      await lab().expectDrops(lab().a, { 'red1 SOURCE_ADDRESS_SPOOFED': 6 });
      await lab().expectReceived();
    });

    test('in ARP and neighbour discovery, too', async () => {
      const { red1, red5 } = PORTS;
      const vm = lab().vm('red1');
      vm.send(arpRequest('red1', red5.ca4, { senderIp: PORTS.red3.ca4 }));
      vm.send(arpRequest('red1', red5.ca4, { senderMac: red5.mac }));
      vm.send(arpRequest('red1', red5.ca4, { sourceMac: red5.mac }));
      const spoofed = { sourceMac: red1.mac, target: red5.ca6 };
      vm.send(buildNeighborSolicitationFrame({ ...spoofed, source: PORTS.red3.ca6, sourceLinkLayerAddress: red1.mac }));
      vm.send(buildNeighborSolicitationFrame({ ...spoofed, source: red1.ca6, sourceLinkLayerAddress: red5.mac }));
      await lab().expectDrops(lab().a, { 'red1 ARP_SENDER_SPOOFED': 2, 'red1 SOURCE_MAC_SPOOFED': 1, 'red1 ND_SENDER_SPOOFED': 2 });
      await lab().expectReceived();
    });

    test('VLAN tags are refused, in the frame or in its metadata', async () => {
      lab()
        .vm('red1')
        .send(echo('red1', 'red3', 4, { vlanId: 100 }));
      lab()
        .vm('red5')
        .send(echo('red5', 'red3', 4, { vlanId: 0 }));
      await lab().expectDrops(lab().a, { 'red1 VLAN_TAG_NOT_ALLOWED': 1, 'red5 VLAN_TAG_NOT_ALLOWED': 1 });
      await lab().expectReceived();
    });
  });

  describe('isolation', () => {
    test('tenants with the same addresses never meet', async () => {
      for (let i = 0; i < ROUNDS; i++) {
        for (const family of FAMILIES) {
          for (const [from, to] of [
            ['red1', 'red3'],
            ['red3', 'red1'],
            ['blue1', 'blue3'],
            ['blue3', 'blue1'],
          ] as const) {
            // The frames of both tenants differ in nothing but this text.
            lab()
              .vm(from)
              .send(datagram(from, to, `${from.slice(0, -1)} secret ${i}`, { family }));
          }
        }
      }
      await lab().flush();
      const holding = (name: (typeof VM_NAMES)[number], text: string): number =>
        lab()
          .vm(name)
          .received.filter(({ frame }) => Buffer.from(frame).includes(text)).length;
      const counts = Object.fromEntries(VM_NAMES.map((name) => [name, [holding(name, 'red secret'), holding(name, 'blue secret')]]));
      const all = 2 * ROUNDS;
      expect(counts).toEqual({
        red1: [all, 0],
        red3: [all, 0],
        blue1: [0, all],
        blue3: [0, all],
        red2: [0, 0],
        red4: [0, 0],
        red5: [0, 0],
      });
    });

    test('a tenant without a second address finds none of its neighbour', async () => {
      // Blue has no port .15, no .14 and no .12; red has.
      const { red5, red4 } = PORTS;
      const vm = lab().vm('blue1');
      vm.send(arpRequest('blue1', red5.ca4));
      vm.send(echo('blue1', 'blue3', 4, { destinationMac: red5.mac, destination: red5.ca4 }));
      vm.send(echo('blue1', 'blue3', 4, { destinationMac: '02:57:46:00:17:71', destination: red4.ca4 }));
      await lab().expectDrops(lab().a, {
        'blue1 ARP_TARGET_UNKNOWN': 1,
        'blue1 UNKNOWN_DESTINATION_MAC': 1,
        'blue1 UNKNOWN_DESTINATION': 1,
      });
      await lab().expectReceived();
    });
  });
}
