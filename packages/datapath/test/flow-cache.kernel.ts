import { existsSync, unlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { BpfMap } from '@weft/bpf';
import {
  Action,
  type ForwardingTables,
  type MemoryTables,
  type TableChange,
  type TableEntry,
  type TableName,
  type Verdict,
} from '@weft/forwarding';
import { Rng, validFrames, type World } from '@weft/forwarding/testing';
import { parseIp } from '@weft/packet';
import { inNetns } from '@weft/tuntap';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createKernelDatapath, type KernelDatapathOptions } from '../src/index.ts';
import { MAP_LAYOUT } from '../src/kernel/layout.ts';
import { addHostNetns, netnsPath, RUN, sh } from './support/lab.ts';
import { isAccepted, judgeTrial, OracleBench, type Trial } from './support/oracle.ts';

// What the programs remember must not show: not when a decision is used again, not when a row behind it changes, not when another flow has its place.

const WORLDS = 3;
let bench: OracleBench;
let opened: OracleBench | undefined;
function open(options: Partial<KernelDatapathOptions> = {}): OracleBench {
  opened = new OracleBench(undefined, options);
  return opened;
}
afterEach(() => {
  opened?.close();
  opened = undefined;
});

/** Decisions are remembered by each CPU for itself: this process stays on one, the last, since gateway-slots.kernel.ts may be on the first meanwhile. */
const allowed = sh(`taskset -p ${process.pid}`).replace(/.*: /, '').trim();
beforeAll(() => {
  sh(`taskset -acp ${availableParallelism() - 1} ${process.pid}`);
});
afterAll(() => {
  sh(`taskset -ap ${allowed} ${process.pid}`);
});

const isForwarded = ({ action }: Verdict): boolean => action === Action.LOCAL || action === Action.TUNNEL;

/** Sound frames of a world, as trials. */
function soundTrials(world: World): Trial[] {
  return validFrames(world)
    .map((frame) => ({ ...frame, gsoSize: 0, mark: 0 }))
    .filter(({ frame }) => isAccepted(frame));
}

function forwardedTrials(tables: MemoryTables, world: World): Trial[] {
  return soundTrials(world).filter((trial) => isForwarded(judgeTrial(tables, world, trial)));
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The frame with an IPv4 packet in place of its IPv6 packet: a UDP datagram between the first four bytes of its addresses. */
function asIpv4(frame: Uint8Array, offset: number): Uint8Array {
  const made = new Uint8Array(offset + 14 + 36);
  made.set(frame.subarray(0, offset + 12));
  const view = new DataView(made.buffer);
  const ip = offset + 14;
  view.setUint16(offset + 12, 0x0800);
  view.setUint8(ip, 0x45);
  view.setUint16(ip + 2, 36);
  view.setUint8(ip + 8, 64);
  view.setUint8(ip + 9, 17);
  made.set(frame.subarray(ip + 8, ip + 12), ip + 12);
  made.set(frame.subarray(ip + 24, ip + 28), ip + 16);
  view.setUint16(ip + 20, 7);
  view.setUint16(ip + 22, 7);
  view.setUint16(ip + 24, 16);
  if (offset > 0) {
    view.setUint16(16, made.length - 14);
    view.setUint16(38, made.length - 34);
  }
  return made;
}

/** All that a test run shows, as text. */
function outcome(at: OracleBench, trial: Trial): string {
  const { retval, ctx, data } = at.testRun(trial);
  return `${retval} cb ${ctx.cb.join(' ')} mark ${ctx.mark} ${hex(data)}`;
}

/** One of the datapath's maps, past the datapath. */
function pinned<T>(at: OracleBench, name: string, use: (map: BpfMap) => T): T {
  const map = BpfMap.fromPin(join(at.datapath.pinDirectory, name));
  try {
    return use(map);
  } finally {
    map.close();
  }
}

/** Takes all rows away without a word to the programs. */
function emptyBehindItsBack(at: OracleBench): void {
  for (const { map: name } of Object.values(MAP_LAYOUT)) {
    pinned(at, name, (map) => {
      for (const [key] of [...map.entries()]) map.delete(key);
    });
  }
}

function setGeneration(at: OracleBench, value: bigint): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  pinned(at, 'map_generation', (map) => map.update(new Uint8Array(4), bytes));
}

const generation = (at: OracleBench): bigint =>
  pinned(at, 'map_generation', (map) => new DataView(map.lookup(new Uint8Array(4))!.buffer).getBigUint64(0, true));

