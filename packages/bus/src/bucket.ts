import { headers } from '@nats-io/transport-node';
import { type BucketName, hasCode, WeftError } from '@weft/model';
import type { Bucket, CallOptions, Entry, Snapshot, SnapshotOptions, Subscription, WatchHandlers, WriteOutcome } from './api.ts';
import { type Feed, openFeed } from './feed.ts';
import { followStream } from './follow.ts';
import {
  deleteMessage,
  insist,
  isTransient,
  JsError,
  lastMessage,
  nextMessage,
  refusedWith,
  type StreamInfo,
  streamInfo,
  unixMs,
  whenConnectedWithin,
} from './js-api.ts';
import type { Link } from './link.ts';

// A bucket is the JetStream stream KV_<name> in the layout of NATS's own key-value buckets (ADR-8), so that `nats kv` can read it.
// Reads go through the stream's leader; writes are CAS on the key's last revision.

const DEFAULT_TIMEOUT_MS = 5_000;
const SNAPSHOT_HEARTBEAT_MS = 500;
const WATCH_HEARTBEAT_MS = 1_000;

const decoder = new TextDecoder();

export class JetStreamBucket implements Bucket {
  readonly name: BucketName;
  readonly #link: Link;
  readonly #stream: string;
  #bucketCreatedUnixMs: number;

  constructor(link: Link, name: BucketName, info: StreamInfo) {
    this.#link = link;
    this.name = name;
    this.#stream = streamName(name);
    this.#bucketCreatedUnixMs = unixMs(info.created);
  }

  get bucketCreatedUnixMs(): number {
    return this.#bucketCreatedUnixMs;
  }

  async get(key: string, options: CallOptions = {}): Promise<Entry | undefined> {
    const message = await this.#insist(options, (timeoutMs) =>
      lastMessage(this.#link, this.#stream, this.#subject(key), timeoutMs, options.signal),
    );
    return message === undefined ? undefined : { key, revision: message.sequence, value: message.data };
  }

