import {
  type CallOptions,
  commitRecord,
  getRecord,
  type HandlerResult,
  type IncomingRequest,
  type RecordEntry,
  type Store,
  type Subscription,
} from '@weft/bus';
import { type TableChange, type TableEntry, TargetKind } from '@weft/forwarding';
import { type Condition, type Host, hostKey, parseKey } from '@weft/model';
import { deleteOf, diff, diffAdditive, isTarget, orderChanges, putOf } from '@weft/tables';
import { Applier } from './applier.ts';
import { Commands } from './commands.ts';
import type { HostAgentComponents, HostAgentInit } from './components.ts';
import { Conditions } from './conditions.ts';
import { AgentError, codeOf, messageOf } from './errors.ts';
import { backoffMs, Limiter } from './limiter.ts';
import { NetworkSession, type SessionComponents } from './network-session.ts';
import { Ports } from './ports.ts';
import { StateStore } from './state-store.ts';
import { TrustFeed } from './trust-feed.ts';
import { recall } from './verify.ts';

const MAX_RESYNCS = 4;
const POLL_MS = 1_000;
/** Least time between two writings of a network's records, for each 1,000 of them. */
const SAVE_MS_PER_1000 = 2_500;
const RECONCILE_MS = 300_000;
/** How long after the start a port's device may refuse to be taken up, before the rows that the last run left for it go. */
const UNTAKEN_MS = 30_000;
/** Principals that were removed are announced by nobody. */
const TRUST_MS = 300_000;

/** Assembly of one host's agent. See {@link createHostAgent}. */
export class HostAgent {
  readonly #init: HostAgentInit;
  readonly #with: HostAgentComponents;
  readonly #conditions: Conditions;
  readonly #applier: Applier;
  readonly #trustFeed: TrustFeed;
  readonly #state: StateStore;
  readonly #ports: Ports;
  readonly #commands: Commands;
  readonly #sessions = new Map<string, NetworkSession>();
  readonly #sessionComponents: SessionComponents;
  readonly #startedMs: number;
  #store: Store | undefined;
  #serving: Subscription | undefined;
  #stopState: (() => void) | undefined;
  #pollTimer: unknown;
  #polling: Promise<void> | undefined;
  #connecting: Promise<void> | undefined;
  #connections = 0;
  #retryTimer: unknown;
  #openAttempt = 0;
  #reconcileTimer: unknown;
  #reconcileAttempt = 0;
  #lastReconcileMs = 0;
  #lastTrustMs: number;
  /** Everything this host is part of has been seen in the store since the start. */
  #complete = false;
  #needsRecovery = false;
  #registered = false;
  #stateDirty = false;
  /** Nothing goes to the packet path one by one: what was restored is compared with it as a whole. */
  #restoring = true;
  #stopping = false;

