import type { BucketName, Change, Command, CommittedRecord, NetworkDigest, Request, Response, WeftError, WeftRecord } from '@weft/model';
import type { Identity } from './identity.ts';

// The public shapes of the bus. Everything here can be faked: nothing mentions @nats-io.

/** Takes pino as it is. */
export interface BusLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface BusInit {
  /** `nats://127.0.0.1:4222`, one or more. */
  readonly servers: string | readonly string[];
  /** Connection name: `weft-agent host-a`. Shown by NATS's own tools. */
  readonly name: string;
  readonly logger?: BusLogger;
  /** How NATS itself is told who we are. Default: not at all. */
  readonly authentication?: BusAuthentication;
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string };
  /** Time for one answer of NATS. Default 2,000 ms. */
  readonly requestTimeoutMs?: number;
  /** Default 2,000 ms; two unanswered pings are a lost connection. */
  readonly pingIntervalMs?: number;
  /** Wait before each new attempt, jittered by +0..50 %. Default 250 ms. */
  readonly reconnectWaitMs?: number;
  /** Unix ms. Default Date.now. */
  readonly now?: () => number;
  /** 0..1. Default Math.random. */
  readonly random?: () => number;
}

export type BusAuthentication =
  | { readonly kind: 'nkey'; readonly identity: Identity }
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  | { readonly kind: 'token'; readonly token: string };

export interface BusState {
  readonly state: 'connected' | 'disconnected';
  /** Unix ms: since when. */
  readonly sinceMs: number;
  /** Why not connected; empty when connected. */
  readonly reason: string;
  /** Server connected to, and its version; empty before the first. */
  readonly server: string;
  readonly serverVersion: string;
}

/** What the server can do; what is weaker is in docs/limits.md. */
export interface ServerCapabilities {
  readonly version: string;
  /** 2.10: an option to sync each write to disk before it is acknowledged. Before: every 60 s; a power cut loses acknowledged writes. */
  readonly syncAlways: boolean;
  /** 2.10 */
  readonly multiFilterConsumers: boolean;
  /** 2.11 */
  readonly messageTtl: boolean;
  /** 2.12 */
  readonly atomicBatch: boolean;
}

