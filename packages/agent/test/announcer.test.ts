import { parseIp, parseMac } from '@weft/packet';
import { FakeClock } from '@weft/testkit';
import { describe, expect, it } from 'vitest';
import { ANNOUNCE_AT_MS, Announcer, REFRESH_MS } from '../src/gateway/announcer.ts';

const what = [{ device: 'ext0', mac: parseMac('02:00:00:00:00:01'), addresses: [parseIp('203.0.113.16'), parseIp('2001:db8:ffff::10')] }];
// Two frames for the IPv4 address, one for the other.
const FRAMES = 3;

function start() {
  const clock = new FakeClock();
  const sent: number[] = [];
  const errors: unknown[] = [];
  let broken = false;
  const closed = new Set<number>();
  const announcer = new Announcer({
    clock,
    isOpen: (shard) => !closed.has(shard),
    send: () => {
      if (broken) throw new Error('Network is down');
      sent.push(clock.now());
    },
    onError: (_, error) => errors.push(error),
  });
  return { clock, sent, errors, announcer, closed, breakIt: (to: boolean) => (broken = to) };
}

describe('Announcer', () => {
  it('announces at once, repeats, and refreshes while it lasts', async () => {
    const { clock, sent, announcer } = start();
    announcer.announce(1, what);
    await clock.advance(10_000 + 2 * REFRESH_MS);
    const times = [...ANNOUNCE_AT_MS, 10_000 + REFRESH_MS, 10_000 + 2 * REFRESH_MS];
    const begin = sent[0]!;
    expect(sent.map((at) => at - begin)).toEqual(times.flatMap((at) => Array.from({ length: FRAMES }, () => at)));
  });

  it('is silent after withdraw, and for other shards goes on', async () => {
    const { clock, sent, announcer } = start();
    announcer.announce(1, what);
    announcer.announce(2, what);
    announcer.withdraw(1);
    sent.length = 0;
    await clock.advance(50);
    expect(sent.length).toBe(FRAMES);
    announcer.stop();
    await clock.advance(REFRESH_MS * 3);
    expect(sent.length).toBe(FRAMES);
  });

  it('says nothing of a shard while it is closed', async () => {
    const { clock, sent, announcer, closed } = start();
    announcer.announce(1, what);
    closed.add(1);
    sent.length = 0;
    await clock.advance(10_000 + REFRESH_MS);
    expect(sent).toEqual([]);
    closed.delete(1);
    await clock.advance(REFRESH_MS);
    expect(sent.length).toBe(FRAMES);
  });

  it('starts its schedule anew when asked again', async () => {
    const { clock, sent, announcer } = start();
    announcer.announce(1, what);
    await clock.advance(2_000);
    sent.length = 0;
    announcer.announce(1, what);
    await clock.advance(50);
    expect(sent.length).toBe(2 * FRAMES);
    await clock.advance(9_950);
    expect(sent.length).toBe(ANNOUNCE_AT_MS.length * FRAMES);
  });

  it('goes on after a device refused a frame', async () => {
    const { clock, sent, errors, announcer, breakIt } = start();
    breakIt(true);
    announcer.announce(1, what);
    expect(errors.length).toBe(1);
    breakIt(false);
    await clock.advance(50);
    expect(sent.length).toBe(FRAMES);
  });
});