describe('a decision that is remembered', () => {
  it('is the one of the oracle, the second time as the first', () => {
    bench = open();
    for (let seed = 1; seed <= 8; seed++) {
      const { difference } = bench.run(seed, 500, 2);
      if (difference) expect.fail(`seed ${difference.seed}, frame ${difference.index} (${difference.label}):\n${difference.text}`);
    }
  });

  it('is used: it holds when the tables are emptied behind its back, for frames of the flow alone', () => {
    bench = open({ flowSlots: 65_536 });
    for (let seed = 1; seed <= WORLDS; seed++) {
      const world = bench.world(seed);
      const tables = bench.load(world);
      bench.in(() => {
        const trials = forwardedTrials(tables, world);
        for (const trial of trials) bench.testRun(trial);
        emptyBehindItsBack(bench);
        let remembered = 0;
        for (const trial of trials) {
          const result = bench.testRun(trial);
          const action = result.ctx.cb[0]! >>> 16;
          if (action !== Action.LOCAL && action !== Action.TUNNEL) continue;
          remembered++;
          expect(bench.compare(trial, judgeTrial(tables, world, trial), result)).toBeUndefined();
        }
        // All but fragments, options, what is padded, and what a former home or a moved port takes part in.
        expect(remembered / trials.length, `${remembered} of ${trials.length}`).toBeGreaterThan(0.3);
        // What these do not forward by the full tables, they do not forward by what is remembered.
        for (const trial of soundTrials(world)) {
          if (isForwarded(judgeTrial(tables, world, trial))) continue;
          const { ctx } = bench.testRun(trial);
          expect([Action.LOCAL, Action.TUNNEL], trial.label).not.toContain(ctx.cb[0]! >>> 16);
        }
      });
    }
  });

  it.each([1, 65_536])("is no other frame's: every bit of the headers matters as it does to the oracle (%i slots)", (flowSlots) => {
    bench = open({ flowSlots });
    const world = bench.world(5);
    const tables = bench.load(world);
    const rng = new Rng(flowSlots);
    bench.in(() => {
      const trials = forwardedTrials(tables, world);
      for (let i = 0; i < 40; i++) {
        const trial = rng.pick(trials);
        const headers = Math.min(trial.frame.length, (trial.program === 'from_port' ? 0 : 50) + 14 + 40 + 20);
        for (let at = 0; at < headers; at++) {
          const bent = trial.frame.slice();
          bent[at]! ^= 1 << rng.below(8);
          const other = { ...trial, frame: bent, label: `${trial.label}; byte ${at} bent` };
          if (!isAccepted(bent)) continue;
          bench.testRun(trial);
          const text = bench.compare(other, judgeTrial(tables, world, other));
          if (text !== undefined) expect.fail(`${other.label}\n${text}`);
        }
        // Another port, another length, segments.
        const variants = [
          { ...trial, ifindex: trial.program === 'from_port' ? rng.pick(world.ports).ifindex : trial.ifindex },
          { ...trial, frame: trial.frame.slice(0, trial.frame.length - 1) },
          { ...trial, frame: Uint8Array.from([...trial.frame, 0]) },
          ...[1, 500, 1240, 1400, 9000].map((gsoSize) => ({ ...trial, gsoSize })),
        ];
        for (const other of variants.filter(({ frame }) => isAccepted(frame))) {
          bench.testRun(trial);
          const text = bench.compare(other, judgeTrial(tables, world, other));
          if (text !== undefined) expect.fail(`${trial.label}\n${text}`);
        }
      }
    });
  });

  it('of an IPv6 flow is none of an IPv4 packet whose addresses begin alike', () => {
    bench = open({ flowSlots: 1 });
    const world = bench.world(7);
    const tables = bench.load(world);
    let tried = 0;
    bench.in(() => {
      for (const trial of forwardedTrials(tables, world)) {
        const at = trial.program === 'from_port' ? 0 : 50;
        if (trial.frame[at + 12] !== 0x86) continue;
        const alike = { ...trial, frame: asIpv4(trial.frame, at) };
        for (const one of [trial, trial, alike]) {
          const text = bench.compare(one, judgeTrial(tables, world, one));
          if (text !== undefined) expect.fail(`${trial.label}\n${text}`);
        }
        tried++;
      }
    });
    expect(tried).toBeGreaterThan(10);
  });

  it('yields its place to another flow, and that one back', () => {
    bench = open({ flowSlots: 1 });
    for (let seed = 20; seed < 20 + WORLDS; seed++) {
      const world = bench.world(seed);
      const tables = bench.load(world);
      const rng = new Rng(seed);
      bench.in(() => {
        const trials = forwardedTrials(tables, world);
        for (let i = 0; i < 300; i++) {
          const [one, other] = [rng.pick(trials), rng.pick(trials)];
          for (const trial of [one, one, other, other, one, other]) {
            const text = bench.compare(trial, judgeTrial(tables, world, trial));
            if (text !== undefined) expect.fail(`seed ${seed}, ${one.label} beside ${other.label}:\n${text}`);
          }
        }
      });
    }
  });

  it('ends by the clock where the clock takes part in it', () => {
    bench = open();
    let ended = 0;
    for (let seed = 40; seed < 46; seed++) {
      const world = bench.world(seed);
      const tables = bench.load(world);
      const later = { ...world, nowBootNs: world.nowBootNs + 10n ** 15n };
      bench.in(() => {
        for (const trial of soundTrials(world)) {
          const now = judgeTrial(tables, world, trial);
          const then = judgeTrial(tables, later, trial);
          if (now.action !== then.action) ended++;
          for (const [at, verdict] of [
            [world, now],
            [world, now],
            [later, then],
            [world, now],
          ] as const) {
            bench.datapath.setTestClock(at.nowBootNs);
            const text = bench.compare(trial, verdict);
            if (text !== undefined) expect.fail(`seed ${seed}, ${trial.label} at ${at.nowBootNs}:\n${text}`);
          }
        }
      });
    }
    expect(ended).toBeGreaterThan(0);
  });
});