export interface Bus {
  readonly state: BusState;
  /** Capabilities of the server connected to last; undefined before the first connection. */
  readonly capabilities: ServerCapabilities | undefined;
  /** Called on each change, at once with the present state. Returns the way to stop. */
  onState(handler: (state: BusState) => void): () => void;
  /** Resolves when connected (at once if so). */
  whenConnected(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Opens the buckets, the audit stream and the NAT log.
   * @throws {WeftError} `WEFT_ERR_BUS_BUCKET_MISMATCH`, `WEFT_ERR_BUS_BUCKET_MISSING` (with `create: false`), `WEFT_ERR_BUS_TIMEOUT`.
   */
  open(options: OpenOptions): Promise<Store>;
  /** Core NATS: records just committed to this network's config and mapping. Handlers see verified shape, not yet trust. */
  onEvents(routingDomainId: string, handler: EventHandler): Subscription;
  onHostEvents(handler: EventHandler): Subscription;
  /** Gateways and their assignments, of every group. */
  onGatewayEvents(handler: EventHandler): Subscription;
  publishCommitted(record: CommittedRecord): void;
  onDigest(routingDomainId: string, handler: (digest: NetworkDigest, signer: string) => void): Subscription;
  /** Signs and sends; dropped without error when disconnected. */
  publishDigest(digest: NetworkDigest, identity: Identity): void;
  /** What others said of a gateway group's ownership, on one channel. Bytes as they came: integrity lies in the signatures inside them. */
  onOwnership(channel: OwnershipChannel, gatewayId: string, handler: (message: Uint8Array) => void): Subscription;
  /** Sends at once, or not at all: what is said late about ownership is worth nothing. @returns False when disconnected. */
  publishOwnership(channel: OwnershipChannel, gatewayId: string, message: Uint8Array): boolean;
  /**
   * Signs and sends a command, verifies the answer's signature and that it answers this request.
   * @throws {WeftError} `WEFT_ERR_BUS_DISCONNECTED` (nothing was sent), `_TIMEOUT` (unknown whether carried out), `_NO_RESPONDER`,
   *   `WEFT_ERR_TRUST_SIGNATURE`, what `mayAnswer` refuses.
   */
  request(target: string, command: Command, options: RequestOptions): Promise<Answer>;
  /** Serves a target: `controller` (all that serve it share the load) or a host id. */
  serve(target: string, init: ServeInit): Subscription;
  /** Drains and closes; idempotent. */
  close(): Promise<void>;
}

/** `ballots`: between voters and members. `grants`: from owners to hosts. */
export type OwnershipChannel = 'ballots' | 'grants';

export interface OpenOptions {
  /** 1 (embedded) or 3 (clustered). Without `create`, what is there is taken as it is. */
  readonly replicas: 1 | 3;
  /** Make what is missing. Default true. */
  readonly create?: boolean;
  /** How long the NAT log is kept. Default: as it is, 90 days when it is made. */
  readonly natLogDays?: number;
}

export interface Store {
  readonly config: Bucket;
  readonly mapping: Bucket;
  readonly hosts: Bucket;
  readonly gateways: Bucket;
  bucket(name: BucketName): Bucket;
  readonly audit: AuditStream;
  /** Who had which block of external ports, when: signed NatLogRecords under `subjects.natLog`. */
  readonly natLog: LogStream;
}

/** One value of a bucket as stored. */
export interface Entry {
  readonly key: string;
  readonly revision: number;
  /** The SignedEnvelope. */
  readonly value: Uint8Array;
}

/** All of a key prefix, at least as new as `atSequence`. What one knows with a revision <= `atSequence` and is not here is gone. */
export interface Snapshot {
  readonly entries: readonly Entry[];
  readonly atSequence: number;
  readonly bucketCreatedUnixMs: number;
}

export type WriteOutcome =
  | { readonly status: 'committed'; readonly revision: number }
  /** Another write came first. `revision`: what stands there now; 0: nothing. */
  | { readonly status: 'conflict'; readonly revision: number }
  /** NATS did not say within the time, nor answer a re-read: written or not. Repeat the same call later to learn. */
  | { readonly status: 'unknown'; readonly reason: string };

export interface Bucket {
  readonly name: BucketName;
  readonly bucketCreatedUnixMs: number;
  /** Through the stream's leader: never older than an acknowledged write. */
  get(key: string, options?: CallOptions): Promise<Entry | undefined>;
  /** `prefix` ends at a token: `port.<rdid>` means keys below it; '' is the whole bucket. */
  snapshot(prefix: string, options?: SnapshotOptions): Promise<Snapshot>;
  /** CAS on `expectedRevision` (0: must not exist). A timeout is resolved by re-reading; the same bytes found there count as this write. */
  put(key: string, value: Uint8Array, expectedRevision: number, options?: CallOptions): Promise<WriteOutcome>;
  /** `put` with 0. */
  create(key: string, value: Uint8Array, options?: CallOptions): Promise<WriteOutcome>;
  /** Removes the key and its tombstone if its revision is still `revision`; idempotent. */
  purge(key: string, revision: number): Promise<void>;
  /**
   * Every write to the bucket from `fromRevision` on, in order, without end: also those that were overwritten since, as far as the bucket's
   * history reaches (the last 10 of a key). Purged keys are not told. Ends when the signal aborts.
   */
  follow(options: { readonly fromRevision: number; readonly signal: AbortSignal }): AsyncIterable<Entry>;
  /** For few, central readers: resyncs by itself, also when its consumer is lost on the server. */
  watch(prefix: string, handlers: WatchHandlers, options?: { readonly heartbeatMs?: number }): Subscription;
  status(): Promise<{
    readonly lastSequence: number;
    readonly count: number;
    readonly bucketCreatedUnixMs: number;
    readonly consumers: number;
  }>;
}

export interface CallOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface SnapshotOptions extends CallOptions {
  /**
   * Only keys written after this sequence, tombstones among them: what was read before and is not here stands as it stood, unless it was purged since. Default 0: everything.
   * A bucket that was made anew counts from 1 again; so only with the `bucketCreatedUnixMs` of the reading before.
   */
  readonly after?: number;
  /** No faster than this, so that many keys leave the reader time for other things. Default: as fast as it goes. */
  readonly bytesPerSecond?: number;
}

export interface WatchHandlers {
  /** At start and after each resync: everything. */
  onSnapshot(snapshot: Snapshot): void;
  onEntry(entry: Entry): void;
}

/** A stream of records that only grows. */
export interface LogStream {
  /** Once per id: a second append with the same id, within the stream's life, is dropped by readers and by NATS. */
  append(subject: string, id: string, value: Uint8Array): Promise<{ readonly sequence: number; readonly duplicate: boolean }>;
  /** Messages from `fromSequence` on (1: all), at most `limit`, in order. */
  read(options: { readonly fromSequence: number; readonly limit: number; readonly subject?: string }): Promise<readonly LogMessage[]>;
  /** Follows the stream; ends when the signal aborts. Survives reconnects and lost consumers. */
  follow(options: { readonly fromSequence: number; readonly signal: AbortSignal; readonly subject?: string }): AsyncIterable<LogMessage>;
  lastSequence(): Promise<number>;
  /** The last message of a subject. */
  last(subject: string): Promise<LogMessage | undefined>;
}
export interface LogMessage {
  readonly sequence: number;
  readonly id: string;
  readonly value: Uint8Array;
}

export type AuditStream = LogStream;
export type AuditMessage = LogMessage;

export interface Subscription {
  stop(): Promise<void>;
}

export type EventHandler = (event: CommittedRecord) => void;

export interface RequestOptions {
  readonly identity: Identity;
  /** Default: made at random. */
  readonly requestId?: string;
  /** Default 10,000 ms. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Judges the answer's signer: `trust.mayAnswer`. Default: any key whose signature holds. */
  readonly mayAnswer?: (target: string, signer: string) => WeftError | undefined;
}
export interface Answer {
  readonly response: Response;
  readonly signer: string;
}

export interface ServeInit {
  readonly identity: Identity;
  /** Signature, target and time have been checked; whether the signer may is the handler's to judge. Throwing a WeftError answers it as a problem. */
  readonly handler: (request: IncomingRequest) => Promise<HandlerResult>;
  readonly logger?: BusLogger;
  /** Simultaneous requests beyond this wait. Default 8. */
  readonly maxConcurrent?: number;
}
export interface IncomingRequest {
  readonly request: Request;
  readonly signer: string;
  /** The SignedEnvelope as received. */
  readonly envelope: Uint8Array;
}
export type HandlerResult = Pick<Response, 'problems' | 'result'>;

/** A change read back from a bucket or an event: signature verified, shape checked, trust not yet judged. */
export interface VerifiedChange {
  readonly change: Change;
  readonly signer: string;
}

/** A record to commit under a key. */
export interface CommitInit {
  readonly bus: Bus;
  readonly bucket: Bucket;
  readonly identity: Identity;
  readonly key: string;
  readonly tenant: string;
  /** What stands there now, as read; undefined: nothing. A tombstone counts as what stands there. */
  readonly current: RecordEntry | undefined;
  /** The new value; undefined deletes (a signed tombstone). */
  readonly after: WeftRecord | undefined;
  readonly authorKey: string;
  readonly authorName: string;
  readonly requestId: string;
  readonly nowMs: number;
  /** Called once the write is acknowledged, before others are told: what they do upon it should find the writer ready. Must not throw. */
  readonly beforeAnnounce?: (entry: RecordEntry) => void;
}

/** A bucket entry, decoded and its signature verified. */
export interface RecordEntry extends VerifiedChange {
  readonly key: string;
  readonly revision: number;
  readonly envelope: Uint8Array;
  /** The record; undefined for a tombstone. */
  readonly record: WeftRecord | undefined;
}
