import type { Bus, BusLogger, Identity, RecordEntry, Store } from '@weft/bus';
import { type TrustStore, WeftError, type WeftRecord } from '@weft/model';

/** What a controller is made of. */
export interface ControllerComponents {
  readonly bus: Bus;
  readonly store: Store;
  /** Signs what the controller commits; its principal must have the role `controller`. */
  readonly identity: Identity;
  /** Kept up to date by its owner. */
  readonly trust: TrustStore;
  /** Brings `trust` up to date now: called, at most once a second, before a key that nobody knows is refused. */
  readonly refreshTrust?: () => Promise<void>;
  readonly logger: BusLogger;
  readonly clock: ControllerClock;
  /** 0..1, for jitter. */
  readonly random: () => number;
}

export interface ControllerClock {
  /** Unix ms: for records, and the age of requests. */
  now(): number;
  /** ms that only rise: for deadlines. */
  monotonic(): number;
}

export const systemClock: ControllerClock = { now: () => Date.now(), monotonic: () => performance.now() };

/** The request on whose behalf something is written. */
export interface Author {
  /** Public key of who asked. */
  readonly key: string;
  readonly name: string;
  readonly requestId: string;
  /** Of a request that is resumed: from when on, Unix ms, documents that bear its id are its own. An id may come again a quarter of an hour later. */
  readonly resumedSinceMs?: number;
}

/** Whether the first controller of a resumed request wrote the document: it counts as not yet changed, so that it is checked, or undone, with the rest. */
export function isOwn({ requestId, resumedSinceMs }: Author, { change }: RecordEntry): boolean {
  return resumedSinceMs !== undefined && change.requestId === requestId && change.timeUnixMs >= resumedSinceMs;
}

/** What a document is taken for in planning. */
export function plannedFrom(author: Author, entry: RecordEntry): WeftRecord | undefined {
  return isOwn(author, entry) ? entry.change.before : entry.record;
}

/** In whose name documents are put back: such a one is as it was before the request. */
export function undoing(author: Author): Author {
  return { ...author, requestId: `${author.requestId}/undo` };
}

/** Someone else was faster, or is in the middle: read everything anew and plan again. */
export class Retry extends Error {
  override readonly name = 'Retry';
}

/**
 * Whether a failure leaves a request half done: NATS failed, so neither what was written nor whether can be told, and undoing would fail too.
 * Such a request is resumed; every other is undone.
 */
export function isBusFailure(error: unknown): boolean {
  return error instanceof WeftError && (error.code.startsWith('WEFT_ERR_BUS_') || error.code === 'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME');
}

/** Runs up to `limit` at once, in order of start. The first error ends it, once those under way have ended. */
export async function mapLimit<T, R>(items: readonly T[], limit: number, work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  let failure: { error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    while (next < items.length && failure === undefined) {
      const i = next++;
      try {
        results[i] = await work(items[i]!, i);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failure !== undefined) throw failure.error;
  return results;
}
