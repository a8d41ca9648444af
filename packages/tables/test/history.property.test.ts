import { rowKey, type TableEntry } from '@weft/forwarding';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compile, describeDifferences, diff, entryEquals, type NetworkRecord, type NetworkView } from '../src/index.ts';
import {
  assignment,
  binding,
  bindingRecord,
  CREATED,
  gatewayPart,
  gatewaySubnet,
  HOSTS,
  network,
  networkRecord,
  PA,
  port,
  portId,
  portRecord,
  viewOf,
} from './records.ts';

// A store is made to commit a random history, as controllers and hosts would. Its events reach a view lost, doubled and out of order, with
// snapshots in between. At each step the incremental rows must equal those compiled from zero, and the changes given out must lead a
// table there; after a last snapshot the view must equal one that saw nothing but that snapshot.

interface Commit {
  readonly what: 'network' | 'port' | 'no-port' | 'claim' | 'release' | 'unbind';
  readonly n: number;
  readonly host: number;
  readonly variant: number;
}

class Store {
  readonly config = new Map<string, NetworkRecord>();
  readonly mapping = new Map<string, NetworkRecord>();
  readonly events: NetworkRecord[] = [];
  #config = 0;
  #mapping = 0;

  commit({ what, n, host, variant }: Commit): unknown {
    if (what === 'network') {
      const routes = variant % 3 === 0 ? [] : [{ prefix: '203.0.113.0/24', kind: 'next-hop' as const, nextHop: `192.0.2.${10 + n}` }];
      const subnets = variant % 5 === 4 ? network().subnets.slice(1) : network().subnets;
      const connected =
        variant % 2 === 1 ? { subnets: [...subnets, gatewaySubnet], gateway: gatewayPart(variant % 4 === 3 ? 'g2' : 'g1') } : { subnets };
      return this.#put('config', networkRecord(++this.#config, variant === 7 ? undefined : network({ routes, ...connected })));
    }
    if (what === 'port' || what === 'no-port') {
      // Variants share an address and a MAC between ports, as happens while records arrive out of order.
      const addresses = variant % 4 === 3 ? ['192.0.2.60'] : [`192.0.2.${10 + n}`, `2001:db8:1::${n}`];
      const mac = variant % 7 === 6 ? '02:00:00:00:00:99' : port(n).mac;
      const placement = variant % 6 === 5 ? { mode: 'list' as const, hosts: ['host-a'] } : { mode: 'any' as const, hosts: [] };
      return this.#put('config', portRecord(++this.#config, n, what === 'port' ? port(n, { addresses, mac, placement }) : undefined));
    }
    const found = this.mapping.get(bindingRecord(0, n, undefined).key);
    const held = found?.kind === 'binding' ? found.value : undefined;
    if (what === 'unbind') return held && this.#put('mapping', bindingRecord(++this.#mapping, n, undefined));
    if (what === 'release') return held && this.#put('mapping', bindingRecord(++this.#mapping, n, { ...held, state: 'released' }));
    const hostId = HOSTS[host]!;
    const move = held?.state === 'bound' && held.hostId !== hostId;
    const previous = move ? { previousHostId: held.hostId, previousProviderAddress: PA[held.hostId]! } : {};
    const generation = (this.#generations.get(n) ?? 0) + 1;
    this.#generations.set(n, generation);
    return this.#put('mapping', bindingRecord(++this.#mapping, n, binding(n, hostId, generation, previous)));
  }

  readonly #generations = new Map<number, number>();

  #put(bucket: 'config' | 'mapping', record: NetworkRecord): void {
    this[bucket].set(record.key, record);
    this.events.push(record);
  }

  snapshotInto(view: NetworkView, bucket: 'config' | 'mapping', nowMs: number) {
    const atSequence = bucket === 'config' ? this.#config : this.#mapping;
    return view.applySnapshot(
      {
        bucket,
        bucketCreatedUnixMs: CREATED,
        atSequence,
        records: [...this[bucket].values()],
        askedAtRevision: view.bucketPosition(bucket)?.maxRevision ?? 0,
      },
      nowMs,
    );
  }
}

type Step =
  | { readonly kind: 'commit'; readonly commit: Commit }
  | { readonly kind: 'deliver'; readonly at: number }
  | { readonly kind: 'snapshot'; readonly bucket: 'config' | 'mapping' }
  | { readonly kind: 'device'; readonly n: number; readonly ifindex: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'claimed'; readonly all: boolean }
  | { readonly kind: 'assigned'; readonly members: readonly number[] | null };

