import type { Entry, Snapshot, Store } from '@weft/bus';
import { configPrefix, parseKey, WeftError } from '@weft/model';
import { inSlices, type SliceClock } from './gateway/in-slices.ts';
import type { NetworkSource } from './snapshot-sync.ts';

/** So slowly: a connection hands over what it has all at once, and while that is taken in no heartbeat leaves. */
const BYTES_PER_SECOND = 1 << 21;
const SLOWLY = { bytesPerSecond: BYTES_PER_SECOND };

/** Keys of one reading, by the network that each is of. */
interface Reading extends Omit<Snapshot, 'entries'> {
  readonly byPrefix: ReadonlyMap<string, readonly Entry[]>;
}

/** What the store has of all networks, read once; each network is read out of it as if it were the store. */
export class StoreCopy implements NetworkSource {
  readonly config: NetworkSource['config'];
  readonly mapping: NetworkSource['mapping'];
  readonly #store: Store;
  readonly #slices: SliceClock;
  #claims: Promise<ReadonlyMap<string, Entry>> | undefined;

  private constructor(store: Store, slices: SliceClock, ports: Reading, documents: ReadonlyMap<string, Entry>, bindings: Reading) {
    this.#store = store;
    this.#slices = slices;
    this.config = {
      name: 'config',
      snapshot: async (prefix) => snapshotOf(ports, prefix),
      get: async (key) => {
        const parsed = parseKey('config', key);
        if (parsed?.kind === 'network') return documents.get(key);
        if (parsed?.kind === 'claim' && parsed.what === 'vsid') return (await this.#vsidClaims()).get(key);
        throw new WeftError('WEFT_ERR_MODEL_KEY', `Cannot find ${key}: it is not copied`, { key });
      },
    };
    this.mapping = { snapshot: async (prefix) => snapshotOf(bindings, prefix) };
  }

  /**
   * Ports before documents, so that a document is at least as new as the sequence that ports are swept by; bindings last, as they are judged by both.
   * @throws What `Bucket.snapshot` throws.
   */
  static async read(store: Store, slices: SliceClock): Promise<StoreCopy> {
    const ports = await readingOf(await store.config.snapshot(configPrefix.allPorts, SLOWLY), slices);
    const { entries } = await store.config.snapshot(configPrefix.networks, SLOWLY);
    const bindings = await readingOf(await store.mapping.snapshot('', SLOWLY), slices);
    return new StoreCopy(store, slices, ports, await byKey(entries, slices), bindings);
  }

  /** Read when the first is asked for: whoever knew its networks before a restart needs none. A claim stands before the document that rests on it. */
  #vsidClaims(): Promise<ReadonlyMap<string, Entry>> {
    this.#claims ??= this.#store.config.snapshot(configPrefix.vsidClaims, SLOWLY).then(({ entries }) => byKey(entries, this.#slices));
    return this.#claims;
  }
}

async function readingOf({ entries, ...head }: Snapshot, slices: SliceClock): Promise<Reading> {
  const byPrefix = new Map<string, Entry[]>();
  const add = (entry: Entry): void => {
    const prefix = prefixOf(entry.key);
    const known = byPrefix.get(prefix);
    if (known === undefined) byPrefix.set(prefix, [entry]);
    else known.push(entry);
  };
  await inSlices(entries, add, slices);
  return { ...head, byPrefix };
}

/** The prefix by which a network's session asks for such keys. */
function prefixOf(key: string): string {
  const [first = '', second = ''] = key.split('.');
  return first === configPrefix.allPorts ? `${first}.${second}` : first;
}

function snapshotOf({ byPrefix, ...head }: Reading, prefix: string): Snapshot {
  return { ...head, entries: byPrefix.get(prefix) ?? [] };
}

async function byKey(entries: readonly Entry[], slices: SliceClock): Promise<Map<string, Entry>> {
  const found = new Map<string, Entry>();
  await inSlices(entries, (entry) => void found.set(entry.key, entry), slices);
  return found;
}
