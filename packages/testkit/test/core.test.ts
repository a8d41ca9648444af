import { describe, expect, it } from 'vitest';
import { checkDeviceName, DeadlineError, FakeClock, inNetns, natsConfig, parsePing, uniqueName, waitFor } from '../src/index.ts';

describe('FakeClock', () => {
  it('fires timers in due order, those due together in the order set, each at its own time', () => {
    const clock = new FakeClock(1_000);
    const seen: [string, number][] = [];
    const at = (name: string, ms: number): unknown => clock.setTimeout(() => seen.push([name, clock.now()]), ms);
    at('late', 30);
    at('first', 10);
    at('second', 10);
    const dropped = at('dropped', 20);
    clock.clearTimeout(dropped);
    clock.advance(29);
    expect(seen).toEqual([
      ['first', 1_010],
      ['second', 1_010],
    ]);
    expect(clock.now()).toBe(1_029);
    expect(clock.pendingTimerCount).toBe(1);
    expect(clock.nextTimerMs).toBe(1_030);
  });

  it('fires timers that a timer sets, if they are due', () => {
    const clock = new FakeClock();
    let ticks = 0;
    const tick = (): void => {
      ticks += 1;
      clock.setTimeout(tick, 10);
    };
    clock.setTimeout(tick, 10);
    clock.advance(100);
    expect(ticks).toBe(10);
  });

  it('lets awaiting code go on between timers', async () => {
    const clock = new FakeClock();
    const seen: number[] = [];
    const loop = (async () => {
      for (let round = 0; round < 3; round++) {
        await clock.sleep(10);
        await Promise.resolve();
        seen.push(clock.now());
      }
    })();
    await clock.advanceAsync(30);
    await loop;
    expect(seen).toEqual([10, 20, 30]);
  });

  it('refuses to go back', () => {
    expect(() => new FakeClock().advance(-1)).toThrow(RangeError);
    expect(() => new FakeClock().advance(Number.NaN)).toThrow(RangeError);
  });
});

describe('waitFor()', () => {
  it('returns the first truthy value', async () => {
    let looks = 0;
    expect(await waitFor(() => ++looks >= 3 && looks, { what: 'three looks', intervalMs: 1 })).toBe(3);
  });

  it('reports the last value when the deadline passes', async () => {
    const failed = waitFor(() => undefined as string | undefined, { what: 'nothing', deadlineMs: 5, intervalMs: 1 });
    await expect(failed).rejects.toThrow(DeadlineError);
    await expect(waitFor(() => 0, { what: 'a count', deadlineMs: 5, intervalMs: 1, show: (n) => `count ${n}` })).rejects.toThrow(
      /a count.*count 0/,
    );
  });

  it('takes an error for "not yet" and gives the last one as the cause', async () => {
    let looks = 0;
    const value = await waitFor(
      () => {
        looks += 1;
        if (looks < 3) throw new Error('too early');
        return 'ready';
      },
      { what: 'readiness', intervalMs: 1 },
    );
    expect(value).toBe('ready');
    const failed = waitFor(() => Promise.reject(new Error('broken')), { what: 'a miracle', deadlineMs: 5, intervalMs: 1 });
    await expect(failed).rejects.toMatchObject({ code: 'WEFT_ERR_TESTKIT_DEADLINE', cause: { message: 'broken' } });
  });
});

describe('parsePing()', () => {
  it('reads the summary of iputils', () => {
    const text =
      '--- 192.0.2.2 ping statistics ---\n5 packets transmitted, 3 received, +2 duplicates, 40% packet loss, time 4005ms\nrtt min/avg/max/mdev = 0.021/0.041/0.062/0.012 ms\n';
    expect(parsePing(text)).toEqual({
      sent: 5,
      received: 3,
      lost: 2,
      duplicates: 2,
      rttMs: { min: 0.021, avg: 0.041, max: 0.062 },
      errors: [],
    });
  });

  it('reads the summary of busybox, with and without answers', () => {
    const text = '3 packets transmitted, 3 packets received, 0% packet loss\nround-trip min/avg/max = 0.304/0.4/0.501 ms\n';
    expect(parsePing(text)).toMatchObject({ sent: 3, received: 3, lost: 0, rttMs: { avg: 0.4 } });
    expect(parsePing('2 packets transmitted, 0 packets received, 100% packet loss\n')).toMatchObject({ lost: 2, rttMs: undefined });
  });

  it('tells output without a summary', () => {
    expect(parsePing('ping: unknown host\n')).toBeUndefined();
  });
});

describe('names', () => {
  it('refuses device names that the kernel would refuse', () => {
    expect(checkDeviceName('vm-coke-a1')).toBe('vm-coke-a1');
    for (const bad of ['', 'sixteen-letters-', 'a/b', 'a b', '..']) expect(() => checkDeviceName(bad)).toThrow(RangeError);
  });

  it('makes names that differ', () => {
    expect(new Set(Array.from({ length: 200 }, () => uniqueName('x'))).size).toBe(200);
    expect(uniqueName('lab-')).toMatch(/^lab-[a-z2-7]{6}$/);
  });

  it('enters the network namespace only, never through ip netns exec', () => {
    expect(inNetns('weft-a', ['ip', 'link'])).toEqual(['nsenter', '--net=/run/netns/weft-a', '--', 'ip', 'link']);
    expect(inNetns(undefined, ['true'])).toEqual(['true']);
  });
});

describe('natsConfig()', () => {
  it('refuses what would end a quoted string', () => {
    const init = { serverName: 'n', host: '127.0.0.1', port: -1, httpPort: -1, storeDir: '/tmp/"', portsDir: '/tmp' };
    expect(() => natsConfig(init)).toThrow(RangeError);
    expect(natsConfig({ ...init, storeDir: '/tmp/s' })).toContain('store_dir: "/tmp/s"');
  });
});
