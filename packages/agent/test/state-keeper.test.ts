import type { NatStateScope } from '@weft/forwarding';
import { FakeClock } from '@weft/testkit';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Standby, StateKeeper, type StateKeeperInit, type Succession } from '../src/gateway/state/keeper.ts';

// Member g1 owns shards 71 and 72; the standby of 72 is g2 throughout. To whom the state of 71 is told, by streams that the test ends and lets catch up.

const SHARD = 71;
const NETWORKS: ReadonlyMap<number, readonly number[]> = new Map([
  [71, [11]],
  [72, [12]],
]);
const MOVE_MS = 10_000;

class Stream implements Standby {
  readonly peer: string;
  readonly end: (reason: string) => void;
  networks: ReadonlyMap<number, NatStateScope> = new Map();
  hasAll = false;
  isOpen = true;
  readonly lag = { p99Ms: undefined, lastMs: undefined, backlog: 0 };
  #waiting: (() => void)[] = [];

  constructor(peer: string, onClosed: (reason: string) => void) {
    this.peer = peer;
    this.end = (reason) => {
      this.isOpen = false;
      onClosed(reason);
    };
  }
  setNetworks(networks: ReadonlyMap<number, NatStateScope>): void {
    this.networks = networks;
  }
  isProtected(): boolean {
    return this.hasAll;
  }
  brought(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
  catchUp(): void {
    for (const resolve of this.#waiting.splice(0)) if (this.isOpen) resolve();
  }
  close(): void {
    this.isOpen = false;
  }
  tellsOf(networkId: number): boolean {
    return this.networks.has(networkId);
  }
  offer(): void {}
  restart(): void {}
  tick(): void {}
}

let clock: FakeClock;
let keeper: StateKeeper;
let streams: Stream[];
let next: string;
beforeEach(() => {
  clock = new FakeClock(1_000);
  streams = [];
  next = 'g2';
  keeper = new StateKeeper({
    self: 'g1',
    providerAddress: '192.0.2.1',
    clock: {
      now: () => clock.now(),
      unixMs: () => 0,
      setTimeout: (callback, ms) => clock.setTimeout(callback, ms),
      clearTimeout: (handle) => clock.clearTimeout(handle),
    },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    feed: { listen: () => () => {} },
    successions: (): readonly Succession[] => [
      { shard: SHARD, epoch: 5n, to: next },
      { shard: 72, epoch: 5n, to: 'g2' },
    ],
    own: () => new Set([SHARD, 72]),
    networksOf: (shard: number) => NETWORKS.get(shard)!,
    member: (id: string) => ({ key: `key of ${id}`, providerAddress: '192.0.2.9' }),
    makeStream: ({ peer, onClosed }) => {
      const stream = new Stream(peer, onClosed);
      streams.push(stream);
      return stream;
    },
  } as Partial<StateKeeperInit> as StateKeeperInit);
  keeper.start();
});

/** Who is told of the network on shard 71. */
const told = (): string[] => streams.filter(({ isOpen, networks }) => isOpen && networks.has(11)).map(({ peer }) => peer);
const streamTo = (peer: string): Stream => streams.findLast((stream) => stream.peer === peer)!;

/** Lets time pass in the steps of the keeper's own timer. */
async function pass(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10) {
    clock.advance(10);
    await Promise.resolve();
  }
}

/** Begins a move. @returns Tells whether the state is there. */
function bring(to: string): () => boolean {
  let isThere = false;
  void keeper.bring([SHARD], to, MOVE_MS).then(() => {
    isThere = true;
  });
  return () => isThere;
}

describe('the state of a shard before a planned move', () => {
  it('is told to whom the shard goes until it is there, though another has been the standby so far', async () => {
    await pass(1_000);
    expect(told()).toEqual(['g2']);
    // An operator's word: the record has another first now.
    next = 'g3';
    const isThere = bring('g3');
    streamTo('g3').hasAll = true;
    // The machine is busy: looks come and go before the standby answers.
    await pass(1_000);
    expect(told()).toEqual(['g3']);
    expect(isThere()).toBe(false);
    streamTo('g3').catchUp();
    await pass(10);
    expect(isThere()).toBe(true);
    // What happens until the other has taken over goes there, too.
    await pass(1_000);
    expect(told()).toEqual(['g3']);
    expect(streamTo('g3').networks.get(11)).toMatchObject({ shard: SHARD });
  });

  it('is told by another stream when one ends on the way', async () => {
    await pass(1_000);
    const isThere = bring('g2');
    const first = streamTo('g2');
    first.hasAll = true;
    await pass(200);
    first.end('the standby does not answer');
    await pass(1_000);
    const second = streamTo('g2');
    expect(second).not.toBe(first);
    second.hasAll = true;
    await pass(200);
    second.catchUp();
    await pass(10);
    expect(isThere()).toBe(true);
  });

  it('goes to the standby again when the time of the move is over', async () => {
    bring('g3');
    await pass(MOVE_MS - 1_000);
    expect(told()).toEqual(['g3']);
    await pass(2_000);
    expect(told()).toEqual(['g2']);
  });
});
