import type { BindPortRequest, BindPortResult, PortBinding, PortStatus, PreparePortRequest, UnbindPortRequest } from '@weft/model';
import type { AgentLogger } from './components.ts';
import { AgentError, messageOf } from './errors.ts';
import { type Held, HeldPorts } from './held-ports.ts';
import { KeyedMutex, nextTurn } from './limiter.ts';
import type { NetworkSession } from './network-session.ts';
import { type Author, generationOf, PortClaims, type PortClaimsComponents, stands } from './port-claims.ts';
import { checkDeviceName, type Equipment, PortDevices, type PortDevicesComponents } from './port-devices.ts';
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

export interface PortsComponents extends PortDevicesComponents, PortClaimsComponents {
  readonly logger: AgentLogger;
}

const MAX_CONFLICTS = 5;

export class Ports {
  readonly #on: PortsComponents;
  readonly #mutex = new KeyedMutex();
  readonly #ports: HeldPorts;
  readonly #devices: PortDevices;
  readonly #claims: PortClaims;

  constructor(components: PortsComponents) {
    this.#on = components;
    this.#ports = new HeldPorts(components.onChange);
    this.#devices = new PortDevices(components, this.#ports);
    this.#claims = new PortClaims(components);
  }

  /** Who has what. */
  get held(): HeldPorts {
    return this.#ports;
  }

  /** @returns The network's tenant, read from the store if it is not followed yet; '' if there is no such network. */
  tenantOf(rdid: string): Promise<string> {
    return this.#claims.tenantOf(rdid);
  }

  /** Indexes of devices that are there and whose port is bound, but which could not be taken up (yet): the last run's work goes on on them. */
  untaken(): Set<number> {
    const found = new Set<number>();
    for (const { state, attached, device } of this.#ports.all()) {
      const ifindex = state === 'bound' && attached === undefined ? this.#on.devices.ifindex(device) : undefined;
      if (ifindex !== undefined) found.add(ifindex);
    }
    return found;
  }

