import { BLOCKS_END, FIRST_BLOCK, NatState } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import type { NatSliceSetup } from '@weft/tables';
import { beforeEach, describe, expect, it } from 'vitest';
import type { NatSetupControl } from '../src/gateway/nat-control.ts';
import { memoryNatSetup } from './support/nat-setup.ts';

const key = { segment: 1, address: parseIp('203.0.113.16') };
let store: NatState;
let served: boolean;
let shares: number[];
let control: NatSetupControl;
/** Steps of each run of the packet path's sweep, and the pauses between. */
let sweeps: (number | 'pause')[];
let toSweep: number;

beforeEach(() => {
  store = new NatState();
  served = false;
  shares = [];
  sweeps = [];
  toSweep = 0;
  control = memoryNatSetup(store, {
    isServed: () => served,
    shareSessions: (share) => void shares.push(share),
    runSweep: (steps) => {
      const done = Math.min(steps, toSweep);
      toSweep -= done;
      sweeps.push(done);
      return done;
    },
    slices: { now: () => 0, pause: async () => void sweeps.push('pause') },
  });
});

function slice(first: number, end: number): NatSliceSetup {
  const own = new Uint8Array(BLOCKS_END / 8);
  for (let block = first; block < end; block++) own[block >> 3]! |= 1 << (block & 7);
  return { table: 'nat_slice', key, value: { own } };
}
const blocks = (): number[] => store.get('free', key)!.blocks.map(({ block }) => block);
const range = (first: number, end: number): number[] => Array.from({ length: end - first }, (_, index) => first + index);

describe('NatSetupControl', () => {
  it('makes the ring of an address from the member’s slice', () => {
    control.apply([{ op: 'put', ...slice(FIRST_BLOCK, 100) }]);
    expect(blocks()).toEqual(range(FIRST_BLOCK, 100));
  });

  it('leaves the ring alone when the same slice comes again: blocks have been granted from it since', () => {
    control.apply([{ op: 'put', ...slice(16, 20) }]);
    const { own } = store.get('free', key)!;
    store.set('free', key, { own, blocks: [{ block: 19, freeAtS: 5 }] });
    control.apply([{ op: 'put', ...slice(16, 20) }]);
    expect(store.get('free', key)!.blocks).toEqual([{ block: 19, freeAtS: 5 }]);
  });

  it('gives another slice to the packet path, which may be granting from it', () => {
    control.apply([{ op: 'put', ...slice(16, 20) }]);
    const row = { networkId: 1, pool: 6, ca: key.address, epoch: 1n, grantedBootNs: 0n, next: 0, addressIndex: 0, version: 1, ports: [] };
    for (const block of [19, 21]) store.set('block', { ...key, block }, row);
    store.set('free', key, { own: store.get('free', key)!.own, blocks: range(16, 19).map((block) => ({ block, freeAtS: 0 })) });
    control.apply([{ op: 'put', ...slice(18, 24) }]);
    // Neither what somebody holds of what came, nor what was granted of what stayed.
    expect(blocks()).toEqual([18, 20, 22, 23]);
  });

  it('goes on with its slice when it is to have nothing, until the address is served elsewhere', async () => {
    control.apply([{ op: 'put', ...slice(16, 20) }]);
    served = true;
    control.apply([{ op: 'put', ...slice(16, 16) }]);
    await control.sweep();
    expect(blocks()).toEqual(range(16, 20));
    served = false;
    await control.sweep();
    expect(blocks()).toEqual([]);
  });

  it('sweeps bit by bit, and leaves what is too much for the next time', async () => {
    toSweep = 10_000;
    await control.sweep();
    expect(sweeps).toEqual([4_096, 'pause', 4_096, 'pause', 1_808]);
    sweeps = [];
    toSweep = 100_000;
    store.set('usage', { networkId: 1 }, { sessions: 99_000, blocks: 1_000, deniedBlocks: 0n, deniedSessions: 0n, exhausted: 0n });
    await control.sweep();
    expect(toSweep).toBe(100_000 - 4_096);
    sweeps = [];
    toSweep = 100_000;
    await control.sweep();
    expect(sweeps.filter((one) => one === 'pause').length).toBe(15);
    expect(toSweep).toBe(100_000 - 65_536);
  });

  it('goes round what there is once, not as often as there is time', async () => {
    const usage = { deniedBlocks: 0n, deniedSessions: 0n, exhausted: 0n };
    store.set('usage', { networkId: 1 }, { ...usage, sessions: 5_000, blocks: 100 });
    store.set('usage', { networkId: 2 }, { ...usage, sessions: 0, blocks: 1 });
    await control.sweep();
    // Each goes back to the end of the queue, so the packet path never finds it empty.
    toSweep = Number.POSITIVE_INFINITY;
    sweeps = [];
    await control.sweep();
    expect(sweeps.filter((one) => one !== 'pause')).toEqual([4_096, 4_096, 4_096]);
  });

  it('sets and removes pools and quotas', () => {
    const quota = { blocks: 10, blocksPerSource: 5, sessions: 100, newFlowsPerSecond: 0 };
    control.apply([
      { op: 'put', table: 'nat_pool', key: { pool: 3 }, value: { addresses: [key] } },
      { op: 'put', table: 'gateway_quota', key: { networkId: 7 }, value: { ...quota, pools: [3] } },
    ]);
    expect(store.get('pool', { pool: 3 })).toEqual({ addresses: [key] });
    expect(store.get('quota', { networkId: 7 })).toEqual(quota);
    control.apply([
      { op: 'delete', table: 'nat_pool', key: { pool: 3 } },
      { op: 'delete', table: 'gateway_quota', key: { networkId: 7 } },
    ]);
    expect([store.get('pool', { pool: 3 }), store.get('quota', { networkId: 7 })]).toEqual([undefined, undefined]);
  });
});

