import { WeftError } from '@weft/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { askHosts } from '../src/commands/hosts-asked.ts';
import type { Session } from '../src/core/session.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('askHosts', () => {
  it('tells after three seconds for whom it waits, once, and why nobody answered', async () => {
    const fails: Readonly<Record<string, () => Promise<never>>> = {
      slow: () =>
        new Promise((_, reject) => setTimeout(() => reject(new WeftError('WEFT_ERR_BUS_TIMEOUT', 'No answer within 15000 ms')), 15_000)),
      gone: () => Promise.reject(new WeftError('WEFT_ERR_BUS_NO_RESPONDER', 'Nobody serves it')),
    };
    const request: Session['request'] = (target) =>
      fails[target]?.() ??
      Promise.resolve({
        response: { requestId: 'r', problems: [], result: { kind: 'drops', value: { hostId: target, counters: [] } } },
        signer: 'N',
      });
    const notes: string[] = [];
    const hosts = ['fine', 'gone', 'slow'].map((id) => ({ id }));
    const asked = askHosts({ request } as Session, hosts, { kind: 'drops', value: {} }, 'drops', 15_000, (line) => notes.push(line));
    await vi.advanceTimersByTimeAsync(2_999);
    expect(notes).toEqual([]);
    await vi.advanceTimersByTimeAsync(12_001);
    expect((await asked).map((answer) => (answer.ok ? 'ok' : answer.error))).toEqual([
      'ok',
      'its agent is not connected to NATS; does it run there?',
      'none within 15 s; does its agent run there, and is the machine busy?',
    ]);
    expect(notes).toEqual(['waiting for slow, 15 s at most']);
  });

  it('tells nothing when all answer soon', async () => {
    const notes: string[] = [];
    const request: Session['request'] = (target) =>
      Promise.resolve({
        response: { requestId: 'r', problems: [], result: { kind: 'drops', value: { hostId: target, counters: [] } } },
        signer: 'N',
      });
    await askHosts({ request } as Session, [{ id: 'fine' }], { kind: 'drops', value: {} }, 'drops', 15_000, (line) => notes.push(line));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(notes).toEqual([]);
  });
});