  status(): PortStatus[] {
    return this.#ports.all().map(({ portId, routingDomainId, device, state, attached }) => {
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
      this.#ports.put({ ...port, attached: undefined });
      if (port.state === 'bound' || port.state === 'prepared') await this.#devices.equipQuietly(port.portId);
      if (port.state === 'leaving') await this.#devices.removeDevice(this.#ports.get(port.portId)!);
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
      const { session, port } = await this.#claims.look(request, store);
      const held = this.#ports.get(request.portId);
      if (held?.state === 'bound' && held.device === request.device && held.attached !== undefined) return;
      this.#claims.checkPlacement(port, session);
      await this.#devices.equip({ ...request, vsid: port.vsid }, 'prepared');
    });
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
    for (const held of all ? this.#ports.all() : [this.#ports.get(portId)]) {
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
    for (const { portId } of this.#ports.all()) {
      await this.#mutex.run(portId, async () => {
        const held = this.#ports.get(portId);
        if (held === undefined) return;
        if (held.state === 'leaving') await this.#devices.removeDevice(held);
        else if (held.state === 'releasing') await this.#retryRelease(held);
        else if (this.#on.devices.ifindex(held.device) !== held.attached?.ifindex) await this.#devices.equipQuietly(portId);
      });
    }
  }

  /** Takes all devices down, for `stop({ purge: true })`. Claims stay. */
  async purge(): Promise<void> {
    for (const held of this.#ports.all()) await this.#mutex.run(held.portId, () => this.#devices.takeDown(held));
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
        const { session, port, current } = await this.#claims.look(request, store);
        const binding = session.view.binding(request.portId);
        this.#claims.checkPlacement(port, session);
        this.#claims.checkClaim(request, port, binding);
        equipment ??= await this.#devices.beginToEquip({ ...request, vsid: port.vsid }, wasHeld?.state === 'bound' ? 'bound' : 'prepared');
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
          this.#ports.become(await equipment.ready, 'bound', binding.generation);
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
        const revision = await this.#claims.write(store, session, { port, current, binding: next, author });
        if (revision === undefined) continue;
        claimed = next;
        const claimedMs = clock.now();
        // Saved while the kernel still attaches.
        this.#ports.become(this.#ports.get(request.portId)!, 'bound', next.generation);
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
      else if (equipment !== undefined && wasHeld === undefined && !unknown) await this.#devices.undo(request.portId);
      throw error;
    }
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
      await this.#devices.takeDown(held);
      return;
    }
    this.#ports.become(held, 'releasing');
    await this.#devices.detach(held);
    if (held.ownsDevice && (await this.#devices.tryRemoveTap(held)) && held.attached !== undefined)
      this.#on.datapath.detachDevice(held.attached.ifindex);
    await this.#finishRelease(this.#ports.get(request.portId)!, author);
  }

  /** The device is down; tells the store. */
  async #finishRelease(held: Held, author: Author): Promise<void> {
    const store = this.#on.requireStore();
    const { hostId } = this.#on.init;
    for (let conflicts = 0; conflicts < MAX_CONFLICTS; conflicts++) {
      const { session, current } = await this.#claims.lookBinding(held, store);
      const binding = session.view.binding(held.portId);
      if (binding?.state === 'bound' && binding.hostId === hostId) {
        const released = { ...binding, state: 'released' as const, previousHostId: '', previousProviderAddress: '' };
        const revision = await this.#claims.write(store, session, {
          port: session.view.port(held.portId),
          current,
          binding: released,
          author,
        });
        if (revision === undefined) continue;
        this.#on.logger.info({ rdid: held.routingDomainId, port: held.portId, generation: released.generation, revision }, 'port released');
      }
      await this.#devices.takeDown(held);
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
    this.#ports.put({
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
    await this.#devices.equipQuietly(portId);
  }

  /** Another host has claimed the port, or its binding is gone. */
  async #yieldPort(portId: string, session: NetworkSession): Promise<void> {
    const held = this.#ports.get(portId);
    if (held?.state !== 'bound' || !this.#isLost(held, session)) return;
    const { hostId: host = '', generation = 0 } = session.view.binding(portId) ?? {};
    this.#on.logger.info(
      { rdid: session.rdid, port: portId, peer: host, generation, reason: 'claimed by another host, or gone' },
      'port lost',
    );
    await this.#devices.takeDown(held);
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
    const { port, current } = await this.#claims.look(held, store);
    const known = session.view.binding(portId);
    if (known !== undefined && known.hostId !== hostId) return;
    // Not above what the store can have: with a store made anew the count begins anew, too.
    const generation = Math.max(known?.generation ?? 0, generationOf(current)) + 1;
    const { routingDomainId, vsid, device, deviceKind } = held;
    const place = { hostId, providerAddress, device, deviceKind, previousHostId: '', previousProviderAddress: '' };
    const binding: PortBinding = { portId, routingDomainId, vsid, generation, state: 'bound', ...place };
    const revision = await this.#claims.write(store, session, {
      port,
      current,
      binding,
      author: { key: '', name: hostId, requestId: `reclaim-${portId}` },
    });
    if (revision === undefined) return;
    this.#ports.put({ ...held, generation });
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

  /** The claim stands, but the device can't serve it. What the store can't be told now is told by `poll`. */
  async #giveBack(portId: string, author: Author): Promise<void> {
    const held = this.#ports.get(portId);
    if (held === undefined) return;
    this.#ports.become(held, 'releasing');
    await this.#devices.detach(held);
    await this.#finishRelease(this.#ports.get(portId)!, author).catch((error: unknown) =>
      this.#on.logger.warn({ rdid: held.routingDomainId, port: portId, reason: messageOf(error) }, 'port not released yet; tried again'),
    );
  }
}
