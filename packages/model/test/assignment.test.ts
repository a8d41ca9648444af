import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Assignment,
  BLOCKS_PER_ADDRESS,
  chooseShard,
  grantable,
  type Host,
  isEmptyMember,
  planAssignment,
  recordCodec,
  recoverAssignment,
  refreshAssignment,
  releasable,
  settleSlices,
  settleVoters,
  type WantedAssignment,
  type WantedMember,
  withAddresses,
} from '../src/index.ts';

const member = (n: number, drain = false): WantedMember => ({
  hostId: `gw-${n}`,
  publicKey: `N${n}`,
  instance: n,
  providerAddress: `198.51.100.${n}`,
  drain,
});
const told = (n: number, instance: number, providerAddress = `198.51.100.${n}`): Host =>
  ({ id: `gw-${n}`, publicKey: `N${n}`, providerAddress, memories: [{ gatewayId: 'g', instance }] }) as unknown as Host;
const hosts = (...all: Host[]) => new Map(all.map((one) => [one.id, one]));
const shared = (count: number): WantedAssignment['addresses'] =>
  Array.from({ length: count }, (_, i) => ({ segment: 1, address: `203.0.113.${i + 1}`, shard: 0, pool: 9, sliced: true }));
const wanted = (members: readonly WantedMember[], shards: number, addresses = 2, witnesses: readonly number[] = []): WantedAssignment => ({
  gatewayId: 'g',
  gateway: 'edge',
  members,
  witnesses: witnesses.map((n) => ({ hostId: `w-${n}`, publicKey: `NW${n}`, instance: 0 })),
  shards: Array.from({ length: shards }, (_, i) => 100 + i),
  addresses: shared(addresses),
  number: () => ++lastNumber,
});
let lastNumber = 1_000;

const owners = (assignment: Assignment): Map<number, number> => new Map(assignment.shards.map(({ id, order }) => [id, order[0]!]));
const tally = (values: Iterable<number>): Map<number, number> => {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
};
/** Largest and smallest share of those named. */
const spreadOf = (counts: ReadonlyMap<number, number>, among: readonly number[]): number => {
  const shares = among.map((one) => counts.get(one) ?? 0);
  return Math.max(...shares) - Math.min(...shares);
};
const blocks = (slices: Assignment['addresses'][number]['slices'], of: 'member' | 'movingTo'): number[] =>
  slices.flatMap((slice) => Array<number>(slice.count).fill(slice[of]));

/** One thing that an operator or a member does. */
type Step =
  | { readonly kind: 'members'; readonly members: readonly number[]; readonly drained: readonly number[] }
  | { readonly kind: 'consent'; readonly share: number }
  | { readonly kind: 'shards'; readonly shards: number }
  | { readonly kind: 'addresses'; readonly addresses: number };
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('members' as const),
    members: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 6 }),
    drained: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant('consent' as const), share: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ kind: fc.constant('shards' as const), shards: fc.integer({ min: 1, max: 24 }) }),
  fc.record({ kind: fc.constant('addresses' as const), addresses: fc.integer({ min: 0, max: 4 }) }),
);

/** Runs a history, removing members only when empty, and shows each document and what a consent covered. */
function history(
  steps: readonly Step[],
  see: (before: Assignment | undefined, after: Assignment, consented: ReadonlySet<string>) => void,
): void {
  let want = wanted([member(1), member(2)], 8);
  let now: Assignment | undefined;
  const none: ReadonlySet<string> = new Set();
  const put = (next: Assignment, consented = none): void => {
    see(now, next, consented);
    now = next;
  };
  put(planAssignment(undefined, want));
  for (const one of steps) {
    if (one.kind === 'consent') {
      const giver = now!.members[one.share % now!.members.length]!.member;
      const asked = releasable(now!, giver);
      const part = asked.slice(0, Math.ceil(asked.length / one.share));
      const covered = new Set(
        part.flatMap(({ address, first, count }) => Array.from({ length: count }, (_, i) => `${address}#${first + i}`)),
      );
      put(settleSlices(now!, giver, part), covered);
      continue;
    }
    if (one.kind === 'members') {
      const standing = now!.members.filter(({ hostId }) => !one.members.some((n) => `gw-${n}` === hostId));
      const kept = standing.filter((gone) => !(gone.drain && isEmptyMember(now!, gone.member)));
      const numbers = [...new Set([...one.members, ...kept.map(({ hostId }) => Number(hostId.slice(3)))])];
      const drain = (n: number): boolean => one.drained.includes(n) || kept.some(({ hostId }) => hostId === `gw-${n}`);
      want = { ...want, members: numbers.map((n) => member(n, drain(n))) };
    } else if (one.kind === 'shards') want = { ...want, shards: Array.from({ length: one.shards }, (_, i) => 100 + i) };
    else want = { ...want, addresses: shared(one.addresses) };
    put(planAssignment(now, want));
  }
}