/** Notes which rows a decision looks at. */
class WatchedTables implements ForwardingTables {
  readonly rows = new Set<unknown>();
  readonly #tables: MemoryTables;
  constructor(tables: MemoryTables) {
    this.#tables = tables;
  }
  port(ifindex: number) {
    return this.#note(this.#tables.port(ifindex));
  }
  subnet(vsid: number) {
    return this.#note(this.#tables.subnet(vsid));
  }
  lookup(networkId: number, ca: Uint8Array) {
    return this.#note(this.#tables.lookup(networkId, ca));
  }
  l2(vsid: number, mac: Uint8Array) {
    return this.#note(this.#tables.l2(vsid, mac));
  }
  route(networkId: number, address: Uint8Array) {
    return this.#note(this.#tables.route(networkId, address));
  }
  speaker(pa: Uint8Array, networkId: number) {
    return this.#tables.speaker(pa, networkId);
  }
  shard(id: number) {
    return this.#note(this.#tables.shard(id));
  }
  #note<T>(row: T): T {
    if (row !== undefined) this.rows.add(row);
    return row;
  }
}

/** A row with one of its fields changed, in as many ways as it has fields; and its deletion. */
function variants(row: TableEntry, rng: Rng): { readonly field: string; readonly change: TableChange }[] {
  const { table, key } = row;
  const found: { field: string; change: TableChange }[] = [{ field: 'deleted', change: { op: 'delete', table, key } as TableChange }];
  if (typeof row.value !== 'object') return found;
  for (const [field, value] of Object.entries(row.value)) {
    const others: readonly unknown[] =
      value instanceof Uint8Array
        ? [Uint8Array.from(value, (byte, i) => (i === value.length - 1 ? byte ^ 1 : byte)), new Uint8Array(value.length)]
        : typeof value === 'bigint'
          ? [value + 1n]
          : field === 'kind'
            ? [0, 1, 2, 3, 4].filter((kind) => kind !== value)
            : field === 'mtuBytes'
              ? [60, 9000]
              : [((value as number) ^ 1) >>> 0, 0];
    for (const other of [rng.pick(others), ...others.slice(0, field === 'kind' ? 5 : 1)]) {
      found.push({ field, change: { op: 'put', table, key, value: { ...row.value, [field]: other } } as TableChange });
    }
  }
  return found;
}

