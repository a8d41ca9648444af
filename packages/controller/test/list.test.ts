import type { Bucket, RecordEntry } from '@weft/bus';
import type { ListedRecord, ListRequest, WeftRecord } from '@weft/model';
import { describe, expect, it } from 'vitest';
import type { ControllerComponents } from '../src/components.ts';
import { listRecords } from '../src/list.ts';
import type { Records } from '../src/records.ts';
import type { WorldLoader } from '../src/world-loader.ts';

const id = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;

/** A store whose records are so large that a page holds three. */
class Store {
  readonly #entries: { readonly bucket: string; readonly entry: RecordEntry }[] = [];
  /** Keys that were judged, by request. */
  judged = 0;

  put(bucket: string, key: string, record: object): void {
    const entry = { key, revision: 1, envelope: { length: 250_000 }, record, change: { timeUnixMs: 1, authorName: 'test' } };
    this.#entries.push({ bucket, entry: entry as unknown as RecordEntry });
  }

  async page(request: Partial<ListRequest>) {
    const bucket = (name: string): Bucket => ({ name }) as Bucket;
    const components = {
      store: { config: bucket('config'), mapping: bucket('mapping'), hosts: bucket('hosts'), gateways: bucket('gateways') },
      trust: { principal: () => ({ role: 'admin' }), mayAct: () => undefined },
    } as unknown as ControllerComponents;
    const below = (of: Bucket, prefix: string, after = ''): RecordEntry[] => {
      const found = this.#entries
        .filter(({ bucket: name, entry: { key } }) => name === of.name && (prefix === '' || key.startsWith(`${prefix}.`)) && key > after)
        .map(({ entry }) => entry);
      this.judged += found.length;
      return found;
    };
    const records = {
      all: async (of: Bucket, prefix: string) => below(of, prefix),
      allStanding: async (...args: Parameters<typeof below>) => below(...args),
    };
    const whole = { kinds: [], tenant: '', network: '', name: '', ...request };
    return await listRecords(components, records as unknown as Records, {} as WorldLoader, whole, 'signer');
  }

  /** Keys of all pages, in order. */
  async keys(request: Partial<ListRequest>): Promise<string[]> {
    const records: ListedRecord[] = [];
    for (let after: string | undefined; ; ) {
      const page = await this.page(after === undefined ? request : { ...request, after });
      records.push(...page.records);
      after = page.next;
      if (after === undefined) return records.map(({ bucket, key }) => `${bucket}/${key}`);
    }
  }
}

const network = (n: number): WeftRecord => ({
  kind: 'network',
  value: { id: id(n), tenant: 'coke', name: `n${n}`, networkId: n, subnets: [], routes: [] },
});

describe('listRecords', () => {
  function store(): Store {
    const made = new Store();
    made.put('config', `gateway.${id(1)}`, { kind: 'gateway', value: { name: 'edge' } });
    for (let n = 1; n <= 10; n++) made.put('config', `network.${id(n)}`, network(n));
    for (let n = 1; n <= 7; n++) {
      made.put('config', `port.${id(1)}.${id(n)}`, { kind: 'port', value: { id: id(n), tenant: 'coke', network: 'n1', name: `p${n}` } });
      made.put('mapping', `${id(1)}.5001.${id(n)}`, { kind: 'binding', value: { portId: id(n) } });
    }
    for (let n = 1; n <= 4; n++) made.put('config', `tenant.${id(n)}`, { kind: 'tenant', value: { name: `t${n}` } });
    made.put('gateways', `assignment.${id(1)}`, { kind: 'assignment', value: { gateway: 'edge' } });
    for (const host of ['h1', 'h2']) made.put('hosts', host, { kind: 'host', value: { id: host } });
    return made;
  }

  it('tells each record once, by bucket and key, however many pages it takes', async () => {
    const keys = await store().keys({});
    expect(keys).toEqual([...keys].sort());
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys.length).toBe(1 + 10 + 7 + 7 + 4 + 1 + 2);
    expect((await store().keys({ kinds: ['PortBinding'] })).length).toBe(7);
  });

  it('goes on behind the page before, without judging what that had once more', async () => {
    const made = store();
    expect((await made.keys({ kinds: ['VirtualNetwork'] })).length).toBe(10);
    // Pages of three: 10, 7, 4 and the last one.
    expect(made.judged).toBe(10 + 7 + 4 + 1);
  });
});