describe('when the table of sessions is nearly full', () => {
  const quota = { blocks: 64, blocksPerSource: 16, sessions: 1_000, newFlowsPerSecond: 0 };
  const usage = { blocks: 1, deniedBlocks: 0n, deniedSessions: 0n, exhausted: 0n };

  it('lets networks have no more than a share of what is left, as long as it is', async () => {
    for (const networkId of [1, 2, 3, 4, 5])
      control.apply([{ op: 'put', table: 'gateway_quota', key: { networkId }, value: { ...quota, pools: [] } }]);
    const has = (networkId: number, sessions: number): void => store.set('usage', { networkId }, { ...usage, sessions });
    has(1, 700);
    has(2, 49);
    await control.sweep();
    has(2, 50);
    await control.sweep();
    await control.sweep();
    has(1, 300);
    await control.sweep();
    expect(shares).toEqual([0, 50, 0]);
  });
});

describe("when networks' quotas of blocks add up to more than their pool has", () => {
  const limits = { blocks: 30, blocksPerSource: 30, sessions: 1_000, newFlowsPerSecond: 0 };
  const usage = { sessions: 0, deniedBlocks: 0n, deniedSessions: 0n, exhausted: 0n };
  const quota = (networkId: number): void =>
    control.apply([{ op: 'put', table: 'gateway_quota', key: { networkId }, value: { ...limits, pools: [3] } }]);
  const share = () => store.get('share', { pool: 3 });

  it('keeps a quarter of it for those that have less than their share, as long as they have', async () => {
    control.apply([
      { op: 'put', ...slice(16, 96) },
      { op: 'put', table: 'nat_pool', key: { pool: 3 }, value: { addresses: [key] } },
    ]);
    quota(1);
    quota(2);
    await control.sweep();
    expect(share()).toBeUndefined();
    quota(3);
    quota(4);
    await control.sweep();
    expect(share()).toEqual({ blocks: 5, keep: 20 });
    store.set('usage', { networkId: 1 }, { ...usage, blocks: 6 });
    store.set('usage', { networkId: 2 }, { ...usage, blocks: 5 });
    await control.sweep();
    expect(share()).toEqual({ blocks: 5, keep: 15 });
    control.apply([
      { op: 'delete', table: 'gateway_quota', key: { networkId: 4 } },
      { op: 'delete', table: 'gateway_quota', key: { networkId: 3 } },
    ]);
    await control.sweep();
    expect(share()).toBeUndefined();
  });
});