  constructor(components: HostAgentComponents, init: HostAgentInit) {
    this.#with = components;
    this.#init = init;
    const { bus, trust, clock, random, logger, datapath, devices, identity } = components;
    this.#startedMs = clock.now();
    this.#lastTrustMs = this.#startedMs;
    this.#conditions = new Conditions(clock, logger);
    this.#applier = new Applier(datapath, this.#conditions, () => this.#reconcileSoon());
    this.#trustFeed = new TrustFeed(bus, trust, clock, logger);
    this.#state = new StateStore(init.stateDirectory);
    this.#sessionComponents = {
      bus,
      trust,
      trustFeed: this.#trustFeed,
      clock,
      random,
      logger,
      conditions: this.#conditions,
      limiter: new Limiter(MAX_RESYNCS),
      store: () => this.#store,
      publishDigest: (digest) => bus.publishDigest(digest, identity),
      onChanges: (changes) => {
        if (!this.#restoring) this.#applier.push(changes);
      },
      onComplete: (session) => this.#takeOver(session),
      onRecords: (session, portId) => this.#onRecords(session, portId),
    };
    this.#ports = new Ports({
      init,
      datapath,
      devices,
      trust,
      clock,
      logger,
      conditions: this.#conditions,
      requireStore: () => this.#requireStore(),
      join: (rdid) => this.#join(rdid),
      session: (rdid) => this.#sessions.get(rdid),
      commit: (store, part) =>
        commitRecord({
          bus,
          bucket: store.mapping,
          identity,
          key: part.key,
          tenant: part.tenant,
          current: part.current,
          after: { kind: 'binding', value: part.binding },
          authorKey: part.author.key === '' ? identity.publicKey : part.author.key,
          authorName: part.author.name,
          requestId: part.author.requestId,
          nowMs: part.nowMs,
          beforeAnnounce: part.onCommitted,
        }),
      onChange: () => this.#onPortsChanged(),
    });
    this.#commands = new Commands({
      init,
      trust,
      datapath,
      clock,
      conditions: this.#conditions,
      ports: this.#ports,
      sessions: this.#sessions,
      startedMs: this.#startedMs,
      busState: () => bus.state,
    });
  }

  /**
   * Takes up what the last run left: own ports, last records, the kernel's tables. Resolves once that is done and the agent serves; with
   * NATS absent too: then it says so, and goes on by itself when NATS comes.
   * @throws {AgentError} `WEFT_ERR_AGENT_STATE`.
   */
  async start(): Promise<void> {
    const { bus, logger, identity } = this.#with;
    await this.#restore();
    this.#restoring = false;
    this.#reconcile();
    for (const session of this.#sessions.values()) session.start();
    this.#serving = bus.serve(this.#init.hostId, { identity, handler: (request) => this.#handle(request), logger });
    this.#pollTimer = this.#with.clock.setTimeout(() => this.#poll(), POLL_MS);
    this.#stopState = bus.onState(({ state, reason }) => {
      if (state === 'connected') {
        this.#conditions.clear('NATS_DISCONNECTED');
        this.#connected();
      } else {
        this.#conditions.raise(
          'NATS_DISCONNECTED',
          `NATS is not reachable (${reason || 'not tried yet'}); what forwards keeps forwarding, the agent waits`,
        );
      }
    });
    logger.info(
      {
        host: this.#init.hostId,
        pa: this.#init.providerAddress,
        engine: this.#init.engine,
        ports: this.#ports.saved().length,
        networks: this.#sessions.size,
      },
      'agent started',
    );
  }

  /**
   * Stops the process's part. The packet path goes on; with `purge` everything is taken down: programs, tables, own TAPs, saved state.
   * Claims in the store stay in either case.
   */
  async stop(options: { readonly purge?: boolean } = {}): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const { clock, datapath, logger } = this.#with;
    for (const timer of [this.#pollTimer, this.#retryTimer, this.#reconcileTimer]) clock.clearTimeout(timer);
    this.#stopState?.();
    await this.#serving?.stop();
    await this.#polling;
    await Promise.all([...this.#sessions.values()].map((session) => session.stop()));
    await this.#trustFeed.stop();
    if (options.purge) {
      await this.#ports.purge();
      datapath.destroy();
      this.#state.purge();
    } else {
      this.#saveRecords(clock.now());
      this.#saveState();
      datapath.close();
    }
    logger.info({ host: this.#init.hostId, purge: options.purge ?? false }, 'agent stopped');
  }

  get conditions(): Condition[] {
    return this.#conditions.list();
  }

  /** Counts what each followed network has seen, by routing domain id. */
  networkCounters(): Record<string, NetworkSession['counters']> {
    return Object.fromEntries([...this.#sessions].map(([rdid, session]) => [rdid, { ...session.counters }]));
  }

  /** True when all networks have been read from the store since the start, and this host is registered. */
  get ready(): boolean {
    return this.#complete && this.#registered;
  }

  /** Carries a command out. @param signer Public key of who asks, verified. */
  async #handle({ request, signer }: IncomingRequest): Promise<HandlerResult> {
    const result = await this.#commands.run(request, signer);
    if (result.problems.length > 0) {
      const [problem] = result.problems;
      this.#with.logger.warn(
        { requestId: request.requestId, command: request.command.kind, code: problem?.code, reason: problem?.rule },
        'command refused',
      );
    }
    return result;
  }

  async #restore(): Promise<void> {
    const { clock, logger } = this.#with;
    const damaged = (reason: string): void => this.#conditions.raise('STATE_NOT_SAVED', reason);
    const saved = this.#state.load(damaged);
    if (saved === undefined) {
      this.#needsRecovery = true;
      return;
    }
    const sameBoot = saved.bootId === this.#init.bootId;
    const now = clock.now();
    for (const [rdid, emptySinceMs] of Object.entries(saved.networks)) {
      const session = this.#makeSession(rdid);
      if (emptySinceMs > 0) session.emptySinceMs = sameBoot ? emptySinceMs : now;
      session.restoreClaims(saved.claims[rdid] ?? []);
      let records = 0;
      for (const { bucket, key, revision, bucketCreatedUnixMs, envelope } of this.#state.loadRecords(rdid, damaged)) {
        const record = recallQuietly(() => recall(bucket, bucketCreatedUnixMs, { key, revision, value: envelope }, rdid));
        if (record === undefined) continue;
        records++;
        session.restore(record, envelope);
      }
      session.restoreMoves(sameBoot ? saved.moves : {});
      if (this.#init.acceptNewStore) session.acceptStore();
      logger.debug({ rdid, records }, 'network restored');
    }
    await this.#ports.restore(saved.ports);
    const self = this.#init.hostId;
    for (const session of this.#sessions.values()) {
      const own = saved.ports.filter((port) => port.routingDomainId === session.rdid && port.state === 'bound');
      const whole = own.every(({ portId }) => session.view.port(portId) !== undefined && session.view.binding(portId)?.hostId === self);
      session.coherent = session.view.network !== undefined && whole;
    }
  }

  // ——— NATS

  #connected(): void {
    this.#connections++;
    if (this.#connecting !== undefined) return;
    this.#with.clock.clearTimeout(this.#retryTimer);
    const connection = this.#connections;
    this.#connecting = this.#settleIn(connection === 1)
      .then(() => {
        this.#openAttempt = 0;
      })
      .catch((error: unknown) => {
        if (this.#stopping) return;
        if (this.#with.bus.state.state === 'connected') {
          this.#conditions.raise(
            'STORE_NOT_OPEN',
            `Cannot use the store: ${messageOf(error)}; tried again${codeOf(error) === 'WEFT_ERR_BUS_BUCKET_MISSING' ? ' until a controller has made it' : ''}`,
          );
        }
        this.#retry();
      })
      .finally(() => {
        this.#connecting = undefined;
        if (connection !== this.#connections && !this.#stopping) this.#connected();
      });
  }

  #retry(): void {
    const { clock, random, bus } = this.#with;
    clock.clearTimeout(this.#retryTimer);
    this.#retryTimer = clock.setTimeout(
      () => {
        if (bus.state.state === 'connected') this.#connected();
      },
      backoffMs(this.#openAttempt++, 200, 5_000, random),
    );
  }

  /** After each connection: store, trust, own record, then every network anew. */
  async #settleIn(first: boolean): Promise<void> {
    const { bus, logger } = this.#with;
    if (this.#store === undefined) {
      // The controller makes the buckets; an agent that came first would make them with its own idea of replicas.
      this.#store = await bus.open({ replicas: 1, create: false });
      this.#trustFeed.setStore(this.#store);
    }
    this.#conditions.clear('STORE_NOT_OPEN');
    await this.#trustFeed.refresh(true);
    await this.#register();
    if (this.#needsRecovery) await this.#recover(this.#store);
    if (!first && this.#complete) {
      for (const session of this.#sessions.values()) session.resyncSoon(Math.min(2_000, 20 * this.#sessions.size));
      return;
    }
    const results = await Promise.allSettled([...this.#sessions.values()].map((session) => session.resync('start')));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    for (const session of this.#sessions.values()) await this.#ports.review(session);
    const known = [...this.#sessions.values()].every((session) => session.complete);
    if (!known) return;
    this.#complete = true;
    this.#reconcile();
    logger.info(
      { host: this.#init.hostId, networks: this.#sessions.size, durationMs: Math.round(this.#with.clock.now() - this.#startedMs) },
      'tables complete',
    );
  }

  /** Says who this host is. Written only when something differs: whether a host lives is asked of it, not stored. */
  async #register(): Promise<void> {
    const { trust, identity, bus, clock, logger } = this.#with;
    const { hostId } = this.#init;
    const store = this.#store;
    if (store === undefined) return;
    const principal = trust.principal(identity.publicKey);
    if (principal?.role !== 'host' || principal.name !== hostId) {
      this.#registered = false;
      this.#conditions.raise(
        'NOT_ADMITTED',
        `Host ${hostId} with key ${identity.publicKey} is no principal of this installation${principal === undefined ? '' : ` (the key is ${principal.role} ${principal.name})`}: others refuse what it writes; an admin adds it with \`weft principal add --role host\``,
      );
      return;
    }
    this.#conditions.clear('NOT_ADMITTED');
    const wanted: Host = {
      id: hostId,
      providerAddress: this.#init.providerAddress,
      publicKey: identity.publicKey,
      encapsulations: ['vxlan'],
      engine: this.#init.engine,
      underlayMtu: this.#init.underlayMtu,
      version: this.#init.version,
      roles: ['host'],
      bootId: this.#init.bootId,
    };
    for (let attempt = 0; attempt < 3; attempt++) {
      const current: RecordEntry | undefined = await getRecord(store.hosts, hostKey(hostId));
      if (current?.record?.kind === 'host' && current.signer === identity.publicKey && sameHost(current.record.value, wanted)) {
        this.#trustFeed.take(current);
        this.#registered = true;
        break;
      }
      const { outcome, entry } = await commitRecord({
        bus,
        bucket: store.hosts,
        identity,
        key: hostKey(hostId),
        tenant: '',
        current,
        after: { kind: 'host', value: wanted },
        authorKey: identity.publicKey,
        authorName: hostId,
        requestId: `register-${hostId}-${clock.unixMs()}`,
        nowMs: clock.unixMs(),
      });
      if (entry === undefined) continue;
      this.#trustFeed.take(entry);
      this.#registered = true;
      logger.info({ host: hostId, revision: outcome.status === 'committed' ? outcome.revision : 0 }, 'host registered');
      break;
    }
    if (this.#registered) this.#conditions.clear('HOST_NOT_REGISTERED');
    else
      this.#conditions.raise(
        'HOST_NOT_REGISTERED',
        `Cannot write the record of host ${hostId}: others write it too, or NATS does not answer; is the host id used twice?`,
      );
  }

  /** The saved state is lost: which ports are this host's stands in the store, once read through. */
  async #recover(store: Store): Promise<void> {
    const options: CallOptions = { timeoutMs: 30_000 };
    const { entries } = await store.mapping.snapshot('', options);
    const rdids = new Set<string>();
    for (const entry of entries) {
      const parsed = parseKey('mapping', entry.key);
      if (parsed?.kind !== 'binding' || rdids.has(parsed.routingDomainId)) continue;
      const record = recallQuietly(() => recall('mapping', store.mapping.bucketCreatedUnixMs, entry, parsed.routingDomainId));
      if (record?.kind === 'binding' && record.value?.hostId === this.#init.hostId && record.value.state === 'bound')
        rdids.add(parsed.routingDomainId);
    }
    for (const rdid of rdids) this.#join(rdid);
    this.#needsRecovery = false;
    if (rdids.size > 0) this.#with.logger.info({ networks: rdids.size }, 'own bindings found in the store');
  }

  #requireStore(): Store {
    const { bus, trust, identity } = this.#with;
    const { hostId } = this.#init;
    if (this.#store === undefined || bus.state.state !== 'connected') {
      throw new AgentError(
        'WEFT_ERR_AGENT_NATS_DOWN',
        `Cannot change bindings on host ${hostId}: NATS is not reachable (${bus.state.reason || 'the store is not open yet'}); what forwards keeps forwarding, try again`,
      );
    }
    if (trust.host(hostId)?.publicKey !== identity.publicKey) {
      throw new AgentError(
        'WEFT_ERR_AGENT_NOT_ADMITTED',
        `Cannot bind ports on host ${hostId}: its key ${identity.publicKey} is not admitted, so others would refuse the binding; an admin adds it with \`weft principal add --role host\``,
      );
    }
    return this.#store;
  }

  // ——— networks

  #makeSession(rdid: string): NetworkSession {
    const session = new NetworkSession(rdid, this.#init, this.#sessionComponents);
    this.#sessions.set(rdid, session);
    return session;
  }

  #join(rdid: string): NetworkSession {
    const found = this.#sessions.get(rdid);
    if (found !== undefined) return found;
    const session = this.#makeSession(rdid);
    session.emptySinceMs = this.#with.clock.now();
    session.start();
    // On disk before anything is claimed in it: a crash in between must not make its rows look stale.
    this.#saveState();
    this.#with.logger.info({ rdid }, 'network joined');
    return session;
  }

  async #leave(session: NetworkSession): Promise<void> {
    this.#sessions.delete(session.rdid);
    await session.stop();
    this.#applier.push([...session.view.entries()].map(deleteOf));
    this.#state.removeRecords(session.rdid);
    this.#stateDirty = true;
    this.#with.logger.info({ rdid: session.rdid, network: session.view.network?.name }, 'network left');
  }

  #onRecords(session: NetworkSession, portId: string | undefined): void {
    this.#ports
      .review(session, portId)
      .catch((error: unknown) =>
        this.#with.logger.error({ rdid: session.rdid, port: portId, reason: messageOf(error) }, 'reviewing ports failed'),
      );
  }

  #onPortsChanged(): void {
    const now = this.#with.clock.now();
    for (const session of this.#sessions.values()) {
      const used = this.#ports.uses(session.rdid);
      if (used) session.emptySinceMs = undefined;
      else session.emptySinceMs ??= now;
    }
    this.#saveState();
  }

  // ——— tables

  #wanted(): TableEntry[] {
    return [...this.#sessions.values()].flatMap((session) => (session.coherent ? [...session.view.entries()] : []));
  }

  /** A network's rows are whole now. What of it in the packet path is stale goes when all networks are whole. */
  #takeOver(session: NetworkSession): void {
    const wanted = [...session.view.entries()];
    const puts = this.#complete
      ? orderChanges(wanted.map(putOf))
      : diff(this.#with.datapath.entries(), wanted).filter((change) => change.op === 'put');
    this.#applier.push(puts);
  }

  /**
   * Brings the packet path to what is wanted without flushing: before everything was seen in the store nothing is removed, and no newer
   * target gives way to an older one.
   */
  #reconcile(): void {
    const { datapath, logger, clock } = this.#with;
    const now = clock.now();
    try {
      for (const session of this.#sessions.values()) session.tick();
      const current = datapath.entries().filter((entry) => entry.table !== 'shard');
      const untaken = this.#complete && now - this.#startedMs < UNTAKEN_MS ? this.#ports.untaken() : new Set<number>();
      const kept = untaken.size === 0 ? current : current.filter((entry) => !isOfDevice(entry, untaken));
      const changes: readonly TableChange[] = (this.#complete ? diff : diffAdditive)(kept, this.#wanted());
      if (changes.length > 0) datapath.apply(changes);
      if (this.#complete) {
        const used = this.#ports.ifindexes();
        for (const ifindex of datapath.attachedDevices()) if (!used.has(ifindex) && !untaken.has(ifindex)) datapath.detachDevice(ifindex);
      }
      if (untaken.size > 0) this.#reconcileSoon();
      else this.#reconcileAttempt = 0;
      this.#conditions.clear('DATAPATH_FAILED');
      if (changes.length > 0) {
        logger.info(
          {
            rows: current.length,
            changes: changes.length,
            removed: changes.filter((change) => change.op === 'delete').length,
            complete: this.#complete,
          },
          'tables reconciled',
        );
      }
    } catch (error) {
      this.#conditions.raise('DATAPATH_FAILED', `Cannot reconcile the packet path: ${messageOf(error)}; tried again`);
      this.#reconcileSoon();
    }
    this.#lastReconcileMs = now;
  }

  #reconcileSoon(): void {
    if (this.#stopping) return;
    const { clock, random } = this.#with;
    clock.clearTimeout(this.#reconcileTimer);
    this.#reconcileTimer = clock.setTimeout(() => this.#reconcile(), backoffMs(this.#reconcileAttempt++, 200, 30_000, random));
  }

  // ——— once a second

  #poll(): void {
    this.#polling = this.#pollOnce()
      .catch((error: unknown) => this.#with.logger.error({ reason: messageOf(error) }, 'periodic work failed'))
      .finally(() => {
        this.#polling = undefined;
        if (!this.#stopping) this.#pollTimer = this.#with.clock.setTimeout(() => this.#poll(), POLL_MS);
      });
  }

  async #pollOnce(): Promise<void> {
    const { clock, bus } = this.#with;
    const now = clock.now();
    await this.#ports.poll();
    if (this.#stopping) return;
    const lingerMs = this.#init.lingerMs ?? 600_000;
    for (const session of [...this.#sessions.values()]) {
      if (session.emptySinceMs !== undefined && now - session.emptySinceMs >= lingerMs) await this.#leave(session);
    }
    if (!this.#registered && this.#store !== undefined && bus.state.state === 'connected' && this.#connecting === undefined) {
      await this.#trustFeed.refresh();
      await this.#register().catch((error: unknown) =>
        this.#with.logger.warn({ reason: messageOf(error) }, 'registering failed; tried again'),
      );
    }
    if (now - this.#lastTrustMs >= TRUST_MS) {
      this.#lastTrustMs = now;
      await this.#trustFeed.refresh();
    }
    if (this.#complete && now - this.#lastReconcileMs >= RECONCILE_MS) this.#reconcile();
    this.#saveRecords(now);
    if (this.#stateDirty) this.#saveState();
  }

  /** What must not be lost: own ports, networks, claims, open moves. Small; at once. */
  #saveState(): void {
    const sessions = [...this.#sessions.values()];
    this.#saving(() => {
      this.#state.save({
        ports: this.#ports.saved(),
        networks: Object.fromEntries(sessions.map((session) => [session.rdid, session.emptySinceMs ?? 0])),
        claims: Object.fromEntries(sessions.map((session) => [session.rdid, [...session.claimedVsids]])),
        moves: Object.assign({}, ...sessions.map((session) => session.moves())),
        bootId: this.#init.bootId,
      });
      this.#stateDirty = false;
    });
  }

  /** Last records of networks that changed. A large network's file takes long to write: the rarer the larger. */
  #saveRecords(now: number): void {
    for (const session of this.#sessions.values()) {
      const waitMs = (session.envelopes.size / 1_000) * SAVE_MS_PER_1000;
      if (!session.dirty || (!this.#stopping && now - session.savedMs < waitMs)) continue;
      this.#saving(() => {
        this.#state.saveRecords(session.rdid, session.envelopes.values());
        session.dirty = false;
        session.savedMs = now;
        this.#stateDirty = true;
      });
    }
  }

  #saving(save: () => void): void {
    try {
      save();
      this.#conditions.clear('STATE_NOT_SAVED');
    } catch (error) {
      this.#stateDirty = true;
      const { stateDirectory } = this.#init;
      this.#conditions.raise(
        'STATE_NOT_SAVED',
        `Cannot save to ${stateDirectory}: ${messageOf(error)}; a restart without NATS would know less`,
      );
    }
  }
}

/** The port row of a device, and the targets that lead to it. */
function isOfDevice(entry: TableEntry, ifindexes: ReadonlySet<number>): boolean {
  if (entry.table === 'port') return ifindexes.has(entry.key.ifindex);
  return isTarget(entry) && entry.value.kind === TargetKind.LOCAL && ifindexes.has(entry.value.ifindexOrShard);
}

function sameHost(a: Host, b: Host): boolean {
  return JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort());
}

/** What can't be read any more is read from the store instead. */
function recallQuietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/**
 * Makes the agent of one host: it follows the networks that have ports here, keeps the packet path's tables, owns ports and their
 * devices, and serves requests on `weft.v1.cmd.host.<id>`. Dependencies come in with `components`, options with `init`.
 */
export function createHostAgent(components: HostAgentComponents, init: HostAgentInit): HostAgent {
  return new HostAgent(components, init);
}
