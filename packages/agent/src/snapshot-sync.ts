import type { Bucket } from '@weft/bus';
import type { TableChange } from '@weft/forwarding';
import { configKey, configPrefix, mappingPrefix, type TrustStore } from '@weft/model';
import type { NetworkRecord, NetworkSnapshot, NetworkView } from '@weft/tables';
import type { ClaimChecker } from './claims.ts';
import type { AgentClock } from './components.ts';
import { nextTurn } from './limiter.ts';
import type { RecordKeeper, StandingRecord } from './record-keeper.ts';

/** Records applied without a pause: some 50 ms. */
const PIECE = 1_000;

/** What a network is read from: the store, or a copy of what it has of many networks. */
export interface NetworkSource {
  readonly config: Pick<Bucket, 'name' | 'get' | 'snapshot'>;
  readonly mapping: Pick<Bucket, 'snapshot'>;
}

type AskedBucket = Pick<NetworkSnapshot, 'askedAtRevision' | 'askedAtHint'>;

/** How far a network's view was before it was read: what it had by then must be in what is read. */
export interface Asked {
  readonly config: AskedBucket;
  readonly mapping: AskedBucket;
}

export interface SnapshotSyncComponents {
  readonly rdid: string;
  readonly view: NetworkView;
  readonly keeper: RecordKeeper;
  readonly claims: ClaimChecker;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  readonly isStopped: () => boolean;
  readonly give: (changes: readonly TableChange[]) => void;
  readonly onRefused: (key: string, code: string, reason: string) => void;
  /** The snapshot was taken. `isNew`: it had something that was not known, or lacked something that was. */
  readonly onApplied: (bucket: 'config' | 'mapping', isNew: boolean) => void;
  /** The store is not believed, and why. */
  readonly onStoreLost: (what: string) => void;
}

/** Reads all that the store has of one network, and sweeps: what it covers and lacks goes. */
export class SnapshotSync {
  readonly #on: SnapshotSyncComponents;

  constructor(components: SnapshotSyncComponents) {
    this.#on = components;
  }

  /**
   * Configuration first: bindings are judged by it.
   * @param asked Of a source that was read before: how far the view was before that. Default: it is read now.
   * @throws What `Bucket.snapshot` throws.
   */
  async run(store: NetworkSource, asked?: Asked): Promise<void> {
    const { view } = this.#on;
    await this.#config(store, asked?.config ?? view.askSnapshot('config'));
    await this.#mapping(store, asked?.mapping ?? view.askSnapshot('mapping'));
  }

  async #config(store: NetworkSource, asked: AskedBucket): Promise<void> {
    const { rdid, view, keeper, claims, trust, clock } = this.#on;
    // The snapshot first, then the document: so the document is at least as new as the sequence that the sweep goes by.
    const ports = await store.config.snapshot(configPrefix.ports(rdid));
    const document = await store.config.get(configKey.network(rdid));
    const entries = document === undefined ? ports.entries : [...ports.entries, document];
    const records = await keeper.judgeAll('config', ports.bucketCreatedUnixMs, entries);
    for (const { record } of records) {
      if (record.kind !== 'network' || record.value === undefined || claims.knows(record.value)) continue;
      await claims.read(record.value, store.config, trust);
    }
    if (this.#on.isStopped()) return;
    const { atSequence, bucketCreatedUnixMs } = ports;
    await this.#apply({ bucket: 'config', bucketCreatedUnixMs, atSequence, ...asked }, records);
    this.#on.give(view.setClaimedVsids(claims.allowed, clock.now()));
  }

  async #mapping(store: NetworkSource, asked: AskedBucket): Promise<void> {
    const { rdid, keeper } = this.#on;
    const { entries, atSequence, bucketCreatedUnixMs } = await store.mapping.snapshot(mappingPrefix(rdid));
    const records = await keeper.judgeAll('mapping', bucketCreatedUnixMs, entries);
    if (this.#on.isStopped()) return;
    await this.#apply({ bucket: 'mapping', bucketCreatedUnixMs, atSequence, ...asked }, records);
  }

  async #apply(
    head: Omit<NetworkSnapshot, 'records'> & { readonly bucket: 'config' | 'mapping' },
    records: readonly StandingRecord[],
  ): Promise<void> {
    const { rdid, view, keeper, clock } = this.#on;
    const snapshot = { ...head, records: records.map((one) => one.record) };
    if (records.length > PIECE && view.refusesSnapshot(snapshot) === undefined) await this.#applyInPieces(snapshot.records);
    if (this.#on.isStopped()) return;
    const result = view.applySnapshot(snapshot, clock.now());
    this.#on.give(result.changes);
    if (result.status !== 'applied') {
      const what = result.status === 'store-changed' ? 'is another one than before' : 'lacks records that were seen before';
      this.#on.onStoreLost(`bucket ${head.bucket} ${what}`);
      return;
    }
    this.#on.onApplied(head.bucket, result.applied + result.swept > 0);
    for (const key of result.disproved) {
      const { revision, signer } = keeper.drop(head.bucket, key);
      this.#on.onRefused(
        key,
        'WEFT_ERR_TRUST_KEY',
        `Cannot accept the record under ${head.bucket} ${key} that was announced at revision ${revision}: the store never had it; it was signed by ${signer}`,
      );
    }
    keeper.takeSnapshot(head, records);
    if (result.generationRefused > 0) {
      this.#on.onRefused(
        head.bucket,
        'WEFT_ERR_TRUST_KEY',
        `Cannot accept ${result.generationRefused} bindings of network ${rdid}: their generation does not rise`,
      );
    }
  }

  /** Events and requests, and NATS's pings, are served in between. */
  async #applyInPieces(records: readonly NetworkRecord[]): Promise<void> {
    for (let at = 0; at < records.length && !this.#on.isStopped(); at += PIECE) {
      for (const record of records.slice(at, at + PIECE)) this.#on.give(this.#on.view.apply(record, this.#on.clock.now()).changes);
      await nextTurn();
    }
  }
}
