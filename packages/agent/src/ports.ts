import { type commitRecord, getRecord, type RecordEntry, type Store } from '@weft/bus';
import {
  type BindPortRequest,
  type BindPortResult,
  configKey,
  generationRefusal,
  mappingKey,
  type Port,
  type PortBinding,
  type PortStatus,
  type PreparePortRequest,
  placementRefusal,
  resourceName,
  type TrustStore,
  type UnbindPortRequest,
} from '@weft/model';
import type { LocalDevice } from '@weft/tables';
import type { AgentClock, AgentDatapath, AgentLogger, DeviceInfo, Devices, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { AgentError, messageOf } from './errors.ts';
import { KeyedMutex, nextTurn } from './limiter.ts';
import type { NetworkSession } from './network-session.ts';
import type { OwnPort } from './state-store.ts';

// The ports of this host: their devices, and the claims on them.
//
//   bind:     device there and guarded ─┬─► program attached ─► up, port entry ─┬─► both: READY, rows of the port
//                                       └─► claim by CAS ──────────────────────┘
//   move:     device there and guarded ─► program attached ─► up, port entry without READY ─► claim by CAS ─► READY: no frame is lost between
//   unbind:   port entry away ─► program detached ─► TAP removed ─► binding released
//   lost:     a higher generation of another host ─► REDIRECT (the fold does that) ─► port entry away ─► TAP removed once no VM holds it
//
// Work on one port is done one at a time.

/** Who asked, for the audit record. */
export interface Author {
  readonly key: string;
  readonly name: string;
  readonly requestId: string;
}

export interface PortsComponents {
  readonly init: HostAgentInit;
  readonly datapath: AgentDatapath;
  readonly devices: Devices;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  /** @throws {AgentError} `WEFT_ERR_AGENT_NATS_DOWN`, `WEFT_ERR_AGENT_NOT_ADMITTED`. */
  readonly requireStore: () => Store;
  readonly join: (rdid: string) => NetworkSession;
  readonly session: (rdid: string) => NetworkSession | undefined;
  readonly commit: (store: Store, init: CommitPart) => ReturnType<typeof commitRecord>;
  /** Own ports changed: save them. */
  readonly onChange: () => void;
}

export interface CommitPart {
  readonly key: string;
  readonly tenant: string;
  readonly current: RecordEntry | undefined;
  readonly binding: PortBinding;
  readonly author: Author;
  readonly nowMs: number;
  /** The claim stands, and nobody has been told yet. */
  readonly onCommitted: (entry: RecordEntry) => void;
}

interface Held extends OwnPort {
  /** The device the program is attached to; undefined while it is missing. */
  readonly attached: LocalDevice | undefined;
}

/** A device on its way to be a port's. */
interface Equipment {
  /** The program is attached and the device up. A failure is also heard by whoever begins to wait later. */
  readonly ready: Promise<Held>;
}

type DeviceWish = Pick<OwnPort, 'routingDomainId' | 'portId' | 'vsid' | 'device' | 'deviceKind'>;

const MAX_CONFLICTS = 5;
const MAX_UNKNOWN = 3;
// As the kernel judges names (dev_valid_name), and without the % that makes a pattern of one.
const DEVICE_NAME = /^[^\s/:%]{1,15}$/;

export class Ports {
  readonly #on: PortsComponents;
  readonly #mutex = new KeyedMutex();
  readonly #ports = new Map<string, Held>();
  /** Devices that a program is being attached to. */
  readonly #attaching = new Set<number>();

  constructor(components: PortsComponents) {
    this.#on = components;
  }

  /** What is to be saved. */
  saved(): OwnPort[] {
    return [...this.#ports.values()].map(({ attached: _, ...port }) => port);
  }

  /** True while the network has a port of this host, even one that is coming or going. */
  uses(rdid: string): boolean {
    for (const port of this.#ports.values()) if (port.routingDomainId === rdid && port.state !== 'leaving') return true;
    return false;
  }

  /** The port and device with that index. */
  byIfindex(ifindex: number): OwnPort | undefined {
    for (const port of this.#ports.values()) if (port.attached?.ifindex === ifindex) return port;
    return undefined;
  }

  /** Indexes of all devices that are, are about to be, or just were, a port's. */
  ifindexes(): Set<number> {
    return new Set([...this.#attaching, ...[...this.#ports.values()].flatMap((port) => port.attached?.ifindex ?? [])]);
  }

  /** Indexes of devices that are there and whose port is bound, but which could not be taken up (yet): the last run's work goes on on them. */
  untaken(): Set<number> {
    const found = new Set<number>();
    for (const { state, attached, device } of this.#ports.values()) {
      const ifindex = state === 'bound' && attached === undefined ? this.#on.devices.ifindex(device) : undefined;
      if (ifindex !== undefined) found.add(ifindex);
    }
    return found;
  }

  status(): PortStatus[] {
    return [...this.#ports.values()].map(({ portId, routingDomainId, device, state, attached }) => {
      const view = this.#on.session(routingDomainId)?.view;
      const configured = view?.port(portId) !== undefined;
      const shown =
        state === 'bound' && attached === undefined ? 'device-missing' : state === 'bound' && !configured ? 'not-configured' : state;
      return { portId, routingDomainId, device, state: shown, generation: view?.binding(portId)?.generation ?? 0 };
    });
  }

  /** Takes up the ports of the last run. A device that is missing is waited for; a TAP of the agent's own is made again. */
  async restore(ports: readonly OwnPort[]): Promise<void> {
    for (const port of ports) {
      this.#ports.set(port.portId, { ...port, attached: undefined });
      if (port.state === 'bound' || port.state === 'prepared') await this.#equipQuietly(port.portId);
      if (port.state === 'leaving') await this.#removeDevice(this.#ports.get(port.portId)!);
    }
  }

  /** Claims a port for this host. Idempotent. @throws {AgentError} See the codes in errors.ts. */
  bind(request: BindPortRequest, author: Author): Promise<BindPortResult> {
    return this.#mutex.run(request.portId, () => this.#bind(request, author));
  }

  /** Makes everything but the claim. Idempotent. */
  prepare(request: PreparePortRequest): Promise<void> {
    return this.#mutex.run(request.portId, async () => {
      checkDeviceName(request.device);
      const store = this.#on.requireStore();
      const { session, port } = await this.#look(request, store);
      const held = this.#ports.get(request.portId);
      if (held?.state === 'bound' && held.device === request.device && held.attached !== undefined) return;
      this.#checkPlacement(port, session);
      await this.#equip({ ...request, vsid: port.vsid }, 'prepared');
    });
  }

  /** Tenant of a network, read from the store if it is not followed yet; '' if there is no such network. */
  async tenantOf(rdid: string): Promise<string> {
    const found = this.#on.session(rdid)?.view.network;
    if (found !== undefined) return found.tenant;
    const entry = await getRecord(this.#on.requireStore().config, configKey.network(rdid));
    if (entry?.record?.kind !== 'network' || this.#on.trust.mayWrite(entry.change, entry.signer) !== undefined) return '';
    return entry.record.value.tenant;
  }

  /** Gives a port up. Idempotent for a port that is prepared here or has moved away. */
  unbind(request: UnbindPortRequest, author: Author): Promise<void> {
    return this.#mutex.run(request.portId, () => this.#unbind(request, author));
  }

  /**
   * After records of a network changed: ports lost to others are taken down, own bindings that nobody tends are taken up.
   * @param portId The port whose record changed; undefined: look at all.
   */
  async review(session: NetworkSession, portId?: string): Promise<void> {
    const all = portId === undefined;
    for (const held of all ? [...this.#ports.values()] : [this.#ports.get(portId)]) {
      if (held?.routingDomainId !== session.rdid || held.state !== 'bound') continue;
      if (this.#isToReclaim(held, session)) await this.#mutex.run(held.portId, () => this.#reclaim(held.portId, session));
      else if (this.#isLost(held, session)) await this.#mutex.run(held.portId, () => this.#yieldPort(held.portId, session));
    }
    if (!session.complete) return;
    for (const binding of all ? [...session.view.bindings()] : [session.view.binding(portId)]) {
      if (binding?.hostId !== this.#on.init.hostId || binding.state !== 'bound') continue;
      const held = this.#ports.get(binding.portId);
      if (held?.state === 'bound' || held?.state === 'releasing') continue;
      await this.#mutex.run(binding.portId, () => this.#adopt(binding.portId, session));
    }
  }

  /** Once a second: devices that came, went or changed, TAPs to be removed, releases to be told. */
  async poll(): Promise<void> {
    for (const { portId } of [...this.#ports.values()]) {
      await this.#mutex.run(portId, async () => {
        const held = this.#ports.get(portId);
        if (held === undefined) return;
        if (held.state === 'leaving') await this.#removeDevice(held);
        else if (held.state === 'releasing') await this.#retryRelease(held);
        else if (this.#on.devices.ifindex(held.device) !== held.attached?.ifindex) await this.#equipQuietly(portId);
      });
    }
  }

  /** Takes all devices down, for `stop({ purge: true })`. Claims stay. */
  async purge(): Promise<void> {
    for (const held of [...this.#ports.values()]) await this.#mutex.run(held.portId, () => this.#takeDown(held));
  }

  async #bind(request: BindPortRequest, author: Author): Promise<BindPortResult> {
    const { init, clock } = this.#on;
    const startedMs = clock.now();
    checkDeviceName(request.device);
    const store = this.#on.requireStore();
    const wasHeld = this.#ports.get(request.portId);
    let equipment: Equipment | undefined;
    let claimed: PortBinding | undefined;
    try {
      for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
        const { session, port, current } = await this.#look(request, store);
        const binding = session.view.binding(request.portId);
        this.#checkPlacement(port, session);
        this.#checkClaim(request, port, binding);
        equipment ??= await this.#beginToEquip({ ...request, vsid: port.vsid }, wasHeld?.state === 'bound' ? 'bound' : 'prepared');
        // Nobody sends to a port that nobody has: only then others may hear of the claim before the device is ready.
        // What the kernel refuses, it refuses at once: then nothing is claimed.
        if (wasHeld !== undefined || binding?.state === 'bound') await equipment.ready;
        else await Promise.race([equipment.ready, nextTurn()]);
        const here = binding?.state === 'bound' && binding.hostId === init.hostId;
        if (
          here &&
          stands(current, binding) &&
          binding.device === request.device &&
          binding.deviceKind === request.deviceKind &&
          binding.providerAddress === init.providerAddress
        ) {
          this.#become(await equipment.ready, 'bound', binding.generation);
          return { binding, revision: current?.revision ?? 0, mtuBytes: init.underlayMtu - 50 };
        }
        const moved = binding?.state === 'bound' && !here;
        const next: PortBinding = {
          portId: request.portId,
          routingDomainId: request.routingDomainId,
          vsid: port.vsid,
          hostId: init.hostId,
          providerAddress: init.providerAddress,
          generation: Math.max(binding?.generation ?? 0, generationOf(current)) + 1,
          state: 'bound',
          device: request.device,
          deviceKind: request.deviceKind,
          previousHostId: moved ? binding.hostId : '',
          previousProviderAddress: moved ? binding.providerAddress : '',
        };
        const revision = await this.#write(store, session, { port, current, binding: next, author });
        if (revision === undefined) continue;
        claimed = next;
        const claimedMs = clock.now();
        // Saved while the kernel still attaches.
        this.#become(this.#ports.get(request.portId)!, 'bound', next.generation);
        await equipment.ready;
        this.#on.logger.info(
          {
            rdid: next.routingDomainId,
            port: next.portId,
            device: next.device,
            generation: next.generation,
            revision,
            claimMs: Math.round(claimedMs - startedMs),
            durationMs: Math.round(clock.now() - startedMs),
          },
          moved ? 'port moved here' : 'port bound',
        );
        return { binding: next, revision, mtuBytes: init.underlayMtu - 50 };
      }
      throw new AgentError(
        'WEFT_ERR_AGENT_CONFLICT',
        `Cannot bind port ${request.portId}: its binding was changed by others ${MAX_CONFLICTS} times in a row; try again`,
        { resource: `Port ${request.portId}` },
      );
    } catch (error) {
      await equipment?.ready.catch(() => undefined);
      const unknown = error instanceof AgentError && error.code === 'WEFT_ERR_AGENT_UNKNOWN_OUTCOME';
      if (claimed !== undefined) await this.#giveBack(request.portId, author);
      else if (equipment !== undefined && wasHeld === undefined && !unknown) await this.#undo(request.portId);
      throw error;
    }
  }

  /** Writes a binding. @returns Its revision; undefined when another write came first. */
  async #write(
    store: Store,
    session: NetworkSession,
    part: {
      readonly port: Port | undefined;
      readonly current: RecordEntry | undefined;
      readonly binding: PortBinding;
      readonly author: Author;
    },
  ): Promise<number | undefined> {
    const { port, current, binding, author } = part;
    const key = mappingKey(binding.routingDomainId, binding.vsid, binding.portId);
    const nowMs = this.#on.clock.unixMs();
    let reason = '';
    // READY before the others hear of it: their next frame may be here before this host's next instruction.
    const onCommitted = ({ revision, envelope }: RecordEntry): void => {
      const { bucketCreatedUnixMs } = store.mapping;
      session.take(
        { kind: 'binding', portId: binding.portId, bucket: 'mapping', key, revision, bucketCreatedUnixMs, value: binding },
        envelope,
      );
    };
    // The same bytes each time, so that a write of unknown outcome is recognised when it is found standing.
    for (let attempt = 0; attempt < MAX_UNKNOWN; attempt++) {
      const { outcome } = await this.#on.commit(store, { key, tenant: port?.tenant ?? '', current, binding, author, nowMs, onCommitted });
      if (outcome.status === 'conflict') return undefined;
      if (outcome.status === 'committed') return outcome.revision;
      reason = outcome.status === 'unknown' ? outcome.reason : '';
    }
    throw new AgentError(
      'WEFT_ERR_AGENT_UNKNOWN_OUTCOME',
      `Cannot say whether the binding of port ${binding.portId} was written: ${reason}; repeat the request, it is idempotent`,
      { resource: `Port ${binding.portId}` },
    );
  }

  async #unbind(request: UnbindPortRequest, author: Author): Promise<void> {
    this.#on.requireStore();
    const held = this.#ports.get(request.portId);
    if (held === undefined || held.state === 'leaving' || held.routingDomainId !== request.routingDomainId) {
      if (held?.state === 'leaving') return;
      throw new AgentError(
        'WEFT_ERR_AGENT_NOT_BOUND_HERE',
        `Cannot unbind port ${request.portId} on host ${this.#on.init.hostId}: it is not bound here; \`weft describe port\` tells where it is`,
        { resource: `Port ${request.portId}` },
      );
    }
    if (held.state === 'prepared') {
      await this.#takeDown(held);
      return;
    }
    this.#become(held, 'releasing');
    await this.#detach(held);
    if (held.ownsDevice && (await this.#tryRemoveTap(held)) && held.attached !== undefined)
      this.#on.datapath.detachDevice(held.attached.ifindex);
    await this.#finishRelease(this.#ports.get(request.portId)!, author);
  }

  /** The device is down; tells the store. */
  async #finishRelease(held: Held, author: Author): Promise<void> {
    const store = this.#on.requireStore();
    const { hostId } = this.#on.init;
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      const { session, current } = await this.#lookBinding(held, store);
      const binding = session.view.binding(held.portId);
      if (binding?.state === 'bound' && binding.hostId === hostId) {
        const released = { ...binding, state: 'released' as const, previousHostId: '', previousProviderAddress: '' };
        const revision = await this.#write(store, session, { port: session.view.port(held.portId), current, binding: released, author });
        if (revision === undefined) continue;
        this.#on.logger.info({ rdid: held.routingDomainId, port: held.portId, generation: released.generation, revision }, 'port released');
      }
      await this.#takeDown(held);
      return;
    }
    throw new AgentError(
      'WEFT_ERR_AGENT_CONFLICT',
      `Cannot release port ${held.portId}: its binding was changed by others again and again; it is tried again`,
    );
  }

  async #retryRelease(held: Held): Promise<void> {
    try {
      await this.#finishRelease(held, { key: '', name: this.#on.init.hostId, requestId: `release-${held.portId}` });
    } catch (error) {
      this.#on.logger.debug(
        { rdid: held.routingDomainId, port: held.portId, reason: messageOf(error) },
        'port not released yet; tried again',
      );
    }
  }

  /** Port and binding as the store has them now, folded into the view. */
  async #look(
    { routingDomainId, portId }: { readonly routingDomainId: string; readonly portId: string },
    store: Store,
  ): Promise<{ session: NetworkSession; port: Port; current: RecordEntry | undefined }> {
    const session = this.#on.join(routingDomainId);
    const vsid = session.view.port(portId)?.vsid;
    // The binding is read along with the port where its key is known already.
    let binding: Promise<RecordEntry | undefined> | undefined;
    if (!session.complete) await session.resync('join');
    else {
      binding = vsid === undefined ? undefined : session.fetchBinding(store, portId, vsid);
      await Promise.all([session.fetchPort(store, portId), binding]);
    }
    if (session.storeLost) {
      throw new AgentError(
        'WEFT_ERR_AGENT_STORE_LOST',
        `Cannot use port ${portId}: the store is another one than before, or lost records, and is not believed; see the agent's conditions`,
        { resource: `Port ${portId}` },
      );
    }
    if (session.view.network === undefined) {
      throw new AgentError(
        'WEFT_ERR_AGENT_NO_SUCH_NETWORK',
        `Cannot use port ${portId}: network ${routingDomainId} is not configured; apply it first (\`weft apply\`)`,
        { resource: `VirtualNetwork ${routingDomainId}`, value: routingDomainId },
      );
    }
    const port = session.view.port(portId);
    if (port === undefined) {
      throw new AgentError(
        'WEFT_ERR_AGENT_NO_SUCH_PORT',
        `Cannot use port ${portId}: network ${session.view.network.tenant}/${session.view.network.name} has no such port; apply it first (\`weft apply\`)`,
        { resource: `Port ${portId}`, value: portId },
      );
    }
    if (!session.claimedVsids.has(port.vsid)) {
      throw new AgentError(
        'WEFT_ERR_AGENT_VSID_CLAIM',
        `Cannot use ${name(port)}: its VSID ${port.vsid} is not claimed by its network; apply the network again`,
        {
          resource: name(port),
          value: String(port.vsid),
        },
      );
    }
    const current = await (port.vsid === vsid && binding !== undefined ? binding : session.fetchBinding(store, portId, port.vsid));
    return { session, port, current };
  }

  async #lookBinding(held: OwnPort, store: Store): Promise<{ session: NetworkSession; current: RecordEntry | undefined }> {
    const session = this.#on.join(held.routingDomainId);
    return { session, current: await session.fetchBinding(store, held.portId, held.vsid) };
  }

  #checkPlacement(port: Port, session: NetworkSession): void {
    const { hostId, providerAddress } = this.#on.init;
    const wanted = { portId: port.id, routingDomainId: session.rdid, vsid: port.vsid, hostId, providerAddress } as PortBinding;
    if (placementRefusal(wanted, port) === undefined) return;
    const allowed = port.placement.mode === 'list' ? port.placement.hosts.join(', ') : 'no host';
    throw new AgentError(
      'WEFT_ERR_AGENT_PLACEMENT',
      `Cannot bind ${name(port)} on host ${hostId}: its placement allows ${allowed}; bind it there, or change spec.placement`,
      { resource: name(port), path: 'spec.placement', value: hostId },
    );
  }

  #checkClaim(request: BindPortRequest, port: Port, binding: PortBinding | undefined): void {
    const { hostId } = this.#on.init;
    if (request.expectedGeneration !== 0 && (binding?.generation ?? 0) !== request.expectedGeneration) {
      throw new AgentError(
        'WEFT_ERR_AGENT_GENERATION',
        `Cannot bind ${name(port)}: its binding is at generation ${binding?.generation ?? 0}, ${request.expectedGeneration} was expected; look again, then repeat`,
        { resource: name(port), path: 'expectedGeneration', value: String(binding?.generation ?? 0) },
      );
    }
    if (binding?.state === 'bound' && binding.hostId !== hostId && !request.move) {
      throw new AgentError(
        'WEFT_ERR_AGENT_BOUND_ELSEWHERE',
        `Cannot bind ${name(port)} on host ${hostId}: host ${binding.hostId} has it (device ${binding.device}, generation ${binding.generation}); unbind it there, or ask for a move (\`weft port migrate\`)`,
        { resource: name(port), value: binding.hostId },
      );
    }
  }

  /** Device there and guarded, program attached, port entry without READY. Idempotent. */
  async #equip(wish: DeviceWish, state: 'prepared' | 'bound'): Promise<Held> {
    const wasHeld = this.#ports.has(wish.portId);
    const { ready } = await this.#beginToEquip(wish, state);
    try {
      return await ready;
    } catch (error) {
      if (!wasHeld) await this.#undo(wish.portId);
      throw error;
    }
  }

  /** As `#equip`; what the kernel takes its time for is only begun. From here on the port is held, with no device yet. */
  async #beginToEquip(wish: DeviceWish, state: 'prepared' | 'bound'): Promise<Equipment> {
    const { devices, clock, init } = this.#on;
    this.#checkDeviceFree(wish);
    const before = this.#ports.get(wish.portId);
    if (before !== undefined && before.device !== wish.device) await this.#takeDown(before);
    const same = before?.device === wish.device ? before : undefined;
    let made = same?.ownsDevice ?? false;
    if (same?.attached !== undefined && devices.ifindex(wish.device) === same.attached.ifindex) {
      this.#on.session(wish.routingDomainId)?.setDevice(wish.portId, same.attached, clock.now());
      return { ready: Promise.resolve(this.#put({ ...same, ...pick(wish), state: same.state === 'bound' ? 'bound' : state })) };
    }
    let info = await devices.inspect(wish.device);
    const ownUse = init.reservedDevices?.includes(wish.device) ? 'the tunnels use it' : info?.ownUse;
    if (ownUse !== undefined) {
      throw new AgentError(
        'WEFT_ERR_AGENT_DEVICE_RESERVED',
        `Cannot use device ${wish.device} for a port: ${ownUse}; a port's device must be its own, name another`,
        { path: 'device', value: wish.device },
      );
    }
    try {
      if (info === undefined) {
        if (wish.deviceKind !== 'tap') {
          throw new AgentError(
            'WEFT_ERR_AGENT_DEVICE_MISSING',
            `Cannot use device ${wish.device}: host ${init.hostId} has none of that name; create it first, or let the agent make a TAP (--tap)`,
            { path: 'device', value: wish.device },
          );
        }
        info = await devices.createTap(wish.device);
        made = true;
      } else if (wish.deviceKind === 'tap' && !info.isTap) {
        throw new AgentError(
          'WEFT_ERR_AGENT_DEVICE_KIND',
          `Cannot use device ${wish.device} as a TAP: it is none; name another, or bind it as a network device (--netdev)`,
          {
            path: 'device',
            value: wish.device,
          },
        );
      }
      await devices.protect(wish.device);
    } catch (error) {
      if (made && same === undefined) await this.#removeQuietly(wish.device);
      throw setupError(wish.device, error);
    }
    this.#checkDeviceFree(wish);
    this.#put({ generation: 0, attached: undefined, ...same, ...pick(wish), state, ownsDevice: made });
    const ready = this.#attach(wish, info, made, made && same === undefined);
    ready.catch(() => undefined);
    return { ready };
  }

  #checkDeviceFree({ portId, device }: DeviceWish): void {
    for (const other of this.#ports.values()) {
      if (other.portId === portId || other.device !== device) continue;
      throw new AgentError(
        'WEFT_ERR_AGENT_DEVICE_IN_USE',
        `Cannot use device ${device} for port ${portId}: it belongs to port ${other.portId} (${other.state}); unbind that one, or name another device`,
        { path: 'device', value: device },
      );
    }
  }

  /** Attaches, then brings up: the first frame meets the program. @param fresh Made for this port just now: removed again on failure. */
  async #attach(wish: DeviceWish, info: DeviceInfo, made: boolean, fresh: boolean): Promise<Held> {
    const { devices, datapath, init } = this.#on;
    const { ifindex, kind } = info;
    this.#attaching.add(ifindex);
    try {
      await datapath.attachDeviceAsync({ name: wish.device, ifindex, kind });
      if (made || !info.isUp) await devices.bringUp(wish.device, made ? init.underlayMtu - 50 : undefined);
    } catch (error) {
      if (fresh) await this.#removeQuietly(wish.device);
      throw setupError(wish.device, error);
    } finally {
      this.#attaching.delete(ifindex);
    }
    const now = this.#ports.get(wish.portId)!;
    if (now.attached !== undefined && now.attached.ifindex !== ifindex) datapath.detachDevice(now.attached.ifindex);
    const held = this.#put({ ...now, attached: { ifindex, kind } });
    this.#on.session(wish.routingDomainId)?.setDevice(wish.portId, { ifindex, kind }, this.#on.clock.now());
    this.#on.conditions.clear('DEVICE_MISSING', wish.portId);
    return held;
  }

  async #removeQuietly(device: string): Promise<void> {
    await Promise.resolve(this.#on.devices.removeTap(device)).catch(() => undefined);
  }

  async #equipQuietly(portId: string): Promise<void> {
    const held = this.#ports.get(portId);
    if (held === undefined) return;
    const { devices, clock } = this.#on;
    const present = devices.ifindex(held.device) !== undefined;
    if (held.attached !== undefined && devices.ifindex(held.device) !== held.attached.ifindex) {
      // The device is gone, or another one under its name: its index must not stay READY, the kernel may give it away again.
      this.#on.session(held.routingDomainId)?.setDevice(portId, undefined, clock.now());
      this.#on.datapath.detachDevice(held.attached.ifindex);
      this.#put({ ...held, attached: undefined });
    }
    try {
      if (present || held.ownsDevice) await this.#equip(held, held.state === 'bound' ? 'bound' : 'prepared');
      else
        throw new AgentError(
          'WEFT_ERR_AGENT_DEVICE_MISSING',
          `Device ${held.device} of port ${portId} is missing; create it, or unbind the port`,
        );
    } catch (error) {
      this.#on.conditions.raise('DEVICE_MISSING', messageOf(error), portId);
    }
  }

  /** The store says the port is this host's, and nobody here tends it: the agent's own memory was lost, or a claim's outcome was unknown. */
  async #adopt(portId: string, session: NetworkSession): Promise<void> {
    const binding = session.view.binding(portId);
    const held = this.#ports.get(portId);
    if (binding?.state !== 'bound' || binding.hostId !== this.#on.init.hostId || held?.state === 'bound' || held?.state === 'releasing')
      return;
    this.#on.logger.info(
      { rdid: session.rdid, port: portId, device: binding.device, generation: binding.generation },
      'own binding found, port taken up',
    );
    const own = held?.device === binding.device;
    this.#put({
      routingDomainId: session.rdid,
      portId,
      vsid: binding.vsid,
      device: binding.device,
      deviceKind: binding.deviceKind,
      generation: binding.generation,
      ownsDevice: own ? held.ownsDevice : binding.deviceKind === 'tap',
      state: 'bound',
      attached: own ? held.attached : undefined,
    });
    await this.#equipQuietly(portId);
  }

  /** Another host has claimed the port, or its binding is gone. */
  async #yieldPort(portId: string, session: NetworkSession): Promise<void> {
    const held = this.#ports.get(portId);
    if (held?.state !== 'bound' || !this.#isLost(held, session)) return;
    const { hostId: host = '', generation = 0 } = session.view.binding(portId) ?? {};
    this.#on.logger.info({ rdid: session.rdid, port: portId, host, generation, reason: 'claimed by another host, or gone' }, 'port lost');
    await this.#takeDown(held);
  }

  /**
   * The claim must be written anew: this host's provider address has changed, or a person told it to believe a store that lost the claim. The
   * host that has the port is the one that knows.
   */
  #isToReclaim(held: OwnPort, session: NetworkSession): boolean {
    if (!session.complete) return false;
    const { hostId, providerAddress, acceptNewStore } = this.#on.init;
    const binding = session.view.binding(held.portId);
    if (binding === undefined) return acceptNewStore === true && held.generation > 0 && session.view.port(held.portId) !== undefined;
    return binding.hostId === hostId && binding.state === 'bound' && binding.providerAddress !== providerAddress;
  }

  async #reclaim(portId: string, session: NetworkSession): Promise<void> {
    const held = this.#ports.get(portId);
    if (held?.state !== 'bound' || !this.#isToReclaim(held, session)) return;
    const { hostId, providerAddress } = this.#on.init;
    const store = this.#on.requireStore();
    const { port, current } = await this.#look(held, store);
    const known = session.view.binding(portId);
    if (known !== undefined && known.hostId !== hostId) return;
    // Not above what the store can have: with a store made anew the count begins anew, too.
    const generation = Math.max(known?.generation ?? 0, generationOf(current)) + 1;
    const { routingDomainId, vsid, device, deviceKind } = held;
    const place = { hostId, providerAddress, device, deviceKind, previousHostId: '', previousProviderAddress: '' };
    const binding: PortBinding = { portId, routingDomainId, vsid, generation, state: 'bound', ...place };
    const revision = await this.#write(store, session, {
      port,
      current,
      binding,
      author: { key: '', name: hostId, requestId: `reclaim-${portId}` },
    });
    if (revision === undefined) return;
    this.#put({ ...held, generation });
    this.#on.onChange();
    this.#on.logger.info(
      { rdid: session.rdid, port: portId, generation, revision, pa: providerAddress, reason: 'address changed, or store renewed' },
      'port claimed anew',
    );
  }

  #isLost(held: OwnPort, session: NetworkSession): boolean {
    const binding = session.view.binding(held.portId);
    if (binding === undefined) return session.complete;
    return binding.hostId !== this.#on.init.hostId || binding.state !== 'bound';
  }

  /** Port entry away, device away; the port is no longer this host's. */
  async #takeDown(held: Held): Promise<void> {
    await this.#detach(held);
    const now = this.#ports.get(held.portId) ?? held;
    if (now.ownsDevice) {
      this.#put({ ...now, state: 'leaving' });
      await this.#removeDevice(this.#ports.get(held.portId)!);
    } else this.#ports.delete(held.portId);
    this.#on.conditions.clear('DEVICE_MISSING', held.portId);
    this.#on.onChange();
  }

  /** The port entry goes at once. A TAP that a VM holds keeps the program, which drops for lack of an entry; others lose it. */
  async #detach(held: Held): Promise<void> {
    this.#on.session(held.routingDomainId)?.setDevice(held.portId, undefined, this.#on.clock.now());
    if (held.attached !== undefined && !held.ownsDevice) this.#on.datapath.detachDevice(held.attached.ifindex);
    if (!held.ownsDevice) this.#put({ ...(this.#ports.get(held.portId) ?? held), attached: undefined });
  }

  async #removeDevice(held: Held): Promise<void> {
    if (!(await this.#tryRemoveTap(held))) return;
    if (held.attached !== undefined) this.#on.datapath.detachDevice(held.attached.ifindex);
    this.#ports.delete(held.portId);
    this.#on.onChange();
  }

  /** @returns Whether the TAP is gone. While a VM holds it, it stays, silent: `poll` tries again. */
  async #tryRemoveTap(held: Held): Promise<boolean> {
    const { devices, conditions } = this.#on;
    try {
      if ((await devices.removeTap(held.device)) !== 'held') {
        conditions.clear('DEVICE_HELD', held.portId);
        return true;
      }
      conditions.raise(
        'DEVICE_HELD',
        `TAP ${held.device} of port ${held.portId}, which is gone, is still open in a VM; it is removed when the VM closes it`,
        held.portId,
      );
    } catch (error) {
      conditions.raise('DEVICE_HELD', `Cannot remove TAP ${held.device}: ${messageOf(error)}; tried again`, held.portId);
    }
    return false;
  }

  /** The claim stands, but the device can't serve it. What the store can't be told now is told by `poll`. */
  async #giveBack(portId: string, author: Author): Promise<void> {
    const held = this.#ports.get(portId);
    if (held === undefined) return;
    this.#become(held, 'releasing');
    await this.#detach(held);
    await this.#finishRelease(this.#ports.get(portId)!, author).catch((error: unknown) =>
      this.#on.logger.warn({ rdid: held.routingDomainId, port: portId, reason: messageOf(error) }, 'port not released yet; tried again'),
    );
  }

  /** Takes back what a bind that failed has made. */
  async #undo(portId: string): Promise<void> {
    const held = this.#ports.get(portId);
    if (held !== undefined) await this.#takeDown(held);
  }

  #become(held: Held, state: OwnPort['state'], generation = held.generation): void {
    const now = this.#ports.get(held.portId) ?? held;
    if (now.state === state && now.generation === generation) return;
    this.#put({ ...now, state, generation });
    this.#on.onChange();
  }

  #put(held: Held): Held {
    this.#ports.set(held.portId, held);
    return held;
  }
}

