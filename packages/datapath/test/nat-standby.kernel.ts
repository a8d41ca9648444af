import {
  applyNatEvent,
  type NatChange,
  type NatEvent,
  NatEventKind,
  NatEventList,
  type NatRow,
  NatState,
  type NatStore,
  type NatTable,
  networkOfEvent,
  restoreNat,
  snapshotNat,
  writeChanges,
} from '@weft/forwarding';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KernelNatBatch } from '../src/kernel/nat/event-batch.ts';
import { compareStores, NatBench, NETWORKS, SEGMENT, text } from './support/nat-bench.ts';
import { compileHarness, eventOfRecord, NatHarness, ringBatch } from './support/nat-harness.ts';
import { History, histories } from './support/nat-histories.ts';

// The standby's side: what A's kernel has told, applied to B's tables, makes them A's; and B goes on from there.

const RUNS = Number(process.env['WEFT_NAT_HISTORIES'] ?? 30) / 2;
const TABLES: readonly NatTable[] = ['block', 'source', 'mapping', 'session', 'reverse', 'usage'];
const QUOTA = { blocks: 100, blocksPerSource: 100, sessions: 10_000, newFlowsPerSecond: 0 };
const SECOND = 1_000_000_000n;

/** Without what is each member's own: counts of denials, whether a holder is queued, and the end of a session between two tellings. */
function shared(row: unknown): unknown {
  const { table, key, value } = row as NatRow;
  switch (table) {
    case 'usage':
      return value.blocks + value.sessions === 0 ? undefined : { table, key, value: { blocks: value.blocks, sessions: value.sessions } };
    case 'source':
      // Marked, but nothing released yet: B has not heard of it, and marks it itself if it comes to that.
      if (value.flags & 2) return { table, key, value: { newest: value.newest, blocks: value.blocks, addresses: value.addresses } };
      return { table, key, value: { ...value, flags: 0 } };
    case 'session':
      return { table, key, value: { ...value, expiresBootNs: value.toldBootNs } };
    default:
      return row;
  }
}

/** Holders that one side has marked: what the other knows of them is not compared. */
function comparable(a: NatStore): (row: unknown) => unknown {
  const marked = new Set(
    [...a.rows('source')].filter(({ value }) => value.flags & 2).map(({ key }) => JSON.stringify([key.networkId, key.pool, [...key.ca]])),
  );
  return (row) => {
    const { table, key, value } = row as NatRow;
    if (table === 'source' && marked.has(JSON.stringify([key.networkId, key.pool, [...key.ca]])))
      return shared({ table, key, value: { ...value, flags: 2 } });
    return shared(row);
  };
}

let harness: ReturnType<typeof compileHarness>;
beforeAll(() => {
  harness = compileHarness();
});
afterAll(() => harness?.remove());

function withHistories(check: (bench: NatBench, again: number) => void, runs: number): void {
  fc.assert(
    fc.property(histories, fc.nat(1000), (steps, again) => {
      const bench = new NatBench(harness.path, { blocksPerAddress: 3, quota: QUOTA });
      try {
        const history = new History(bench);
        for (const step of steps) history.run(step);
        bench.compare();
        check(bench, again);
      } finally {
        bench.close();
      }
    }),
    { numRuns: Math.max(1, Math.round(runs)), interruptAfterTimeLimit: 120_000, endOnFailure: true },
  );
}

/** Changes of one ticket, between its first and its last record, in another order: who is first to take room in the ring is not first to write into it. */
function mixChanges(records: readonly Uint8Array[], random: () => number): Uint8Array[] {
  const mixed = [...records];
  const places = new Map<bigint, number[]>();
  records.forEach((record, i) => {
    const event = eventOfRecord(record);
    if (event.kind !== NatEventKind.SESSION_CHANGED) return;
    places.set(event.session.ticket, [...(places.get(event.session.ticket) ?? []), i]);
  });
  for (const at of places.values()) {
    const other = at.map((i) => ({ record: mixed[i]!, order: random() })).sort((a, b) => a.order - b.order);
    at.forEach((i, n) => {
      mixed[i] = other[n]!.record;
    });
  }
  return mixed;
}

