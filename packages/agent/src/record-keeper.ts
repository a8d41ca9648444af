import { type Entry, openChange } from '@weft/bus';
import type { CommittedRecord, TrustStore } from '@weft/model';
import type { NetworkRecord, NetworkView } from '@weft/tables';
import { nextTurn } from './limiter.ts';
import type { TrustFeed } from './trust-feed.ts';
import { judge } from './verify.ts';

/** A record that stands in the store, judged (`kind: 'refused'` if it is not believed), and its bytes. */
export interface StandingRecord {
  readonly record: NetworkRecord;
  readonly envelope: Uint8Array;
}

export interface RecordKeeperComponents {
  readonly view: NetworkView;
  readonly trust: TrustStore;
  readonly trustFeed: TrustFeed;
  /** Something that stands in the store is refused. */
  readonly onRefused: (key: string, code: string, reason: string) => void;
}

/** One network's records as signed: what is kept on disk, and what need not be verified twice. */
export class RecordKeeper {
  /** The last envelopes, by bucket and key. */
  readonly envelopes: Map<string, CommittedRecord> = new Map();
  /** Records may have changed since they were last saved. */
  dirty = false;
  readonly #on: RecordKeeperComponents;
  readonly #known = new WeakMap<CommittedRecord, NetworkRecord>();

  constructor(components: RecordKeeperComponents) {
    this.#on = components;
  }

  keep(record: NetworkRecord, envelope: Uint8Array): void {
    const { bucket, key, revision, bucketCreatedUnixMs } = record;
    const name = `${bucket}/${key}`;
    if (this.envelopes.get(name)?.revision === revision && this.envelopes.get(name)?.bucketCreatedUnixMs === bucketCreatedUnixMs) return;
    const kept = { bucket, key, revision, bucketCreatedUnixMs, envelope };
    this.envelopes.set(name, kept);
    this.#known.set(kept, record);
    this.dirty = true;
  }

  /** Forgets a record. @returns What it was, and who signed it. */
  drop(bucket: 'config' | 'mapping', key: string): { readonly revision: number | undefined; readonly signer: string } {
    const held = this.envelopes.get(`${bucket}/${key}`);
    this.envelopes.delete(`${bucket}/${key}`);
    this.dirty = true;
    return { revision: held?.revision, signer: held === undefined ? 'an unknown key' : openChange(held.envelope).signer };
  }

  /** After a snapshot: keeps what of it is in force, forgets what it should have and lacks. */
  takeSnapshot(head: { readonly bucket: 'config' | 'mapping'; readonly atSequence: number }, records: readonly StandingRecord[]): void {
    const present = new Set<string>();
    for (const { record, envelope } of records) {
      present.add(`${record.bucket}/${record.key}`);
      if (record.kind !== 'refused' && this.#on.view.position(record.bucket, record.key)?.revision === record.revision)
        this.keep(record, envelope);
    }
    for (const [key, { bucket, revision }] of this.envelopes) {
      if (bucket === head.bucket && revision <= head.atSequence && !present.has(key)) this.envelopes.delete(key);
    }
  }

  /** Judges what stands in the store. What is not believed is told, and comes back as refused. */
  async judgeAll(bucket: 'config' | 'mapping', createdUnixMs: number, entries: readonly Entry[]): Promise<StandingRecord[]> {
    const { trust, view, trustFeed } = this.#on;
    let refreshed = false;
    const records: StandingRecord[] = [];
    for (const [i, entry] of entries.entries()) {
      // A signature takes some 100 µs: events and requests are served in between.
      if (i % 100 === 99) await nextTurn();
      const known = this.#knownAs(bucket, createdUnixMs, entry);
      if (known !== undefined) {
        records.push(known);
        continue;
      }
      let judged = judge(bucket, createdUnixMs, entry, trust, view);
      if (!judged.ok && judged.curable && !refreshed) {
        refreshed = true;
        await trustFeed.refresh();
        judged = judge(bucket, createdUnixMs, entry, trust, view);
      }
      if (judged.ok) records.push({ record: judged.record, envelope: entry.value });
      else {
        this.#on.onRefused(entry.key, judged.code, judged.reason);
        records.push({ record: { kind: 'refused', ...judged.position }, envelope: entry.value });
      }
    }
    return records;
  }

  /** What is in force already needs no second verification. */
  #knownAs(bucket: 'config' | 'mapping', createdUnixMs: number, { key, revision, value }: Entry): StandingRecord | undefined {
    const held = this.envelopes.get(`${bucket}/${key}`);
    if (held?.revision !== revision || held.bucketCreatedUnixMs !== createdUnixMs || Buffer.compare(held.envelope, value) !== 0)
      return undefined;
    const record = this.#known.get(held);
    return record === undefined ? undefined : { record, envelope: held.envelope };
  }
}
