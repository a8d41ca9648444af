import type { HandlerResult, IncomingRequest, Store, Subscription } from '@weft/bus';
import type { Condition } from '@weft/model';
import { Commands } from './commands.ts';
import type { HostAgentComponents, HostAgentInit } from './components.ts';
import { Conditions } from './conditions.ts';
import { Connection } from './connection.ts';
import { AgentError, messageOf } from './errors.ts';
import { gatewayStorage } from './gateway/gateway-storage.ts';
import { GatewayUsers } from './gateway/gateway-users.ts';
import { Gateways } from './gateway/gateways.ts';
import { inSlices, whenSliceOver } from './gateway/in-slices.ts';
import { makeGatewayRole } from './gateway/make-gateway-role.ts';
import { DatapathOwnership } from './gateway/ownership-tables.ts';
import { HostRole } from './host-role.ts';
import { Memory } from './memory.ts';
import { MANY_NETWORKS, NetworkReader } from './network-reader.ts';
import type { NetworkSession } from './network-session.ts';
import { Networks } from './networks.ts';
import { Registration } from './registration.ts';
import type { AgentParts, MakeRole, Role, RoleDevices, RoleName } from './role.ts';
import { TableKeeper } from './table-keeper.ts';
import { TrustFeed } from './trust-feed.ts';

const POLL_MS = 1_000;
/** A start waits so long for leases to be renewed: a renewal, and a second one after a quarter of its interval (timing.ts), with the votes' journeys. */
const RENEW_MS = 500;
/** Principals that were removed are announced by nobody. */
const TRUST_MS = 300_000;

/** Assembly of one machine's agent out of its shared parts and its roles (role.ts). See {@link createHostAgent}. */
export class HostAgent {
  readonly #init: HostAgentInit;
  readonly #with: HostAgentComponents;
  readonly #conditions: Conditions;
  readonly #trustFeed: TrustFeed;
  readonly #networks: Networks;
  readonly #tables: TableKeeper;
  readonly #memory: Memory;
  readonly #registration: Registration;
  readonly #connection: Connection;
  readonly #gateways: Gateways;
  readonly #gatewayUsers = new GatewayUsers();
  readonly #roles: readonly Role[];
  readonly #commands: Commands;
  readonly #startedMs: number;
  readonly #reader = new NetworkReader({ store: () => this.#store });
  #store: Store | undefined;
  #serving: Subscription | undefined;
  #pollTimer: unknown;
  #polling: Promise<void> | undefined;
  #lastTrustMs: number;
  #stopping = false;
  /** Networks that were joined, and that nobody has read yet. */
  readonly #unread = new Set<NetworkSession>();
  /** Networks are being read because it is time. */
  #readingDue: Promise<void> | undefined;
  /** Networks of the start have been read. */
  #isRead = false;
  /** Everything that the last run left has been taken up. */
  #isRestored = false;
  #giving: Promise<void> = Promise.resolve();

