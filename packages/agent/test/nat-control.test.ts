import { BLOCKS_END, FIRST_BLOCK, NatState, natFreeRow } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import type { NatSliceSetup } from '@weft/tables';
import { beforeEach, describe, expect, it } from 'vitest';
import { NatSetupControl } from '../src/gateway/nat-control.ts';

const key = { segment: 1, address: parseIp('203.0.113.16') };
let store: NatState;
let served: boolean;
let control: NatSetupControl;

beforeEach(() => {
  store = new NatState();
  served = false;
  control = new NatSetupControl({
    store,
    runSweep: () => {},
    isServed: () => served,
    resize: (at, own) =>
      store.set(
        'free',
        at,
        natFreeRow({
          own,
          known: store.get('free', at)!.blocks,
          isHeld: (block) => store.get('block', { ...at, block }) !== undefined,
          freeAtS: 0,
        }),
      ),
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

  it('goes on with its slice when it is to have nothing, until the address is served elsewhere', () => {
    control.apply([{ op: 'put', ...slice(16, 20) }]);
    served = true;
    control.apply([{ op: 'put', ...slice(16, 16) }]);
    control.sweep();
    expect(blocks()).toEqual(range(16, 20));
    served = false;
    control.sweep();
    expect(blocks()).toEqual([]);
  });

  it('sets and removes pools and quotas', () => {
    const quota = { blocks: 10, blocksPerSource: 5, sessions: 100, newFlowsPerSecond: 0 };
    control.apply([
      { op: 'put', table: 'nat_pool', key: { pool: 3 }, value: { addresses: [key] } },
      { op: 'put', table: 'gateway_quota', key: { networkId: 7 }, value: quota },
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