  async snapshot(prefix: string, options: SnapshotOptions = {}): Promise<Snapshot> {
    return await this.#insist(options, async (timeoutMs) => {
      // The sequence is read before the consumer is made, so whatever key had a revision <= it then is in what follows, or gone.
      const info = await this.#info(timeoutMs, options.signal);
      const after = options.after ?? 0;
      const entries = info.state.last_seq <= after && after > 0 ? [] : await this.#collect(prefix, options, timeoutMs);
      return { entries, atSequence: info.state.last_seq, bucketCreatedUnixMs: this.#bucketCreatedUnixMs };
    });
  }

  async create(key: string, value: Uint8Array, options: CallOptions = {}): Promise<WriteOutcome> {
    return await this.put(key, value, 0, options);
  }

  async put(key: string, value: Uint8Array, expectedRevision: number, options: CallOptions = {}): Promise<WriteOutcome> {
    const deadline = performance.now() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    let doubtful = false;
    for (;;) {
      try {
        const revision = await this.#publish(key, value, expectedRevision, options);
        return { status: 'committed', revision };
      } catch (error) {
        if (refusedWith(error, JsError.WrongLastSequence)) return await this.#resolve(key, value, doubtful, options, deadline);
        if (refusedWith(error, JsError.StreamNotFound)) throw missing(this.name);
        if (!isTransient(error)) throw error;
        const unsent = hasCode(error, 'WEFT_ERR_BUS_DISCONNECTED') && error.details.sent === false;
        if (unsent && !doubtful) throw error;
        // Sent, but not answered: it may have been written, or may be written yet. CAS makes it safe to send again.
        doubtful ||= !hasCode(error, 'WEFT_ERR_BUS_NO_RESPONDER');
        if (!doubtful && performance.now() >= deadline) throw error;
      }
      options.signal?.throwIfAborted();
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return { status: 'unknown', reason: `no acknowledgement for ${this.name} ${key} in time` };
      if (this.#link.state.state === 'connected') await new Promise((resolve) => setTimeout(resolve, Math.min(100, leftMs)));
      else await whenConnectedWithin(this.#link, leftMs, options.signal);
    }
  }

  async purge(key: string, revision: number): Promise<void> {
    // Oldest first: were the newest gone first, an overwritten value would come to light for a moment. What was written since stays.
    const subject = this.#subject(key);
    await this.#insist({}, async (timeoutMs) => {
      for (let from = 1; ; ) {
        const next = await nextMessage(this.#link, this.#stream, subject, from, timeoutMs);
        if (next === undefined || next.sequence > revision) return;
        await deleteMessage(this.#link, this.#stream, next.sequence, timeoutMs);
        from = next.sequence + 1;
      }
    });
  }

  async *follow(options: { fromRevision: number; signal: AbortSignal }): AsyncIterable<Entry> {
    for await (const message of followStream(this.#link, this.#stream, this.#filter(''), options.fromRevision, options.signal)) {
      // Markers that other tools leave (`nats kv del`) have no value.
      if (message.data.length > 0) yield this.#entry(message.subject, message.sequence, message.data);
    }
  }

  watch(prefix: string, handlers: WatchHandlers, options: { readonly heartbeatMs?: number } = {}): Subscription {
    const stopping = new AbortController();
    const ended = this.#watch(prefix, handlers, options.heartbeatMs ?? WATCH_HEARTBEAT_MS, stopping.signal);
    return {
      async stop() {
        stopping.abort();
        await ended;
      },
    };
  }

  async status(): Promise<{ lastSequence: number; count: number; bucketCreatedUnixMs: number; consumers: number }> {
    const info = await this.#insist({}, (timeoutMs) => this.#info(timeoutMs));
    const { last_seq: lastSequence, messages: count, consumer_count: consumers } = info.state;
    return { lastSequence, count, bucketCreatedUnixMs: this.#bucketCreatedUnixMs, consumers };
  }

  /** Learns again when the bucket was made; after a reconnect, for it may be another one. */
  async refresh(): Promise<void> {
    await this.#insist({}, (timeoutMs) => this.#info(timeoutMs));
  }

  async #watch(prefix: string, handlers: WatchHandlers, heartbeatMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#link.closed) {
      try {
        await this.#link.whenConnected(signal);
        await this.#watchOnce(prefix, handlers, heartbeatMs, signal);
      } catch (error) {
        if (signal.aborted || this.#link.closed) return;
        this.#link.logger.warn({ bucket: this.name, prefix, error: (error as Error).message }, 'watch failed; starting it anew');
        await new Promise((resolve) => setTimeout(resolve, 200 + this.#link.random() * 200));
      }
    }
  }

  async #watchOnce(prefix: string, handlers: WatchHandlers, heartbeatMs: number, signal: AbortSignal): Promise<void> {
    const info = await this.#info(this.#link.requestTimeoutMs, signal);
    let initial: Entry[] | undefined = [];
    let lose: (reason: string) => void = () => {};
    const lost = new Promise<string>((resolve) => {
      lose = resolve;
    });
    const feed = await openFeed(
      this.#link,
      {
        stream: this.#stream,
        filter: this.#filter(prefix),
        start: 'last-per-subject',
        heartbeatMs,
        onMessage: (message) => {
          const entry = this.#entry(message.subject, message.sequence, message.data);
          if (initial !== undefined) initial.push(entry);
          else handlers.onEntry(entry);
        },
        onCaughtUp: () => {
          const entries = newestOf(initial ?? []);
          initial = undefined;
          handlers.onSnapshot({ entries, atSequence: info.state.last_seq, bucketCreatedUnixMs: this.#bucketCreatedUnixMs });
        },
        onLost: lose,
      },
      this.#link.requestTimeoutMs,
      signal,
    );
    const abort = (): void => lose('stopped');
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    const reason = await lost;
    signal.removeEventListener('abort', abort);
    await feed.stop();
    if (!signal.aborted) this.#link.logger.info({ bucket: this.name, prefix, reason }, 'watch lost; resyncing');
  }

  async #collect(prefix: string, { after = 0, bytesPerSecond, signal }: SnapshotOptions, timeoutMs: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    let opening: Promise<Feed> | undefined;
    let abort: () => void = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        abort = () => reject(signal?.reason);
        signal?.addEventListener('abort', abort, { once: true });
        opening = openFeed(
          this.#link,
          {
            stream: this.#stream,
            filter: this.#filter(prefix),
            start: after > 0 ? { fromSequence: after + 1 } : 'last-per-subject',
            bytesPerSecond,
            heartbeatMs: SNAPSHOT_HEARTBEAT_MS,
            onMessage: (message) => entries.push(this.#entry(message.subject, message.sequence, message.data)),
            onCaughtUp: resolve,
            onLost: (reason) => reject(new WeftError('WEFT_ERR_BUS_TIMEOUT', `Snapshot of ${this.name} "${prefix}" broke off: ${reason}`)),
          },
          timeoutMs,
          signal,
        );
        opening.catch(reject);
      });
      return newestOf(entries);
    } finally {
      signal?.removeEventListener('abort', abort);
      // All may be told before `openFeed` has returned.
      void opening?.then(
        (feed) => feed.stop(),
        () => {},
      );
    }
  }

  async #publish(key: string, value: Uint8Array, expectedRevision: number, options: CallOptions): Promise<number> {
    const condition = headers();
    condition.set('Nats-Expected-Last-Subject-Sequence', String(expectedRevision));
    const timeoutMs = Math.min(options.timeoutMs ?? DEFAULT_TIMEOUT_MS, this.#link.requestTimeoutMs);
    const answer = await this.#link.request(this.#subject(key), value, { headers: condition, timeoutMs, signal: options.signal });
    return readAck(answer, `${this.name} ${key}`).sequence;
  }

  /** After a refused CAS: whose write stands there? After a doubtful attempt it may be our own. */
  async #resolve(key: string, value: Uint8Array, doubtful: boolean, options: CallOptions, deadline: number): Promise<WriteOutcome> {
    const timeoutMs = Math.max(500, deadline - performance.now());
    try {
      const entry = await this.get(key, { ...options, timeoutMs });
      if (doubtful && entry !== undefined && Buffer.compare(entry.value, value) === 0)
        return { status: 'committed', revision: entry.revision };
      return { status: 'conflict', revision: entry?.revision ?? 0 };
    } catch (error) {
      if (!isTransient(error)) throw error;
      return doubtful
        ? { status: 'unknown', reason: `another value may stand under ${this.name} ${key}; it could not be read` }
        : { status: 'conflict', revision: 0 };
    }
  }

  async #info(timeoutMs: number, signal?: AbortSignal): Promise<StreamInfo> {
    const info = await streamInfo(this.#link, this.#stream, timeoutMs, signal);
    const created = unixMs(info.created);
    if (created !== this.#bucketCreatedUnixMs) {
      this.#link.logger.error(
        { bucket: this.name, was: this.#bucketCreatedUnixMs, is: created },
        'the bucket is another one than before: the store was lost',
      );
      this.#bucketCreatedUnixMs = created;
    }
    return info;
  }

  async #insist<T>(options: CallOptions, call: (timeoutMs: number) => Promise<T>): Promise<T> {
    try {
      return await insist(this.#link, options.timeoutMs ?? DEFAULT_TIMEOUT_MS, options.signal, call);
    } catch (error) {
      if (refusedWith(error, JsError.StreamNotFound)) throw missing(this.name);
      throw error;
    }
  }

  #subject(key: string): string {
    if (!/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(key)) {
      throw new WeftError(
        'WEFT_ERR_MODEL_KEY',
        `Cannot use ${JSON.stringify(key)} as a key: must be letters, digits, _ and - in tokens parted by dots`,
        { key },
      );
    }
    return `$KV.${this.name}.${key}`;
  }
  #filter(prefix: string): string {
    return prefix === '' ? `$KV.${this.name}.>` : `${this.#subject(prefix)}.>`;
  }
  #entry(subject: string, revision: number, value: Uint8Array): Entry {
    return { key: subject.slice(`$KV.${this.name}.`.length), revision, value };
  }
}