describe('a row that changes', () => {
  it('ends what was decided by it, at once, whatever field it is, and so does the way back', { timeout: 240_000 }, () => {
    bench = open({ flowSlots: 65_536 });
    const tried = new Map<TableName, number>();
    const changed = new Map<TableName, number>();
    const count = (counts: Map<TableName, number>, table: TableName): unknown => counts.set(table, (counts.get(table) ?? 0) + 1);
    for (let seed = 60; seed < 60 + WORLDS; seed++) {
      const world = bench.world(seed);
      const tables = bench.load(world);
      const rows = [...tables.entries()];
      const rng = new Rng(seed);
      bench.in(() => {
        const trials = forwardedTrials(tables, world);
        for (let i = 0; i < 60; i++) {
          const trial = rng.pick(trials);
          const watched = new WatchedTables(tables);
          judgeTrial(watched as unknown as MemoryTables, world, trial);
          for (const row of rows.filter(({ value }) => watched.rows.has(value))) {
            const restore = { op: 'put', ...row } as TableChange;
            for (const { field, change } of variants(row, rng)) {
              const isWarm = !rng.oneIn(4);
              const what = `seed ${seed}, ${trial.label}: ${row.table}.${field}, ${isWarm ? 'after' : 'without'} a frame before`;
              const first = isWarm ? outcome(bench, trial) : undefined;
              bench.datapath.apply([change]);
              const after = outcome(bench, trial);
              const again = outcome(bench, trial);
              // A new generation without a change: nothing is remembered.
              bench.datapath.apply([]);
              const anew = outcome(bench, trial);
              expect(after, what).toBe(anew);
              expect(again, what).toBe(anew);
              bench.datapath.apply([restore]);
              const back = outcome(bench, trial);
              if (first !== undefined) expect(back, `${what}, and back`).toBe(first);
              count(tried, row.table);
              if (back !== after) count(changed, row.table);
            }
          }
        }
      });
    }
    for (const table of ['port', 'subnet', 'lookup', 'l2', 'route', 'shard'] as const) {
      expect(tried.get(table) ?? 0, table).toBeGreaterThan(5);
      expect(changed.get(table) ?? 0, table).toBeGreaterThan(0);
    }
  });

  it('counts from its writing on when the writer is killed, until the next process has begun', () => {
    bench = open();
    const world = bench.world(3);
    const tables = bench.load(world);
    const options = {
      instance: bench.datapath.pinDirectory.split('/').at(-2)!,
      pa: world.pa,
      underlayInterface: 'under0',
      testClock: true,
    };
    bench.in(() => {
      const trials = forwardedTrials(tables, world).slice(0, 50);
      for (const trial of trials) expect(bench.compare(trial, judgeTrial(tables, world, trial))).toBeUndefined();
      // As apply() does first; then the process is gone.
      const before = generation(bench);
      expect(before & 1n).toBe(1n);
      setGeneration(bench, before + 1n);
      emptyBehindItsBack(bench);
      for (const trial of trials) expect([Action.LOCAL, Action.TUNNEL]).not.toContain(bench.testRun(trial).ctx.cb[0]! >>> 16);
      const next = createKernelDatapath(options);
      expect(generation(bench) & 1n).toBe(1n);
      expect(generation(bench)).toBeGreaterThan(before);
      next.apply(world.changes);
      // The programs of the first process, which have seen all of it.
      for (const trial of [...trials, ...trials]) expect(bench.compare(trial, judgeTrial(tables, world, trial))).toBeUndefined();
      next.close();
    });
  });

  it('counts also where it could not be written in full', () => {
    bench = open({ maxEntries: { shard: 1 } });
    bench.in(() => {
      const shard = (id: number): TableChange => ({
        op: 'put',
        table: 'shard',
        key: { id },
        value: { epoch: 1n, pa: parseIp('192.0.2.9'), prevPa: new Uint8Array(16), prevUntilBootNs: 0n },
      });
      const before = generation(bench);
      expect(() => bench.datapath.apply([shard(1), shard(2)])).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_TABLE_FULL' }));
      expect(generation(bench) & 1n).toBe(1n);
      expect(generation(bench)).toBeGreaterThan(before);
    });
  });
});

describe('pins of a version that remembered nothing', () => {
  it('are taken over: the generation is made anew, the rows stay', () => {
    const netns = `wdpu${RUN}`;
    addHostNetns(netns);
    sh(`ip -n ${netns} tuntap add under0 mode tap; ip -n ${netns} link set under0 up`);
    const start = () =>
      inNetns(netnsPath(netns), () =>
        createKernelDatapath({ instance: netns, pa: parseIp('192.0.2.1'), underlayInterface: 'under0', flowSlots: 16 }),
      );
    const first = start();
    try {
      first.apply([{ op: 'put', table: 'speaker', key: { pa: parseIp('192.0.2.9'), networkId: 7 }, value: 1 }]);
      first.close();
      const pin = join(first.pinDirectory, 'map_generation');
      expect(existsSync(pin)).toBe(true);
      expect(existsSync(join(first.pinDirectory, 'map_flow'))).toBe(false);
      unlinkSync(pin);
      const second = start();
      expect(second.entries().length).toBe(1);
      expect(existsSync(pin)).toBe(true);
      second.close();
    } finally {
      const last = start();
      inNetns(netnsPath(netns), () => last.destroy());
      sh(`ip netns del ${netns}`);
    }
  });
});

describe('the number of slots', () => {
  it.each([-1, 3, 1.5, 131_072])('is not %d', (flowSlots) => {
    expect(() => createKernelDatapath({ instance: 'x', pa: parseIp('192.0.2.1'), underlayInterface: 'under0', flowSlots })).toThrow(
      expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_BAD_OPTION' }),
    );
  });

  it('may be none', () => {
    bench = open({ flowSlots: 0 });
    expect(bench.run(1, 200, 2).difference).toBeUndefined();
  });
});