describe('planAssignment()', () => {
  it('deals shards and blocks evenly, with each member as the others’ standby', () => {
    const first = planAssignment(undefined, wanted([member(1), member(2), member(3)], 12, 6));
    expect(tally(owners(first).values())).toEqual(
      new Map([
        [1, 4],
        [2, 4],
        [3, 4],
      ]),
    );
    for (const owner of [1, 2, 3]) {
      const standbys = first.shards.filter(({ order }) => order[0] === owner).map(({ order }) => order[1]);
      expect(new Set(standbys).size, `standbys of ${owner}`).toBe(2);
    }
    for (const { order } of first.shards) expect([...order].sort()).toEqual([1, 2, 3]);
    expect(first.addresses[0]!.slices).toEqual([
      { member: 1, first: 0, count: 336, movingTo: 0 },
      { member: 2, first: 336, count: 336, movingTo: 0 },
      { member: 3, first: 672, count: 336, movingTo: 0 },
    ]);
    expect(tally(first.addresses.map(({ shard }) => owners(first).get(shard)!))).toEqual(
      new Map([
        [1, 2],
        [2, 2],
        [3, 2],
      ]),
    );
  });

  it('after any history: shards within 1, the fewest first places moved, every block with one member', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        history(steps, (before, after) => {
          const all = after.members.map((one) => one.member);
          const active = after.members.filter((one) => !one.drain).map((one) => one.member);
          const may = active.length > 0 ? active : all;
          const now = owners(after);
          expect(spreadOf(tally(now.values()), may)).toBeLessThanOrEqual(1);
          for (const { order } of after.shards) {
            expect([...order].sort()).toEqual([...all].sort());
            expect(may).toContain(order[0]);
            if (may.length > 1) expect(may).toContain(order[1]);
          }
          for (const { slices } of after.addresses) {
            expect(blocks(slices, 'member')).toHaveLength(BLOCKS_PER_ADDRESS);
            for (const slice of slices) expect([slice.movingTo === slice.member, all.includes(slice.member)]).toEqual([false, true]);
          }
          if (before === undefined) return;
          // Fewest: who keeps a place keeps as many of its shards as its share allows.
          const was = owners(before);
          const kept = [...now].filter(([id, owner]) => was.get(id) === owner);
          const standing = tally([...was].filter(([id, owner]) => now.has(id) && may.includes(owner)).map(([, owner]) => owner));
          const share = tally(now.values());
          const most = [...standing].reduce((sum, [owner, count]) => sum + Math.min(count, share.get(owner) ?? 0), 0);
          expect(kept.length).toBe(most);
        });
      }),
    );
  });

  it('within one incarnation: a block changes hands only by the consent of the member that had it', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
        history(steps, (before, after, consented) => {
          expect(after.incarnation).toBe(1);
          for (const one of before?.addresses ?? []) {
            const next = after.addresses.find(({ address }) => address === one.address);
            if (next === undefined) continue;
            if (next.shard === one.shard) expect(next.natPool).toBe(one.natPool);
            const [was, is] = [blocks(one.slices, 'member'), blocks(next.slices, 'member')];
            const moving = blocks(one.slices, 'movingTo');
            for (let block = 0; block < BLOCKS_PER_ADDRESS; block++) {
              if (was[block] === is[block]) continue;
              expect(consented.has(`${one.address}#${block}`), `block ${block} without consent`).toBe(true);
              expect(is[block]).toBe(moving[block]);
            }
          }
        });
      }),
    );
  });

  it('blocks end within 1 of equal shares once everyone has consented, and no more is moved than that takes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        let now: Assignment | undefined;
        history(steps, (before, after) => {
          now = after;
          for (const one of after.addresses) {
            const old = before?.addresses.find(({ address }) => address === one.address);
            const active = after.members.filter(({ drain }) => !drain).map((each) => each.member);
            if (old === undefined || active.length === 0) continue;
            // What a member keeps of its own: all, or its share.
            const own = tally(blocks(one.slices, 'member'));
            const staying = tally(
              one.slices.flatMap((slice) => (slice.movingTo === 0 ? Array<number>(slice.count).fill(slice.member) : [])),
            );
            for (const each of active)
              expect(staying.get(each) ?? 0).toBeGreaterThanOrEqual(
                Math.min(own.get(each) ?? 0, Math.floor(BLOCKS_PER_ADDRESS / active.length)) - 0,
              );
          }
        });
        for (const { member: giver } of now!.members) now = settleSlices(now!, giver, releasable(now!, giver));
        const active = now!.members.filter(({ drain }) => !drain).map((one) => one.member);
        for (const { slices } of now!.addresses) {
          if (active.length > 0) expect(spreadOf(tally(blocks(slices, 'member')), active)).toBeLessThanOrEqual(1);
          expect(slices.every(({ movingTo }) => movingTo === 0)).toBe(true);
        }
      }),
    );
  });

  it('a member that joins gets shards at once and blocks by hand-over; nobody grants what is on its way', () => {
    const first = planAssignment(undefined, wanted([member(1), member(2)], 8, 1));
    const second = planAssignment(first, wanted([member(1), member(2), member(3)], 8, 1));
    const now = second.addresses[0]!;
    expect(grantable(now, 3)).toEqual([]);
    expect(grantable(now, 1).reduce((sum, { count }) => sum + count, 0)).toBe(336);
    expect(releasable(second, 1)).toEqual([{ segment: 1, address: '203.0.113.1', first: 336, count: 168 }]);
    const third = settleSlices(second, 1, releasable(second, 1));
    expect(grantable(third.addresses[0]!, 3)).toEqual([{ member: 3, first: 336, count: 168, movingTo: 0 }]);
    // A consent that comes twice, or from another, does nothing.
    expect(settleSlices(third, 1, releasable(second, 1))).toEqual(third);
    expect(settleSlices(second, 3, releasable(second, 1))).toEqual(second);
  });

  it('a drained member is empty once its blocks are given up; removed before, the incarnation rises and the others have all', () => {
    const first = planAssignment(undefined, wanted([member(1), member(2), member(3)], 6, 1));
    const draining = planAssignment(first, wanted([member(1), member(2), member(3, true)], 6, 1));
    expect(isEmptyMember(draining, 3)).toBe(false);
    const drained = settleSlices(draining, 3, releasable(draining, 3));
    expect(isEmptyMember(drained, 3)).toBe(true);
    const without = planAssignment(drained, wanted([member(1), member(2)], 6, 1));
    expect(without.incarnation).toBe(1);
    const forced = planAssignment(first, wanted([member(1), member(2)], 6, 1));
    expect(forced.incarnation).toBe(2);
    expect(tally(blocks(forced.addresses[0]!.slices, 'member'))).toEqual(
      new Map([
        [1, 504],
        [2, 504],
      ]),
    );
  });

  it('says who votes: a change raises the configuration and keeps the list before it until it is done', () => {
    const first = planAssignment(undefined, wanted([member(1), member(2)], 2, 0, [1]));
    expect([first.voters.configId, first.previousVoters, first.voters.voters.map(({ hostId }) => hostId)]).toEqual([
      1,
      undefined,
      ['gw-1', 'gw-2', 'w-1'],
    ]);
    const same = planAssignment(first, wanted([member(2), member(1, true)], 2, 0, [1]));
    expect(same.voters).toEqual(first.voters);
    const second = planAssignment(first, wanted([member(1), member(2)], 2, 0, [2]));
    expect([second.voters.configId, second.previousVoters?.configId]).toEqual([2, 1]);
    // A change during a change: the list that all grants meanwhile needed stays.
    const third = planAssignment(second, wanted([member(1), member(2), member(3)], 2, 0, [2]));
    expect([third.voters.configId, third.previousVoters?.configId]).toEqual([3, 1]);
    expect(settleVoters(third, 2)).toBeUndefined();
    expect(settleVoters(third, 3)?.previousVoters).toBeUndefined();
    const recovered = recoverAssignment(third);
    expect([recovered.incarnation, recovered.previousVoters]).toEqual([2, undefined]);
  });

  it('lets one member of a pair without a witness vote alone: two would stop when either does', () => {
    const voters = (assignment: ReturnType<typeof planAssignment>): string[] => assignment.voters.voters.map(({ hostId }) => hostId);
    const pair = planAssignment(undefined, wanted([member(2), member(1)], 2, 0));
    expect(voters(pair)).toEqual(['gw-1']);
    const three = planAssignment(pair, wanted([member(1), member(2), member(3)], 2, 0));
    expect(voters(three)).toEqual(['gw-1', 'gw-2', 'gw-3']);
    // Who votes alone stays the one.
    const other = planAssignment(undefined, wanted([member(2)], 2, 0));
    expect(voters(planAssignment(other, wanted([member(1), member(2)], 2, 0)))).toEqual(['gw-2']);
  });

  it('follows what hosts say of themselves: a new memory is a new list of voters, a new address is not', () => {
    const first = planAssignment(undefined, wanted([member(1), member(2)], 2, 1));
    expect(refreshAssignment(first, hosts(told(1, 1), told(2, 2)))).toBe(first);
    expect(refreshAssignment(first, hosts())).toBe(first);
    const moved = refreshAssignment(first, hosts(told(1, 1, '198.51.100.77')));
    expect([moved.members[0]!.providerAddress, moved.voters]).toEqual(['198.51.100.77', first.voters]);
    const forgot = refreshAssignment(first, hosts(told(1, 99)));
    expect([forgot.voters.configId, forgot.voters.voters[0]!.instance, forgot.previousVoters]).toEqual([2, 99, first.voters]);
  });

  it('waits for no list of which a majority was never known to remember anything', () => {
    const without = planAssignment(
      undefined,
      wanted(
        [1, 2, 3].map((n) => ({ ...member(n), instance: 0 })),
        4,
      ),
    );
    const one = refreshAssignment(without, hosts(told(1, 11)));
    expect([one.voters.configId, one.previousVoters]).toEqual([2, undefined]);
    const two = refreshAssignment(one, hosts(told(2, 12)));
    expect([two.voters.configId, two.previousVoters]).toEqual([3, undefined]);
    // Two of three may have granted something: theirs is the majority that the full list needs as well.
    const three = refreshAssignment(two, hosts(told(3, 13)));
    expect([three.voters.configId, three.previousVoters]).toEqual([4, two.voters]);
  });

  it('is a function: the order in which things are named does not matter', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([1, 2, 3, 4, 5], { minLength: 2 }), fc.integer({ min: 1, max: 16 }), (order, shards) => {
        const sortedFirst = planAssignment(
          undefined,
          wanted(
            [...order].sort().map((n) => member(n)),
            shards,
          ),
        );
        const again = planAssignment(
          sortedFirst,
          wanted(
            order.map((n) => member(n)),
            shards,
          ),
        );
        expect(again).toEqual(sortedFirst);
      }),
    );
  });
});