function pick({ routingDomainId, portId, vsid, device, deviceKind }: DeviceWish): DeviceWish {
  return { routingDomainId, portId, vsid, device, deviceKind };
}

/**
 * The generation that a new claim must exceed, as far as it stands in the store. Whoever wrote it: others may have believed it when its
 * placement was another. But not one that nobody believes, which would leave no higher one to the rightful host.
 */
function generationOf(entry: RecordEntry | undefined): number {
  const [record, revision] =
    entry?.record === undefined ? [entry?.change.before, entry?.change.replacesRevision ?? 0] : [entry.record, entry.revision];
  if (record?.kind !== 'binding' || generationRefusal(record.value, revision) !== undefined) return 0;
  return record.value.generation;
}

/** Whether the store has the binding as it is in force; else something stands there that is not believed. */
function stands(entry: RecordEntry | undefined, binding: PortBinding): boolean {
  return entry?.record?.kind === 'binding' && entry.record.value.hostId === binding.hostId && generationOf(entry) === binding.generation;
}

function setupError(device: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  return new AgentError(
    'WEFT_ERR_AGENT_DEVICE_SETUP',
    `Cannot make device ${device} ready: ${messageOf(error)}`,
    { path: 'device', value: device },
    { cause: error },
  );
}

function name(port: Port): string {
  return resourceName({ kind: 'port', value: port });
}

function checkDeviceName(device: string): void {
  if (DEVICE_NAME.test(device) && device !== '.' && device !== '..') return;
  throw new AgentError(
    'WEFT_ERR_AGENT_DEVICE_NAME',
    `Cannot use device name ${JSON.stringify(device)}: must have 1 to 15 characters, without space, slash, colon or percent sign`,
    { path: 'device', value: device },
  );
}
