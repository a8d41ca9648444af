import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DurableQueue } from '../src/durable.ts';
import { EpochReserve } from '../src/epoch-reserve.ts';
import { type Durable, incarnationOf, makeEpoch, RULES } from '../src/index.ts';

const EMPTY: Durable = { instance: 7, bootId: 'boot', accepted: 0, proposed: 0n, promises: [], certificates: [], placements: [] };
const START = makeEpoch(1, 40);

/** A member's process, its disk, and the epochs that it has asked votes for. */
class Member {
  disk: Durable;
  heard = { highest: START, highestCertified: START };
  readonly asked: bigint[] = [];
  queue!: DurableQueue;
  reserve!: EpochReserve;
  writing: { readonly token: number; readonly state: Durable } | undefined;
  writes = 0;

  constructor(proposed = 0n) {
    this.disk = { ...EMPTY, proposed };
    this.start();
  }

  start(): void {
    this.writing = undefined;
    this.queue = new DurableQueue(
      this.disk,
      true,
      (token, state) => {
        this.writes++;
        this.writing = { token, state };
      },
      () => 0,
    );
    this.reserve = new EpochReserve({ durable: this.queue, rules: RULES }, this.heard);
  }

  ask(incarnation = 1): void {
    const epoch = this.reserve.next(incarnation);
    const { asked } = this;
    if (epoch !== undefined) {
      this.reserve.use(epoch, () => {
        expect(this.disk.proposed).toBeGreaterThanOrEqual(epoch);
        asked.push(epoch);
      });
    }
    this.queue.flush();
  }

  refill(incarnation = 1): void {
    this.reserve.refill(incarnation);
    this.queue.flush();
  }

  persisted(): void {
    const { writing } = this;
    if (writing === undefined) return;
    this.writing = undefined;
    this.disk = writing.state;
    this.queue.persisted(writing.token);
    this.queue.flush();
  }
}

describe('epochs set aside', () => {
  it('are asked for without a write', () => {
    const member = new Member();
    member.refill();
    member.persisted();
    for (let i = 0; i < 10; i++) member.ask();
    expect(member.asked).toEqual(Array.from({ length: 10 }, (_, i) => START + 1n + BigInt(i)));
    expect(member.writes).toBe(1);
  });

  it('are asked for only when they are on disk', () => {
    const member = new Member();
    member.refill();
    member.ask();
    expect(member.asked).toEqual([]);
    member.persisted();
    // The write that was under way has named it: no second one is waited for.
    expect(member.asked).toEqual([START + 1n]);
    expect(member.writes).toBe(1);
  });

  it('are not used by the next process, which begins above them', () => {
    const member = new Member();
    member.refill();
    member.persisted();
    member.ask();
    member.start();
    member.ask();
    member.persisted();
    expect(member.asked).toEqual([START + 1n, START + 17n]);
  });

  it('are filled up again when half of them is gone, also by what others were granted', () => {
    const member = new Member();
    member.refill();
    member.persisted();
    member.heard.highest = member.heard.highestCertified = START + 7n;
    member.refill();
    expect(member.writes).toBe(1);
    member.heard.highest = member.heard.highestCertified = START + 8n;
    member.refill();
    expect(member.writing?.state.proposed).toBe(START + 24n);
  });

  it('do not run away when a process starts again and again: each epoch is written by itself then', () => {
    const member = new Member(START + 4_096n);
    member.refill();
    expect(member.writes).toBe(0);
    member.ask();
    expect(member.asked).toEqual([]);
    member.persisted();
    expect(member.asked).toEqual([START + 4_097n]);
    for (let i = 0; i < 10_000; i++) {
      member.start();
      member.refill();
      member.persisted();
    }
    expect(member.disk.proposed).toBe(START + 4_097n);
  });

  it('stay in their incarnation, to its last', () => {
    const last = makeEpoch(1, 0xffff_ffff);
    const member = new Member();
    member.heard.highest = member.heard.highestCertified = last - 3n;
    member.refill();
    member.persisted();
    expect(member.disk.proposed).toBe(last);
    for (let i = 0; i < 5; i++) member.ask();
    expect(member.asked).toEqual([last - 2n, last - 1n, last]);
    expect(member.reserve.next(1)).toBeUndefined();
    expect(incarnationOf(member.reserve.next(2)!)).toBe(2);
  });

  it('are asked for once each, and never before the file names them, whatever ends the process and whenever', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.constant({ kind: 'ask' as const }) },
      { weight: 3, arbitrary: fc.constant({ kind: 'persisted' as const }) },
      { weight: 2, arbitrary: fc.constant({ kind: 'refill' as const }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('granted' as const), by: fc.integer({ min: 0, max: 30 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('promised' as const), by: fc.integer({ min: 0, max: 5_000 }) }) },
      // What was being written when it ended may have got there, or not; what it had heard is forgotten.
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const), written: fc.boolean(), forgets: fc.boolean() }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const member = new Member();
        for (const one of steps) {
          if (one.kind === 'ask') member.ask();
          else if (one.kind === 'refill') member.refill();
          else if (one.kind === 'persisted') member.persisted();
          else if (one.kind === 'granted') {
            member.heard.highestCertified += BigInt(one.by);
            if (member.heard.highestCertified > member.heard.highest) member.heard.highest = member.heard.highestCertified;
          } else if (one.kind === 'promised') member.heard.highest += BigInt(one.by);
          else {
            if (one.written && member.writing !== undefined) member.disk = member.writing.state;
            if (one.forgets) member.heard = { highest: START, highestCertified: START };
            member.start();
          }
        }
        expect(new Set(member.asked).size).toBe(member.asked.length);
      }),
      { numRuns: Number(process.env.WEFT_RUNS ?? 300) },
    );
  });
});