const commit = fc.record({
  what: fc.constantFrom('network', 'port', 'port', 'no-port', 'claim', 'claim', 'claim', 'release', 'unbind'),
  n: fc.integer({ min: 1, max: 4 }),
  host: fc.integer({ min: 0, max: 2 }),
  variant: fc.integer({ min: 0, max: 41 }),
}) as fc.Arbitrary<Commit>;

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('commit' as const), commit }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('deliver' as const), at: fc.nat(1_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('snapshot' as const), bucket: fc.constantFrom('config' as const, 'mapping' as const) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('device' as const),
      n: fc.integer({ min: 1, max: 4 }),
      ifindex: fc.integer({ min: 0, max: 5 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 50_000 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('claimed' as const), all: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('assigned' as const), members: fc.option(fc.subarray([0, 1, 2, 3])) }),
  },
);

describe('NetworkView', () => {
  it('equals the tables compiled from zero after any history of loss, duplicates, disorder and snapshots', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 90 }), (steps) => {
        const store = new Store();
        store.commit({ what: 'network', n: 1, host: 0, variant: 0 });
        const view = viewOf('host-a');
        const datapath = new Map<string, TableEntry>();
        for (const row of view.entries()) datapath.set(rowKey(row), row);
        let now = 1_000;
        for (const one of steps) {
          const changes = run(one);
          for (const change of changes) {
            if (change.op === 'delete') datapath.delete(rowKey(change));
            else datapath.set(rowKey(change), change);
          }
          const zero = compile(view.inputs(), now);
          expect(describeDifferences(zero, view.entries(), ['zero', 'incremental'])).toEqual([]);
          expect(describeDifferences(zero, strip(datapath.values()), ['zero', 'datapath'])).toEqual([]);
        }
        // Settled: both the view and a newcomer see the whole store, and all windows are over.
        now += 200_000;
        const fresh = viewOf('host-a');
        for (const one of [view, fresh]) {
          one.setClaimedVsids(new Set([5001, 5002, 5003]), now);
          one.setAssignment(assignment('g1', [1, 3]), now);
        }
        for (let n = 1; n <= 4; n++) {
          view.setDevice(portId(n), undefined, now);
          expect(fresh.setDevice(portId(n), undefined, now)).toEqual([]);
        }
        for (const bucket of ['config', 'mapping'] as const) {
          expect(store.snapshotInto(view, bucket, now).status).toBe('applied');
          store.snapshotInto(fresh, bucket, now);
        }
        view.tick(now + 100_000);
        fresh.tick(now + 100_000);
        expect(describeDifferences(view.entries(), fresh.entries(), ['old hand', 'newcomer'])).toEqual([]);
        expect(view.digest().hash).toEqual(fresh.digest().hash);
        expect(view.digest().recordCount).toBe(fresh.digest().recordCount);

        function run(one: Step) {
          switch (one.kind) {
            case 'commit':
              store.commit(one.commit);
              return [];
            case 'deliver':
              return view.apply(store.events[one.at % store.events.length]!, now).changes;
            case 'snapshot':
              return store.snapshotInto(view, one.bucket, now).changes;
            case 'device':
              return view.setDevice(
                portId(one.n),
                one.ifindex === 0 ? undefined : { ifindex: one.ifindex, kind: one.ifindex % 2 ? 'tap' : 'veth' },
                now,
              );
            case 'wait':
              now += one.ms;
              return view.tick(now);
            case 'claimed':
              return view.setClaimedVsids(new Set(one.all ? [5001, 5002, 5003] : [5002]), now);
            case 'assigned':
              return view.setAssignment(one.members === null ? undefined : assignment('g1', one.members), now);
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe('diff()', () => {
  it('turns any table into any other, and gives nothing for equal ones', () => {
    const commits = fc.array(commit, { maxLength: 25 });
    fc.assert(
      fc.property(commits, commits, (a, b) => {
        const [from, to] = [a, b].map((history) => {
          const store = new Store();
          store.commit({ what: 'network', n: 1, host: 0, variant: 0 });
          for (const one of history) store.commit(one);
          const view = viewOf('host-c');
          store.snapshotInto(view, 'config', 0);
          store.snapshotInto(view, 'mapping', 0);
          return [...view.entries()];
        }) as [TableEntry[], TableEntry[]];
        const rows = new Map(from.map((row) => [rowKey(row), row]));
        for (const change of diff(from, to)) {
          if (change.op === 'delete') rows.delete(rowKey(change));
          else rows.set(rowKey(change), change);
        }
        expect(describeDifferences(strip(rows.values()), to, ['reached', 'wanted'])).toEqual([]);
        expect(diff(to, to)).toEqual([]);
        expect(to.every((row) => entryEquals(row, row))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

function strip(rows: Iterable<TableEntry>): TableEntry[] {
  return [...rows].map(({ table, key, value }) => ({ table, key, value }) as TableEntry);
}