  constructor(components: HostAgentComponents, init: HostAgentInit, makeRoles: readonly MakeRole[]) {
    this.#with = components;
    this.#init = init;
    const { bus, trust, clock, random, logger, datapath, identity } = components;
    this.#startedMs = clock.now();
    this.#lastTrustMs = this.#startedMs;
    const conditions = new Conditions(clock, logger);
    this.#conditions = conditions;
    const networks = (): Networks => this.#networks;
    this.#tables = new TableKeeper({ datapath, clock, random, logger, conditions, networks, devices: () => this.#devices() });
    this.#trustFeed = new TrustFeed(bus, trust, clock, logger);
    const ofRoles = () => Object.assign({}, ...this.#roles.map((role) => role.saved()));
    this.#memory = new Memory({ init, clock, logger, conditions, networks, ofRoles });
    this.#networks = new Networks({
      init,
      clock,
      logger,
      session: {
        bus,
        trust,
        trustFeed: this.#trustFeed,
        clock,
        random,
        logger,
        conditions,
        reader: this.#reader,
        followed: () => this.#networks.size,
        onDue: (session) => this.#readDue(session),
        store: () => this.#store,
        publishDigest: (digest) => bus.publishDigest(digest, identity),
        onChanges: (changes) => this.#tables.push(changes),
        onComplete: (session) => this.#tables.takeOver(session),
        onRecords: (session, portId) => this.#onRecords(session, portId),
      },
      onJoin: (sessions) => {
        this.#memory.joined(sessions);
        for (const session of sessions) this.#unread.add(session);
      },
      onLeave: (session, changes) => {
        this.#tables.push(changes);
        this.#memory.forget(session);
        if (this.#gatewayUsers.note(session.rdid, undefined)) this.#gateways.review();
      },
    });
    this.#gateways = new Gateways({
      ...{ bus, identity, trust, clock, random, logger, conditions },
      hostId: init.hostId,
      providerAddress: init.providerAddress,
      bootId: init.bootId,
      storage: gatewayStorage(init.stateDirectory),
      tables: new DatapathOwnership(datapath, (address) => this.#gateways.hostAt(address)),
      used: () => this.#gatewayUsers.used,
      onChange: () => this.#onGateways(),
      onOwnership: () => {
        for (const role of this.#roles) role.onOwnership?.();
      },
      onMemories: () => this.#registerAgain(),
    });
    const parts: AgentParts = {
      ...{ init, bus, identity, trust, datapath, clock, random, logger, conditions },
      networks: this.#networks,
      gateways: this.#gateways,
      requireStore: () => this.#requireStore(),
      onChange: () => this.#onChange(),
    };
    this.#roles = makeRoles.map((make) => make(parts));
    const roles = this.#roles.map((role) => role.name);
    const memories = () => this.#gateways.memories();
    const externalLinks = () => (roles.includes('gateway') ? this.#gateways.externalLinks() : []);
    this.#registration = new Registration({
      ...{ init, bus, identity, trust, clock, logger, conditions, roles, memories, externalLinks },
      trustFeed: this.#trustFeed,
    });
    this.#connection = new Connection({ bus, clock, random, conditions, settleIn: (first) => this.#settleIn(first) });
    this.#commands = new Commands({
      ...{ init, trust, datapath, clock, conditions },
      roles: this.#roles,
      networks: this.#networks,
      gateways: this.#gateways,
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
    const { bus, logger, identity, clock } = this.#with;
    // First of all: a lease goes on being renewed, and others' ballots being answered, while ten thousand networks are restored.
    await this.#gateways.start();
    const { startDatapath } = this.#with;
    if (startDatapath !== undefined) {
      const isRenewed = await this.#gateways.renewed(RENEW_MS);
      logger.info({ isRenewed, sinceStartMs: Math.round(process.uptime() * 1_000) }, 'leases renewed by the tables as they were left');
      startDatapath();
    }
    const saved = await this.#memory.restore();
    for (const role of this.#roles) await role.start(saved);
    await this.#tables.start();
    await inSlices(this.#networks.all(), (session) => this.#noteGateway(session));
    this.#isRestored = true;
    this.#onGateways();
    await inSlices(this.#networks.all(), (session) => session.start());
    this.#serving = bus.serve(this.#init.hostId, { identity, handler: (request) => this.#handle(request), logger });
    this.#pollTimer = clock.setTimeout(() => this.#poll(), POLL_MS);
    this.#connection.start();
    const { providerAddress: pa, engine } = this.#init;
    const ports = this.#roles.reduce((sum, role) => sum + role.status().ports.length, 0);
    logger.info({ pa, engine, ports, networks: this.#networks.size }, 'agent started');
  }

  /**
   * Stops the process's part. The packet path goes on; with `purge` everything is taken down: programs, tables, own TAPs, saved state.
   * Claims in the store stay in either case.
   */
  async stop(options: { readonly purge?: boolean } = {}): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const { clock, datapath, logger } = this.#with;
    const purge = options.purge ?? false;
    clock.clearTimeout(this.#pollTimer);
    this.#tables.stop();
    this.#connection.stop();
    await this.#serving?.stop();
    await this.#polling;
    await this.#networks.stop();
    await this.#trustFeed.stop();
    await this.#gateways.stop();
    for (const role of this.#roles) await role.stop({ purge });
    if (purge) {
      datapath.destroy();
      await this.#memory.purge();
    } else {
      // A start that failed has nothing to save, and would save that.
      if (this.#isRestored) await this.#memory.flush();
      datapath.close();
    }
    logger.info({ purge }, 'agent stopped');
  }

  get conditions(): Condition[] {
    return this.#conditions.list();
  }

  /** Counts what each followed network has seen, by routing domain id. */
  networkCounters(): Record<string, NetworkSession['counters']> {
    return Object.fromEntries(this.#networks.all().map((session) => [session.rdid, { ...session.counters }]));
  }

  /** True when all networks have been read from the store since the start, and this host is registered. */
  get ready(): boolean {
    return this.#tables.complete && this.#registration.registered;
  }

  /** Carries a command out. @param incoming Verified. */
  async #handle(incoming: IncomingRequest): Promise<HandlerResult> {
    const result = await this.#commands.run(incoming);
    const [problem] = result.problems;
    if (problem !== undefined) {
      const { requestId, command } = incoming.request;
      this.#with.logger.warn({ requestId, command: command.kind, code: problem.code, reason: problem.rule }, 'command refused');
    }
    return result;
  }

  /** After each connection: store, trust, own record, then every network anew. */
  async #settleIn(first: boolean): Promise<void> {
    const { bus } = this.#with;
    if (this.#store === undefined) {
      // The controller makes the buckets; an agent that came first would make them with its own idea of replicas.
      this.#store = await bus.open({ replicas: 1, create: false });
      this.#trustFeed.setStore(this.#store);
    }
    this.#conditions.clear('STORE_NOT_OPEN');
    await this.#trustFeed.refresh(true);
    await this.#registration.register(this.#store);
    await this.#gateways.connected(this.#store);
    for (const role of this.#roles) await role.onStore(this.#store);
    if (!first && this.#tables.complete) {
      this.#readAgain();
      return;
    }
    this.#unread.clear();
    await this.#resyncAll(this.#networks.all(), 'start');
    this.#isRead = true;
    const pause = whenSliceOver();
    for (const session of this.#networks.all()) {
      for (const role of this.#roles) await role.onRecords(session, undefined);
      await pause();
    }
    await this.#completeTables();
  }

  #readAgain(): void {
    const sessions = this.#networks.all();
    if (sessions.length >= MANY_NETWORKS) this.#resyncAll(sessions, 'reconnect').catch(() => undefined);
    else for (const session of sessions) session.resyncSoon(Math.min(2_000, 20 * sessions.length));
  }

  /** Of many networks all are read when the first is due: then none is for a while. */
  #readDue(session: NetworkSession): void {
    if (this.#networks.size < MANY_NETWORKS) {
      session.resync('periodic').catch(() => undefined);
      return;
    }
    this.#readingDue ??= this.#resyncAll(this.#networks.all(), 'periodic')
      .catch(() => undefined)
      .finally(() => {
        this.#readingDue = undefined;
      });
  }

  /** Reads what was joined since the networks were read at the start. Digests tell of those that have ports somewhere, one by one, and nobody of the others. */
  #readJoined(): void {
    if (!this.#isRead) return;
    const sessions = [...this.#unread].filter(({ rdid, complete }) => !complete && this.#networks.get(rdid) !== undefined);
    this.#unread.clear();
    // What fails tries again by itself.
    if (sessions.length > 0) this.#resyncAll(sessions, 'join').catch(() => undefined);
    if (!this.#tables.complete && this.#networks.all().every((session) => session.complete)) void this.#completeTables();
  }

  async #completeTables(): Promise<void> {
    if (this.#tables.complete || !this.#networks.all().every((session) => session.complete)) return;
    await this.#tables.completed();
    const durationMs = Math.round(this.#with.clock.now() - this.#startedMs);
    this.#with.logger.info({ networks: this.#networks.size, durationMs }, 'tables complete');
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

  #devices(): RoleDevices {
    const each = this.#roles.map((role) => role.devices());
    const union = (pick: (one: RoleDevices) => ReadonlySet<number>): Set<number> => new Set(each.flatMap((one) => [...pick(one)]));
    return { used: union(({ used }) => used), untaken: union(({ untaken }) => untaken) };
  }

  #onGateways(): void {
    // Roles look for networks, which are not all there before.
    if (!this.#isRestored) return;
    this.#giving = this.#giving.then(async () => await inSlices(this.#networks.all(), (session) => this.#giveAssignment(session)));
    for (const role of this.#roles) role.onGateways?.();
  }

  /** Tells a network how the work of its gateway is divided: whose frames to believe, and whether this machine is one of them. */
  #giveAssignment(session: NetworkSession): void {
    const gatewayId = session.view.network?.gateway?.gatewayId;
    session.setAssignment(gatewayId === undefined ? undefined : this.#gateways.directory.groups.get(gatewayId)?.assignment);
  }

  /** A network may have come to use a gateway, or ceased to. Of this one only: each tells by itself, and there may be ten thousand. */
  #noteGateway(session: NetworkSession): void {
    if (this.#gatewayUsers.note(session.rdid, session.view.network?.gateway?.gatewayId)) this.#gateways.review();
    this.#giveAssignment(session);
  }

  #registerAgain(): void {
    if (this.#store === undefined || this.#with.bus.state.state !== 'connected') return;
    this.#registration
      .register(this.#store)
      .catch((error: unknown) => this.#with.logger.warn({ reason: messageOf(error) }, 'registering failed; tried again'));
  }

  #onRecords(session: NetworkSession, portId: string | undefined): void {
    if (portId === undefined) this.#noteGateway(session);
    for (const role of this.#roles) {
      role
        .onRecords(session, portId)
        .catch((error: unknown) =>
          this.#with.logger.error({ rdid: session.rdid, port: portId, reason: messageOf(error) }, 'reviewing ports failed'),
        );
    }
  }

  #onChange(): void {
    this.#networks.noteUse((rdid) => this.#roles.some((role) => role.uses(rdid)));
    this.#memory.saveState();
  }

  /** Reads each of the networks, whatever comes of the others. @throws What the first that failed says; each tries again by itself. */
  async #resyncAll(sessions: readonly NetworkSession[], reason: string): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    const resyncs: Promise<void>[] = [];
    const resync = (session: NetworkSession): void => {
      const failed = (error: unknown): void => {
        failure ??= { error };
      };
      resyncs.push(session.resync(reason).catch(failed));
    };
    await this.#reader.together(async () => await inSlices(sessions, resync));
    await Promise.all(resyncs);
    if (failure !== undefined) throw failure.error;
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
    const { clock, bus, logger } = this.#with;
    const now = clock.now();
    for (const role of this.#roles) await role.poll();
    if (this.#stopping) return;
    await this.#networks.leaveUnused();
    this.#readJoined();
    const connected = this.#store !== undefined && bus.state.state === 'connected';
    if (!this.#registration.registered && connected && !this.#connection.isSettling) {
      await this.#trustFeed.refresh();
      await this.#registration
        .register(this.#store!)
        .catch((error: unknown) => logger.warn({ reason: messageOf(error) }, 'registering failed; tried again'));
    }
    if (now - this.#lastTrustMs >= TRUST_MS) {
      this.#lastTrustMs = now;
      await this.#trustFeed.refresh();
    }
    this.#gateways.poll();
    this.#tables.poll();
    await this.#memory.poll();
  }
}

/**
 * Makes the agent of one host: it follows the networks that have ports here, keeps the packet path's tables, owns ports and their
 * devices, and serves requests on `weft.v1.cmd.host.<id>`. Dependencies come in with `components`, options with `init`.
 */
export function createHostAgent(components: HostAgentComponents, init: HostAgentInit, roles: readonly RoleName[] = ['host']): HostAgent {
  const make: Readonly<Record<RoleName, MakeRole>> = {
    host: (parts) => new HostRole(parts, components.devices),
    gateway: makeGatewayRole,
  };
  return new HostAgent(
    components,
    init,
    roles.map((role) => make[role]),
  );
}