describe('a standby', () => {
  it('has the tables of the owner whose events it applies; twice, or a part of them again, changes nothing', { timeout: 600_000 }, () => {
    withHistories((bench, again) => {
      const normal = comparable(bench.kernel.maps);
      const standby = new NatState();
      for (const event of bench.events) {
        applyNatEvent(standby, event, 0n);
        applyNatEvent(standby, event, 0n);
      }
      compareStores(bench.kernel.maps, standby, TABLES, normal);
      for (const event of bench.events.slice(-again)) applyNatEvent(standby, event, 0n);
      compareStores(bench.kernel.maps, standby, TABLES, normal);
    }, RUNS);
  });

  it('has them, too, if it is told only how each session of a batch ends, whatever order two processors told its changes in', {
    timeout: 600_000,
  }, () => {
    const all = (): boolean => true;
    let [merged, whole] = [0, 0];
    withHistories((bench, again) => {
      const random = fc.sample(fc.infiniteStream(fc.nat(1000)), { numRuns: 1, seed: again })[0]!;
      const records = mixChanges(bench.records, () => random.next().value as number);
      const [standby, batch] = [new NatState(), new KernelNatBatch()];
      for (let at = 0; at < records.length; ) {
        const some = records.slice(at, at + 1 + ((random.next().value as number) % 200));
        at += some.length;
        batch.read(ringBatch(some));
        const list = new NatEventList(some.map(eventOfRecord));
        expect(batch.count).toBe(some.length);
        for (let i = 0; i < some.length; i++) {
          expect([batch.kindAt(i), batch.networkAt(i), text(batch.eventAt(i))]).toEqual([
            list.kindAt(i),
            list.networkAt(i),
            text(list.eventAt(i)),
          ]);
        }
        const told: NatChange[][] = [[], []];
        batch.forEachChange(all, (change) => told[0]!.push(change));
        list.forEachChange(all, (change) => told[1]!.push(change));
        const [written, wanted] = told.map((of) => writeChanges({ from: 'g1', to: 'g2', stream: 1, sequence: 2, sentBootNs: 3n }, of));
        expect(Buffer.compare(written!, wanted!)).toBe(0);
        const [changes, expected]: NatEvent[][] = [[], []];
        batch.forEachChange(all, (change) => changes!.push(change.event()));
        list.forEachChange(all, (change) => expected!.push(change.event()));
        expect(changes!.map(text)).toEqual(expected!.map(text));
        for (const network of NETWORKS) {
          const own: NatEvent[] = [];
          batch.forEachChange(
            (id) => id === network,
            (change) => own.push(change.event()),
          );
          expect(own.map(text)).toEqual(expected!.filter((event) => networkOfEvent(event) === network).map(text));
        }
        for (const event of changes!) applyNatEvent(standby, event, 0n);
        merged += some.length - changes!.length;
        whole += some.length;
      }
      compareStores(bench.kernel.maps, standby, TABLES, comparable(bench.kernel.maps));
    }, RUNS);
    expect(merged).toBeGreaterThan(whole / 100);
  });

  it('gets the same by a snapshot, in its own clock', { timeout: 600_000 }, () => {
    withHistories((bench) => {
      const offset = 5_000n * SECOND;
      const standby = new NatState();
      for (const event of bench.events.slice(0, 20)) applyNatEvent(standby, event, offset);
      restoreNat(standby, snapshotNat(bench.kernel.maps), new Set(NETWORKS), { nowBootNs: bench.now + offset, clockOffsetNs: offset });
      const back = new NatState();
      restoreNat(back, snapshotNat(standby), new Set(NETWORKS), { nowBootNs: bench.now, clockOffsetNs: -offset });
      compareStores(bench.kernel.maps, back, TABLES, comparable(bench.kernel.maps));
      for (const { key, value } of bench.kernel.maps.rows('session'))
        expect(standby.get('session', key)!.expiresBootNs).toBe(value.expiresBootNs + offset);
    }, RUNS / 2);
  });

  it('takes over in the kernel: its own sweep ends what is over, and none of it is left', { timeout: 600_000 }, () => {
    withHistories((bench) => {
      const standby = new NatHarness(harness.path);
      try {
        for (const event of bench.events) applyNatEvent(standby.maps, event, 0n);
        compareStores(bench.kernel.maps, standby.maps, TABLES, comparable(bench.kernel.maps));
        standby.setClock(bench.now + 7441n * SECOND);
        expect(standby.sweep(5000).sessions).toBe(0); // not the owner
        for (const networkId of NETWORKS) standby.setNetwork(networkId, { shard: 1, segment: SEGMENT });
        standby.setShard(1, { epoch: 6n, deadlineBootNs: 1n << 62n });
        for (const seconds of [7441n, 7562n, 7563n, 7564n, 7565n]) {
          standby.setClock(bench.now + seconds * SECOND);
          standby.sweep(5000);
        }
        for (const table of ['session', 'mapping', 'reverse', 'source', 'block'] as const)
          expect([...standby.maps.rows(table)]).toEqual([]);
        for (const { value } of standby.maps.rows('usage')) expect(value).toMatchObject({ blocks: 0, sessions: 0 });
      } finally {
        standby.close();
      }
    }, RUNS / 3);
  });
});