it('the largest assignment there may be fits in a message of NATS twice, in the middle of a move', () => {
  const all = (count: number) => Array.from({ length: count }, (_, i) => member(i + 1));
  const addresses = Array.from({ length: 1_024 }, (_, i) => ({
    segment: 0xffff_ff00,
    address: `2001:db8:1111:2222:3333:4444:5555:${(i + 4_096).toString(16)}`,
    shard: 0,
    pool: 0xffff_ff00,
    sliced: true,
  }));
  const want = { ...wanted(all(8), 256), addresses, number: () => 0xffff_ff00 };
  let now = planAssignment(undefined, want);
  for (const count of [12, 9, 16]) now = planAssignment(now, { ...want, members: all(count) });
  const { length } = recordCodec.encode({ kind: 'assignment', value: now });
  expect(2 * length + 4_096).toBeLessThan(1_048_576);
});

describe('withAddresses(), chooseShard()', () => {
  it('add and remove a network’s own addresses and touch nothing else', () => {
    const first = planAssignment(undefined, wanted([member(1), member(2)], 4, 2));
    const own = { segment: 1, address: '203.0.113.77', shard: 102, pool: 0, sliced: true };
    const more = withAddresses(first, [own, { ...own, address: '203.0.113.78', sliced: false }], []);
    expect(more.addresses.map(({ address, shard, slices }) => [address, shard, slices.length]).slice(2)).toEqual([
      ['203.0.113.77', 102, 2],
      ['203.0.113.78', 102, 0],
    ]);
    expect(withAddresses(more, [], [own, { ...own, address: '203.0.113.78' }])).toEqual(first);
  });

  it('spread networks over members first, then over shards', () => {
    const assignment = planAssignment(undefined, wanted([member(1), member(2), member(3)], 12, 0));
    const loads = new Map<number, number>();
    const candidates = new Set(assignment.shards.map(({ id }) => id));
    for (let i = 0; i < 30; i++) {
      const shard = chooseShard(assignment, loads, candidates)!;
      loads.set(shard, (loads.get(shard) ?? 0) + 1);
      const perOwner = tally([...loads].flatMap(([id, count]) => Array<number>(count).fill(owners(assignment).get(id)!)));
      expect(spreadOf(perOwner, [1, 2, 3])).toBeLessThanOrEqual(1);
    }
    expect(spreadOf(loads, [...candidates])).toBeLessThanOrEqual(1);
    expect(chooseShard(assignment, loads, new Set([105]))).toBe(105);
    expect(chooseShard(assignment, loads, new Set())).toBeUndefined();
  });
});
