import { type BusLogger, readEntry, type Store } from '@weft/bus';
import { auditCodec, BUCKETS, type BucketName, subjects, WeftError } from '@weft/model';
import { appendAudit } from './log.ts';
import { auditRecordOf } from './record.ts';

export interface AuditProjector {
  /** Highest revision projected, by bucket: everything up to it stands in the stream. */
  readonly projected: Readonly<Record<BucketName, number>>;
  stop(): Promise<void>;
}

/**
 * Appends to the audit stream whatever is committed to the buckets, from where the stream ends. Any number may run: each appends in the
 * order of the revisions, and the message id lets only the first stand.
 */
export function startAuditProjector(init: { readonly store: Store; readonly logger: BusLogger }): AuditProjector {
  const { store, logger } = init;
  const stopping = new AbortController();
  const projected: Record<BucketName, number> = { config: 0, mapping: 0, hosts: 0, gateways: 0 };
  const running = BUCKETS.map((name) => project(name));

  async function project(name: BucketName): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        const bucket = store.bucket(name);
        projected[name] = await highWater(store, name);
        for await (const entry of bucket.follow({ fromRevision: projected[name] + 1, signal: stopping.signal })) {
          try {
            const record = auditRecordOf(name, readEntry(name, entry), bucket.bucketCreatedUnixMs);
            if (record !== undefined) await appendAudit(store.audit, record);
          } catch (error) {
            // What can't be read is no record, whoever put it there; a bus that fails is tried again, from the same place.
            if (!(error instanceof WeftError) || !/^WEFT_ERR_(MODEL|TRUST)_/.test(error.code)) throw error;
            logger.error(
              { bucket: name, key: entry.key, revision: entry.revision, code: error.code, error: error.message },
              'a bucket holds what is no signed record',
            );
          }
          projected[name] = entry.revision;
        }
      } catch (error) {
        if (stopping.signal.aborted) return;
        logger.warn({ bucket: name, error: (error as Error).message }, 'the audit lags; trying on');
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  }

  return {
    projected,
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

/** The revision of the bucket up to which the stream is complete; 0 after the bucket was lost and made anew. */
async function highWater(store: Store, name: BucketName): Promise<number> {
  const last = await store.audit.last(subjects.audit(name));
  if (last === undefined) return 0;
  const record = auditCodec.decode(last.value);
  return record.bucketCreatedUnixMs === store.bucket(name).bucketCreatedUnixMs ? record.revision : 0;
}
