import { Action, fromPort } from '@weft/forwarding';
import { Rng } from '@weft/forwarding/testing';
import { dropReasonName } from '@weft/model';
import { setU16 } from '@weft/packet';
import { describe, expect, test } from 'vitest';
import { arpRequest } from './answers.ts';
import { datagram, echo, FAMILIES, tcpSegment } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import { PA, PORTS } from './world.ts';

const COUNT = 200;

/** Frames with lies in their headers which the oracle says are to be dropped, and the reasons. */
function malformedFrames(lab: ConformanceLab, seed: number): { frame: Uint8Array; reason: string }[] {
  const rng = new Rng(seed);
  const oracle = lab.oracle(lab.a);
  const sound = FAMILIES.flatMap((family) => [
    echo('red1', 'red3', family),
    echo('red1', 'red4', family),
    datagram('red1', 'red5', 'to a neighbour', { family }),
    tcpSegment('red1', 'red3', new Uint8Array(20), { family }),
  ]);
  sound.push(arpRequest('red1', PORTS.red3.ca4));
  const found: { frame: Uint8Array; reason: string }[] = [];
  while (found.length < COUNT) {
    let frame = rng.pick(sound).slice();
    switch (rng.below(5)) {
      case 0:
        // The kernel's TAP takes no less than an Ethernet header.
        frame = frame.slice(0, 14 + rng.below(frame.length - 14));
        break;
      case 1:
        setU16(frame, 12, rng.pick([0x8100, 0x88a8, 0x88cc, 0x05dc, 0x0000, 0x8863, 0x8847]));
        break;
      case 2:
        setU16(frame, 16 + rng.below(4), rng.below(65_536));
        break;
      default:
        for (let i = 0; i < 3; i++) frame[12 + rng.below(Math.min(frame.length, 60) - 12)] = rng.below(256);
    }
    const verdict = fromPort(oracle, { ifindex: lab.ifindex('red1'), frame }, { pa: PA.a, udpPort: 4789, nowBootNs: 0n });
    if (verdict.action === Action.DROP) found.push({ frame, reason: dropReasonName(verdict.reason) });
  }
  return found;
}

export function malformedTests(lab: () => ConformanceLab): void {
  describe('malformed frames', () => {
    test.each([1, 2, 3])('200 of a VM (seed %i) go nowhere, are counted by name, and the engine lives', async (seed) => {
      const frames = malformedFrames(lab(), seed);
      const expected: Record<string, number> = {};
      for (const { frame, reason } of frames) {
        lab().vm('red1').send(frame);
        const key = `red1 ${reason}`;
        expected[key] = (expected[key] ?? 0) + 1;
      }
      expect(Object.keys(expected).length).toBeGreaterThan(8);
      await lab().expectDrops(lab().a, expected);
      // Sends to everybody, and wants answers.
      await lab().expectReceived();
    });

    test('200 on the underlay go nowhere', async () => {
      const rng = new Rng(9);
      const inner = echo('red1', 'red3');
      for (let i = 0; i < COUNT; i++) {
        const whole = lab().tunnelFrame({}, inner);
        const frame = rng.oneIn(3) ? whole.slice(0, 34 + rng.below(whole.length - 34)) : whole;
        // Nothing in the first 50 bytes but a lie: VNI, lengths, flags, addresses.
        const at = rng.pick([14, 16, 17, 20, 21, 23, 26, 38, 39, 42, 46, 47, 48]);
        frame[Math.min(at, frame.length - 1)] = (frame[at] ?? 0) ^ (1 + rng.below(255));
        // Some lies change nothing: reserved bits, "more" of DF.
        if (at === 42) frame[42] = frame[42]! & ~0x08;
        if (at === 20) frame[20] = frame[20]! | 0x20;
        lab().inject(frame);
      }
      await lab().expectReceived();
    });
  });
}
