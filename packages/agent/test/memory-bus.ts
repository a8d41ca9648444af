import {
  type Answer,
  type Bucket,
  type Bus,
  type BusState,
  type Entry,
  type EventHandler,
  type Identity,
  type IncomingRequest,
  type OwnershipChannel,
  openEnvelope,
  type ServeInit,
  type Snapshot,
  type Store,
  type Subscription,
  signEnvelope,
  type WriteOutcome,
} from '@weft/bus';
import {
  type BucketName,
  type Command,
  type CommittedRecord,
  digestCodec,
  type NetworkDigest,
  parseKey,
  requestCodec,
  WeftError,
} from '@weft/model';

// A store and core NATS in memory, for agents in one process. Each agent has its own connection, which a test can cut; events can be lost.

export const CREATED = 1_700_000_000_000;

export class MemoryStore {
  readonly buckets: Record<BucketName, MemoryBucket>;
  readonly connections: MemoryBus[] = [];
  /** Decides, per event and connection, whether it arrives. */
  deliver: (event: CommittedRecord, to: MemoryBus) => boolean = () => true;
  readonly digests: { from: string; digest: NetworkDigest }[] = [];

  constructor(createdUnixMs = CREATED) {
    this.buckets = {
      config: new MemoryBucket('config', createdUnixMs),
      mapping: new MemoryBucket('mapping', createdUnixMs),
      hosts: new MemoryBucket('hosts', createdUnixMs),
      gateways: new MemoryBucket('gateways', createdUnixMs),
    };
  }

  connect(name: string, connected = true): MemoryBus {
    const bus = new MemoryBus(this, name, connected);
    this.connections.push(bus);
    return bus;
  }
}

export class MemoryBucket {
  readonly name: BucketName;
  createdUnixMs: number;
  sequence = 0;
  readonly values = new Map<string, Entry>();
  snapshots = 0;
  reads = 0;
  /** Called when a snapshot has been read, before the reader has it. */
  onSnapshot: (prefix: string) => Promise<void> = async () => {};

  constructor(name: BucketName, createdUnixMs: number) {
    this.name = name;
    this.createdUnixMs = createdUnixMs;
  }

  put(key: string, value: Uint8Array, expected: number): WriteOutcome {
    const found = this.values.get(key);
    if ((found?.revision ?? 0) !== expected) {
      if (found !== undefined && Buffer.compare(found.value, value) === 0) return { status: 'committed', revision: found.revision };
      return { status: 'conflict', revision: found?.revision ?? 0 };
    }
    const revision = ++this.sequence;
    this.values.set(key, { key, revision, value });
    return { status: 'committed', revision };
  }

  /** Past all rules: what an attacker with write access would do. */
  force(key: string, value: Uint8Array): number {
    const revision = ++this.sequence;
    this.values.set(key, { key, revision, value });
    return revision;
  }
}

export class MemoryBus implements Bus {
  readonly name: string;
  readonly #store: MemoryStore;
  #connected: boolean;
  readonly #stateHandlers = new Set<(state: BusState) => void>();
  readonly #events = new Map<string, Set<EventHandler>>();
  readonly #hostEvents = new Set<EventHandler>();
  readonly #gatewayEvents = new Set<EventHandler>();
  readonly #digests = new Map<string, Set<(digest: NetworkDigest, signer: string) => void>>();
  readonly #ownership = new Map<string, Set<(message: Uint8Array) => void>>();
  readonly #served = new Map<string, ServeInit>();
  /** What the next writes answer instead of being carried out normally. */
  writeFault: 'none' | 'lost' | 'unknown-but-written' = 'none';
  /** Writes are carried out no earlier. */
  writeGate: Promise<void> | undefined;

  constructor(store: MemoryStore, name: string, connected: boolean) {
    this.#store = store;
    this.name = name;
    this.#connected = connected;
  }

  readonly capabilities = undefined;

  get state(): BusState {
    return {
      state: this.#connected ? 'connected' : 'disconnected',
      sinceMs: 0,
      reason: this.#connected ? '' : 'cut by the test',
      server: 'memory',
      serverVersion: '2.9.10',
    };
  }

