import { BLOCKS_END, FIRST_BLOCK, NatState } from '@weft/forwarding';
import type { Assignment, GatewayStep, ReleasedBlocks } from '@weft/model';
import { parseIp } from '@weft/packet';
import { beforeEach, describe, expect, it } from 'vitest';
import { BlockReleases } from '../src/gateway/block-releases.ts';
import type { NatSetupControl } from '../src/gateway/nat-control.ts';
import { memoryNatSetup } from './support/nat-setup.ts';
import { memoryStorage } from './support/storage.ts';

// Member 1 is drained: blocks 0 to 99 of its slice are on their way to member 2.

const ADDRESS = '203.0.113.16';
const key = { segment: 1, address: parseIp(ADDRESS) };
const assignment: Assignment = {
  gatewayId: 'g',
  gateway: 'edge',
  incarnation: 1,
  voters: { configId: 1, voters: [] },
  previousVoters: undefined,
  members: [
    { member: 1, hostId: 'gw-a', providerAddress: '192.0.2.1', drain: true },
    { member: 2, hostId: 'gw-b', providerAddress: '192.0.2.2', drain: false },
  ],
  shards: [],
  addresses: [
    {
      segment: 1,
      address: ADDRESS,
      shard: 3,
      pool: 5,
      natPool: 6,
      slices: [
        { member: 1, first: 0, count: 100, movingTo: 2 },
        { member: 2, first: 100, count: 908, movingTo: 0 },
      ],
    },
  ],
};

let store: NatState;
let served: boolean;
let control: NatSetupControl;
let asked: GatewayStep[];
let answer: boolean;
let rested: number[];
let file: ReturnType<typeof memoryStorage>;

beforeEach(() => {
  [store, served, asked, answer, rested, file] = [new NatState(), false, [], true, [], memoryStorage()];
  control = memoryNatSetup(store, { isServed: () => served, shareSessions: () => {} });
});
const open = async (): Promise<BlockReleases> =>
  await BlockReleases.open({
    gatewayId: 'g',
    hostId: 'gw-a',
    logger: file.logger,
    file: file.file('blocks-g.txt'),
    free: (pieces) => control.free(pieces),
    take: async (step, restsOn) => {
      // The note is on disk before anybody can act on the consent.
      expect(file.content('blocks-g.txt')).toBe('7');
      asked.push(step);
      rested.push(restsOn);
      return answer;
    },
  });
const released = (): readonly ReleasedBlocks[] => asked.flatMap((step) => (step.kind === 'blocksReleased' ? step.value.blocks : []));
/** The ring as the record makes it: with the first `count` blocks of the address, or none. */
function grantFrom(count: number): void {
  const own = new Uint8Array(BLOCKS_END / 8);
  for (let block = FIRST_BLOCK; block < FIRST_BLOCK + count; block++) own[block >> 3]! |= 1 << (block & 7);
  control.apply([{ op: 'put', table: 'nat_slice', key, value: { own } }]);
}
const hold = (block: number): void => {
  const row = {
    networkId: 1,
    pool: 6,
    ca: parseIp('10.0.0.1'),
    epoch: 1n,
    grantedBootNs: 0n,
    next: 0,
    addressIndex: 0,
    version: 1,
    ports: [],
  };
  store.set('block', { ...key, block: FIRST_BLOCK + block }, row);
};

describe('BlockReleases', () => {
  it('gives up what is granted no more and held by nobody, the rest when its holder is gone', async () => {
    const releases = await open();
    grantFrom(100);
    hold(10);
    await releases.look(assignment, 7);
    // The packet path still grants all of them.
    expect(asked).toEqual([]);
    grantFrom(0);
    await releases.look(assignment, 7);
    expect(asked).toEqual([]);
    await releases.look(assignment, 7);
    expect(released()).toEqual([
      { segment: 1, address: ADDRESS, first: 0, count: 10 },
      { segment: 1, address: ADDRESS, first: 11, count: 89 },
    ]);
    store.delete('block', { ...key, block: FIRST_BLOCK + 10 });
    await releases.look(assignment, 7);
    asked = [];
    await releases.look(assignment, 7);
    expect(released()).toEqual([{ segment: 1, address: ADDRESS, first: 0, count: 100 }]);
  });

  it('consents by the record that it has looked at, whatever is known by the time the note is on disk', async () => {
    const releases = await open();
    await releases.look(assignment, 7);
    await releases.look(assignment, 7);
    // Were the move called off meanwhile, in 8, that would win by CAS, and its blocks are granted again.
    expect(rested).toEqual([7]);
  });

  it('takes no older record for what it may grant once it has consented, also after a restart and when the answer was lost', async () => {
    answer = false;
    const releases = await open();
    expect(releases.outdated(6)).toBe(false);
    for (let i = 0; i < 2; i++) await releases.look(assignment, 7);
    expect(released().length).toBe(1);
    for (const one of [releases, await open()]) {
      expect(one.outdated(6)).toBe(true);
      expect(one.outdated(7)).toBe(false);
      asked = [];
      await one.look(assignment, 6);
      expect(asked).toEqual([]);
    }
  });
});
