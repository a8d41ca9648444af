import type { Store } from '@weft/bus';
import { configPrefix, mappingPrefix } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { type Copied, NetworkReader } from '../src/network-reader.ts';
import type { Asked } from '../src/snapshot-sync.ts';
import { MemoryStore } from './memory-bus.ts';

const rdid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;
const asked: Asked = { config: { askedAtRevision: 0, askedAtHint: 0 }, mapping: { askedAtRevision: 0, askedAtHint: 0 } };

/** A reader, and readings that note how they were carried out. */
class Machine {
  readonly memory = new MemoryStore();
  readonly seen: { readonly n: number; readonly copied: Copied | undefined }[] = [];
  readonly order: string[] = [];
  atOnce = 0;
  most = 0;
  store: Store | undefined;
  readonly reader = new NetworkReader({ store: () => this.store });

  async open(): Promise<this> {
    this.store = await this.memory.connect('agent').open();
    return this;
  }

  run(n: number): Promise<void> {
    return this.reader.run({
      ask: () => {
        this.order.push(`ask ${n}`);
        return asked;
      },
      read: async (copied) => {
        this.most = Math.max(this.most, ++this.atOnce);
        await new Promise((resolve) => setImmediate(resolve));
        this.atOnce--;
        this.seen.push({ n, copied });
        await copied?.copy.config.snapshot(configPrefix.ports(rdid(n)));
      },
    });
  }

  runAll(count: number): Promise<PromiseSettledResult<void>[]> {
    return Promise.allSettled(Array.from({ length: count }, (_, n) => this.run(n)));
  }
}

describe('NetworkReader', () => {
  it('reads few one by one, four at once, in the order asked for', async () => {
    const machine = await new Machine().open();
    await machine.runAll(60);
    expect(machine.seen.map(({ n }) => n)).toEqual(Array.from({ length: 60 }, (_, n) => n));
    expect(machine.seen.every(({ copied }) => copied === undefined)).toBe(true);
    expect(machine.most).toBe(4);
  });

  it('reads many out of one copy, of which each was asked before', async () => {
    const machine = await new Machine().open();
    const { config, mapping } = machine.memory.buckets;
    config.force(`port.${rdid(7)}.${rdid(1)}`, Uint8Array.of(1));
    config.force(`network.${rdid(7)}`, Uint8Array.of(2));
    mapping.force(`${rdid(7)}.5001.${rdid(1)}`, Uint8Array.of(3));
    config.onSnapshot = async (prefix) => void machine.order.push(`snapshot ${prefix}`);
    await machine.runAll(300);
    const copies = new Set(machine.seen.flatMap(({ copied }) => copied?.copy ?? []));
    expect(copies.size).toBe(1);
    expect(config.snapshots).toBe(2);
    expect(mapping.snapshots).toBe(1);
    expect(machine.seen.filter(({ copied }) => copied === undefined).length).toBe(4);
    expect(machine.order.indexOf('ask 299')).toBeLessThan(machine.order.indexOf(`snapshot ${configPrefix.allPorts}`));
    const [copy] = copies;
    const keys = ({ entries }: { readonly entries: readonly { readonly value: Uint8Array }[] }): number[] =>
      entries.map(({ value }) => value[0]!);
    expect(keys(await copy!.config.snapshot(configPrefix.ports(rdid(7))))).toEqual([1]);
    expect((await copy!.config.get(`network.${rdid(7)}`))?.value[0]).toBe(2);
    expect(keys(await copy!.mapping.snapshot(mappingPrefix(rdid(7))))).toEqual([3]);
    expect(keys(await copy!.config.snapshot(configPrefix.ports(rdid(8))))).toEqual([]);
    expect(await copy!.config.get(`network.${rdid(8)}`)).toBeUndefined();
  });

  it('reads what is asked for over many turns out of one copy, if it is said to belong together', async () => {
    const machine = await new Machine().open();
    const { config } = machine.memory.buckets;
    const results: Promise<void>[] = [];
    await machine.reader.together(async () => {
      for (let n = 0; n < 300; n++) {
        results.push(machine.run(n));
        if (n % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(machine.seen).toEqual([]);
    });
    await Promise.all(results);
    expect(new Set(machine.seen.map(({ copied }) => copied?.copy)).size).toBe(1);
    expect([machine.seen.length, config.snapshots]).toEqual([300, 2]);
  });

  it('reads few that belong together one by one, also if asking for them fails', async () => {
    const machine = await new Machine().open();
    const results: Promise<void>[] = [];
    const asking = machine.reader.together(async () => {
      for (let n = 0; n < 5; n++) results.push(machine.run(n));
      throw new Error('no more');
    });
    await expect(asking).rejects.toThrow('no more');
    await Promise.all(results);
    expect(machine.seen.every(({ copied }) => copied === undefined)).toBe(true);
    expect([machine.seen.length, machine.most]).toEqual([5, 4]);
  });

  it('tells each why the store could not be read, and reads on', async () => {
    const machine = new Machine();
    const results = await machine.runAll(100);
    // The first four read by themselves, and here nothing.
    expect(results.filter(({ status }) => status === 'rejected').length).toBe(96);
    await machine.open();
    await machine.run(200);
    expect(machine.seen.at(-1)!.n).toBe(200);
    expect((await machine.runAll(100)).every(({ status }) => status === 'fulfilled')).toBe(true);
  });
});
