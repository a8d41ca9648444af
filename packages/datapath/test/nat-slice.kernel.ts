import { BLOCKS_END, FIRST_BLOCK, natFreeRow } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { inNetns } from '@weft/tuntap';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKernelDatapath, type KernelDatapath } from '../src/index.ts';
import { addHostNetns, netnsPath, RUN, sh } from './support/lab.ts';

// Another slice for an address: the program's ring is that of packages/forwarding/src/nat/free-row.ts.

const NETNS = `wdps${RUN}`;
const key = { segment: 7, address: parseIp('203.0.113.16') };
const block = fc.integer({ min: FIRST_BLOCK, max: BLOCKS_END - 1 });
const range = fc.tuple(block, block).map(([a, b]) => Array.from({ length: Math.abs(a - b) }, (_, i) => Math.min(a, b) + i));
const held = fc.uniqueArray(block, { maxLength: 20 });
const row = { networkId: 1, pool: 6, ca: key.address, epoch: 1n, grantedBootNs: 0n, next: 0, addressIndex: 0, version: 1 };
const ports = Array.from({ length: 64 }, () => ({
  state: 0,
  protocol: 0,
  insidePort: 0,
  next: 0,
  sessions: 0,
  version: 0,
  freeAtBootNs: 0n,
}));

function sliceOf(blocks: readonly number[]): Uint8Array {
  const own = new Uint8Array(BLOCKS_END / 8);
  for (const one of blocks) own[one >> 3]! |= 1 << (one & 7);
  return own;
}

let datapath: KernelDatapath;
beforeAll(() => {
  addHostNetns(NETNS);
  sh(`ip -n ${NETNS} tuntap add under0 mode tap; ip -n ${NETNS} link set under0 up`);
  datapath = inNetns(netnsPath(NETNS), () =>
    createKernelDatapath({ instance: NETNS, pa: parseIp('192.0.2.1'), underlayInterface: 'under0' }),
  );
});
afterAll(() => {
  if (datapath !== undefined) inNetns(netnsPath(NETNS), () => datapath.destroy());
  sh(`ip netns del ${NETNS}`);
});

describe('sliceNat()', () => {
  it('leaves the ring as the oracle does, whatever was held, and again with the same slice', () => {
    const { nat } = datapath.gateway;
    fc.assert(
      fc.property(range, range, held, (before, after, taken) => {
        const isHeld = (one: number): boolean => taken.includes(one);
        const free = natFreeRow({ own: sliceOf(before), known: [], isHeld, freeAtS: 5 });
        nat.set('free', key, free);
        for (const one of taken) nat.set('block', { ...key, block: one }, { ...row, ports });
        const own = sliceOf(after);
        const wanted = natFreeRow({ own, known: free.blocks, isHeld, freeAtS: 0 });
        for (let i = 0; i < 2; i++) {
          expect(datapath.gateway.sliceNat(key, own)).toBe(true);
          expect(nat.get('free', key)).toEqual(wanted);
        }
        for (const one of taken) nat.delete('block', { ...key, block: one });
      }),
      { numRuns: 60 },
    );
  });

  it('says so when the address has no ring', () => {
    expect(datapath.gateway.sliceNat({ ...key, segment: 8 }, new Uint8Array(128))).toBe(false);
  });
});
