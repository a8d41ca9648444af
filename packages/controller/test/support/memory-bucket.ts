import type { Bucket, Entry, Snapshot, Store, WriteOutcome } from '@weft/bus';

// A bucket in memory with the semantics that claims rest on: reads see the last acknowledged write, a write names the revision it replaces,
// `purge` leaves what was written since. Values are kept; nothing waits by itself.

export class MemoryBucket {
  readonly #entries: Map<string, Entry>;
  #sequence: number;

  constructor(from?: MemoryBucket) {
    this.#entries = new Map(from === undefined ? [] : from.#entries);
    this.#sequence = from === undefined ? 0 : from.#sequence;
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }
  below(prefix: string): Entry[] {
    return [...this.#entries.values()]
      .filter(({ key }) => prefix === '' || key.startsWith(`${prefix}.`))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }
  snapshot(prefix: string): Snapshot {
    return { entries: this.below(prefix), atSequence: this.#sequence, bucketCreatedUnixMs: 1 };
  }
  put(key: string, value: Uint8Array, expectedRevision: number): WriteOutcome {
    const revision = this.#entries.get(key)?.revision ?? 0;
    if (revision !== expectedRevision) return { status: 'conflict', revision };
    this.#entries.set(key, { key, revision: ++this.#sequence, value });
    return { status: 'committed', revision: this.#sequence };
  }
  purge(key: string, revision: number): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.revision <= revision) this.#entries.delete(key);
  }
}

export interface MemoryStore {
  readonly config: MemoryBucket;
  readonly mapping: MemoryBucket;
}

/** What an operation on a bucket touches. */
export interface Operation {
  readonly bucket: 'config' | 'mapping';
  readonly what: 'get' | 'snapshot' | 'put' | 'purge';
  /** A key; of a snapshot, the prefix. */
  readonly key: string;
}

/** A store over the memory, each operation of which waits until `gate` lets it happen. */
export function gatedStore(memory: MemoryStore, gate: <T>(operation: Operation, run: () => T) => Promise<T>): Store {
  const bucket = (name: 'config' | 'mapping'): Bucket => ({
    name,
    bucketCreatedUnixMs: 1,
    get: (key) => gate({ bucket: name, what: 'get', key }, () => memory[name].get(key)),
    snapshot: (prefix) => gate({ bucket: name, what: 'snapshot', key: prefix }, () => memory[name].snapshot(prefix)),
    put: (key, value, revision) => gate({ bucket: name, what: 'put', key }, () => memory[name].put(key, value, revision)),
    create: (key, value) => gate({ bucket: name, what: 'put', key }, () => memory[name].put(key, value, 0)),
    purge: (key, revision) => gate({ bucket: name, what: 'purge', key }, () => memory[name].purge(key, revision)),
    follow: unused,
    watch: unused,
    status: unused,
  });
  const buckets = { config: bucket('config'), mapping: bucket('mapping') };
  return {
    ...buckets,
    bucket: (name) => (name === 'mapping' ? buckets.mapping : name === 'config' ? buckets.config : unused()),
    get hosts(): Bucket {
      return unused();
    },
    get gateways(): Bucket {
      return unused();
    },
    get audit(): Store['audit'] {
      return unused();
    },
    get natLog(): Store['natLog'] {
      return unused();
    },
  };
}

function unused(): never {
  throw new Error('a request has no business there');
}