  setConnected(connected: boolean): void {
    if (this.#connected === connected) return;
    this.#connected = connected;
    for (const handler of this.#stateHandlers) handler(this.state);
  }

  onState(handler: (state: BusState) => void): () => void {
    this.#stateHandlers.add(handler);
    handler(this.state);
    return () => this.#stateHandlers.delete(handler);
  }

  async whenConnected(): Promise<void> {}

  async open(): Promise<Store> {
    this.#check();
    const bucket = (name: BucketName): Bucket => this.#bucket(name);
    return {
      config: bucket('config'),
      mapping: bucket('mapping'),
      hosts: bucket('hosts'),
      gateways: bucket('gateways'),
      bucket,
      // Nobody reads them here.
      audit: undefined as unknown as Store['audit'],
      natLog: undefined as unknown as Store['natLog'],
    };
  }

  onEvents(rdid: string, handler: EventHandler): Subscription {
    return register(this.#events, rdid, handler);
  }

  onHostEvents(handler: EventHandler): Subscription {
    this.#hostEvents.add(handler);
    return { stop: async () => void this.#hostEvents.delete(handler) };
  }

  onGatewayEvents(handler: EventHandler): Subscription {
    this.#gatewayEvents.add(handler);
    return { stop: async () => void this.#gatewayEvents.delete(handler) };
  }

  publishCommitted(record: CommittedRecord): void {
    if (!this.#connected) return;
    for (const bus of this.#store.connections) if (bus.#connected && this.#store.deliver(record, bus)) bus.receive(record);
  }

  /** An event as it arrives, genuine or not. */
  receive(record: CommittedRecord): void {
    const parsed = parseKey(record.bucket, record.key);
    const handlers =
      parsed?.kind === 'host' || parsed?.kind === 'principal'
        ? this.#hostEvents
        : parsed?.kind === 'gateway' || parsed?.kind === 'assignment'
          ? this.#gatewayEvents
          : parsed !== undefined && 'routingDomainId' in parsed
            ? this.#events.get(parsed.routingDomainId)
            : undefined;
    for (const handler of [...(handlers ?? [])]) queueMicrotask(() => handler(record));
  }

  onDigest(rdid: string, handler: (digest: NetworkDigest, signer: string) => void): Subscription {
    return register(this.#digests, rdid, handler);
  }

  publishDigest(digest: NetworkDigest, identity: Identity): void {
    if (!this.#connected) return;
    const { payload, signer } = openEnvelope(signEnvelope(identity, 'digest', digestCodec.encode(digest)), 'digest');
    const read = digestCodec.decode(payload);
    this.#store.digests.push({ from: this.name, digest: read });
    for (const bus of this.#store.connections) if (bus.#connected) bus.receiveDigest(read, signer);
  }

  receiveDigest(digest: NetworkDigest, signer: string): void {
    for (const handler of [...(this.#digests.get(digest.routingDomainId) ?? [])]) queueMicrotask(() => handler(digest, signer));
  }

  onOwnership(channel: OwnershipChannel, gatewayId: string, handler: (message: Uint8Array) => void): Subscription {
    return register(this.#ownership, `${channel} ${gatewayId}`, handler);
  }

  publishOwnership(channel: OwnershipChannel, gatewayId: string, message: Uint8Array): boolean {
    if (!this.#connected) return false;
    const copy = message.slice();
    for (const bus of this.#store.connections) {
      if (!bus.#connected) continue;
      for (const handler of [...(bus.#ownership.get(`${channel} ${gatewayId}`) ?? [])]) queueMicrotask(() => handler(copy));
    }
    return true;
  }

  async request(): Promise<Answer> {
    throw new Error('not in memory: use ask()');
  }

  serve(target: string, init: ServeInit): Subscription {
    this.#served.set(target, init);
    return { stop: async () => void this.#served.delete(target) };
  }

  /** Sends a command to what this connection serves. */
  async ask(target: string, command: Command, signer: string, requestId = `test-${Math.random()}`) {
    const init = this.#served.get(target);
    if (init === undefined) throw new Error(`nobody serves ${target}`);
    const request = { requestId, timeUnixMs: 0, target, command };
    const incoming: IncomingRequest = { request: requestCodec.decode(requestCodec.encode(request)), signer, envelope: new Uint8Array() };
    return await init.handler(incoming);
  }

  async close(): Promise<void> {}

  #check(): void {
    if (!this.#connected) throw new WeftError('WEFT_ERR_BUS_DISCONNECTED', 'Cannot reach NATS: cut by the test');
  }

  #bucket(name: BucketName): Bucket {
    const bucket = this.#store.buckets[name];
    const put = async (key: string, value: Uint8Array, expected: number): Promise<WriteOutcome> => {
      this.#check();
      await this.writeGate;
      if (this.writeFault === 'lost') return { status: 'unknown', reason: 'lost by the test' };
      const outcome = bucket.put(key, value, expected);
      if (this.writeFault === 'unknown-but-written') {
        this.writeFault = 'none';
        return { status: 'unknown', reason: 'acknowledgement lost by the test' };
      }
      return outcome;
    };
    return {
      name,
      get bucketCreatedUnixMs() {
        return bucket.createdUnixMs;
      },
      get: async (key) => {
        this.#check();
        bucket.reads++;
        await Promise.resolve();
        return bucket.values.get(key);
      },
      snapshot: async (prefix): Promise<Snapshot> => {
        this.#check();
        bucket.snapshots++;
        await Promise.resolve();
        const entries = [...bucket.values.values()].filter(({ key }) => prefix === '' || key.startsWith(`${prefix}.`));
        const snapshot = { entries, atSequence: bucket.sequence, bucketCreatedUnixMs: bucket.createdUnixMs };
        await bucket.onSnapshot(prefix);
        return snapshot;
      },
      put,
      create: (key, value) => put(key, value, 0),
      purge: async (key, revision) => {
        if (bucket.values.get(key)?.revision === revision) {
          bucket.values.delete(key);
          bucket.sequence++;
        }
      },
      watch: () => {
        throw new Error('agents do not watch');
      },
      follow: () => {
        throw new Error('agents do not follow');
      },
      status: async () => ({
        lastSequence: bucket.sequence,
        count: bucket.values.size,
        bucketCreatedUnixMs: bucket.createdUnixMs,
        consumers: 0,
      }),
    };
  }
}

function register<H>(map: Map<string, Set<H>>, key: string, handler: H): Subscription {
  const set = map.get(key) ?? new Set<H>();
  map.set(key, set);
  set.add(handler);
  return { stop: async () => void set.delete(handler) };
}
