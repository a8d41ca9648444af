import { type Target, TargetKind } from '@weft/forwarding';
import { afterEach, describe, test } from 'vitest';
import { bootClock } from '../src/user/boot-clock.ts';
import { datagram } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import { PA, PORTS, recordsOf, STRANGER_PA, targetOf } from './world.ts';

const now = bootClock();
/** More than the clocks of test and engine may differ by. */
const SECOND_NS = 1_000_000_000n;
const HOUR_NS = 3_600_000_000_000n;

export function moveTests(lab: () => ConformanceLab): void {
  // red3 moves from B to A, where red5's device plays its part. Host C has not heard of it, and still sends to B.
  const moved = PORTS.red3;

  const atB = (target: Partial<Target>): void =>
    lab().b.apply(recordsOf(moved, targetOf(moved, 'b', 0, { kind: TargetKind.REDIRECT, flags: 0, pa: PA.a, generation: 2n, ...target })));
  const atA = (until: bigint): void => {
    const here = targetOf(PORTS.red5, 'a', lab().ifindex('red5'));
    const value = { ...here, mac: targetOf(moved, 'a', 0).mac, prevPa: PA.b, prevUntilBootNs: until, generation: 2n };
    lab().a.apply(recordsOf(moved, value));
  };

  describe('a port that has moved', () => {
    afterEach(() => lab().restoreTables());

    test('gets what hosts send to its old place, sent on by that host', async () => {
      atB({});
      atA(now() + HOUR_NS);
      const late = datagram('red9', 'red3', 'sent to the old place');
      lab().inject(lab().tunnelFrame({ from: 'c' }, late));
      await lab().expectArrival('red5', late);
    });

    test('for a time only', async () => {
      atB({});
      atA(now() - SECOND_NS);
      lab().inject(lab().tunnelFrame({ from: 'c' }, datagram('red9', 'red3', 'too late')));
      await lab().expectDrops(lab().a, { 'underlay SOURCE_NOT_AT_THIS_PEER': 1 });
    });

    test('frames that have been sent on once are not sent on again', async () => {
      atB({});
      atA(now() + HOUR_NS);
      const { red9 } = PORTS;
      // red9 was at the stranger's until just now: what comes from there is second hand.
      const target = targetOf(red9, 'b', 0, { prevPa: STRANGER_PA, prevUntilBootNs: now() + HOUR_NS });
      lab().b.apply(recordsOf(red9, target));
      lab().inject(lab().tunnelFrame({ from: 'stranger' }, datagram('red9', 'red3', 'second hand')));
      await lab().expectDrops(lab().b, { 'underlay REDIRECT_LOOP': 1 });
      await lab().expectDrops(lab().a, {});
    });

    test('is still believed where it came from, until its time is over', async () => {
      const { red9 } = PORTS;
      const comesFrom = (until: bigint): void =>
        lab().b.apply(recordsOf(red9, targetOf(red9, 'b', 0, { prevPa: STRANGER_PA, prevUntilBootNs: until, generation: 3n })));
      const frame = datagram('red9', 'red3', 'from the old place');
      comesFrom(now() + HOUR_NS);
      lab().inject(lab().tunnelFrame({ from: 'stranger' }, frame));
      await lab().expectReceived({ red3: [frame] });
      comesFrom(now() - SECOND_NS);
      lab().begin();
      lab().inject(lab().tunnelFrame({ from: 'stranger' }, frame));
      await lab().expectDrops(lab().b, { 'underlay UNKNOWN_PEER': 1 });
      await lab().expectReceived();
    });

    test('local senders reach the new place at once', async () => {
      atB({});
      atA(now() + HOUR_NS);
      const frame = datagram('red1', 'red3', 'to its new device');
      lab().vm('red1').send(frame);
      await lab().expectArrival('red5', frame);
    });
  });
}