export function streamName(bucket: BucketName): string {
  return `KV_${bucket}`;
}

export function missing(bucket: string): WeftError {
  return new WeftError(
    'WEFT_ERR_BUS_BUCKET_MISSING',
    `The bucket "${bucket}" does not exist: was the installation initialised on this NATS?`,
    { bucket },
  );
}

/** @throws {WeftError} `WEFT_ERR_BUS_API` for a refusal. */
export function readAck(bytes: Uint8Array, what: string): { sequence: number; duplicate: boolean } {
  const answer = JSON.parse(decoder.decode(bytes)) as {
    seq?: number;
    duplicate?: boolean;
    error?: { code: number; err_code?: number; description?: string };
  };
  if (answer.error !== undefined) {
    const { code, err_code: errCode, description } = answer.error;
    throw new WeftError('WEFT_ERR_BUS_API', `NATS refused to write ${what}: ${description ?? 'no reason given'} (${errCode ?? code})`, {
      code,
      errCode,
    });
  }
  if (answer.seq === undefined) throw new WeftError('WEFT_ERR_BUS_API', `NATS's answer to writing ${what} holds no sequence`);
  return { sequence: answer.seq, duplicate: answer.duplicate === true };
}

/** A key overwritten while the snapshot was under way comes twice; the newer one counts. */
function newestOf(entries: readonly Entry[]): Entry[] {
  const newest = new Map<string, Entry>();
  for (const entry of entries) newest.set(entry.key, entry);
  return [...newest.values()];
}
