import { type CallOptions, commitRecord, type HandlerResult, type IncomingRequest, type Store } from '@weft/bus';
import { type Command, parseKey } from '@weft/model';
import type { Devices } from './components.ts';
import type { NetworkSession } from './network-session.ts';
import type { Author } from './port-claims.ts';
import { Ports } from './ports.ts';
import type { AgentParts, Role, RoleDevices, RoleStatus } from './role.ts';
import type { OwnPort, SavedState } from './state-store.ts';
import { recallQuietly } from './verify.ts';

type Incoming = Pick<IncomingRequest, 'request' | 'signer'>;
type CarriedOut = Pick<HandlerResult, 'result'>;

/** The role of a machine with VMs: ports, their devices, and the claims on them. */
export class HostRole implements Role {
  readonly name = 'host' as const;
  readonly #parts: AgentParts;
  readonly #ports: Ports;
  #needsRecovery = false;

  constructor(parts: AgentParts, devices: Devices) {
    this.#parts = parts;
    const { init, bus, identity, trust, datapath, networks, clock, logger, conditions } = parts;
    this.#ports = new Ports({
      init,
      datapath,
      devices,
      trust,
      clock,
      logger,
      conditions,
      requireStore: parts.requireStore,
      join: (rdid) => networks.join(rdid),
      session: (rdid) => networks.get(rdid),
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
      onChange: parts.onChange,
    });
  }

  async start(saved: SavedState | undefined): Promise<void> {
    if (saved === undefined) {
      this.#needsRecovery = true;
      return;
    }
    await this.#ports.restore(saved.ports);
    const self = this.#parts.init.hostId;
    for (const session of this.#parts.networks.all()) {
      const own = saved.ports.filter((port) => port.routingDomainId === session.rdid && port.state === 'bound');
      const whole = own.every(({ portId }) => session.view.port(portId) !== undefined && session.view.binding(portId)?.hostId === self);
      session.coherent = session.view.network !== undefined && whole;
    }
  }

  async stop({ purge }: { readonly purge: boolean }): Promise<void> {
    if (purge) await this.#ports.purge();
  }

  status(): RoleStatus {
    return { ports: this.#ports.status() };
  }

  async onStore(store: Store): Promise<void> {
    if (this.#needsRecovery) await this.#recover(store);
  }

  async onRecords(session: NetworkSession, portId: string | undefined): Promise<void> {
    await this.#ports.review(session, portId);
  }

  async poll(): Promise<void> {
    await this.#ports.poll();
  }

  uses(rdid: string): boolean {
    return this.#ports.held.uses(rdid);
  }

  devices(): RoleDevices {
    return { used: this.#ports.held.ifindexes(), untaken: this.#ports.untaken() };
  }

  portAt(ifindex: number): OwnPort | undefined {
    return this.#ports.held.byIfindex(ifindex);
  }

  saved(): Partial<SavedState> {
    return { ports: this.#ports.held.saved() };
  }

  handle({ request, signer }: Incoming): Promise<CarriedOut> | undefined {
    const { command } = request;
    if (command.kind !== 'bindPort' && command.kind !== 'preparePort' && command.kind !== 'unbindPort') return undefined;
    const author: Author = { key: signer, name: this.#parts.trust.principal(signer)?.name ?? '', requestId: request.requestId };
    return this.#carryOut(command, author);
  }

  async #carryOut(command: Extract<Command, { kind: 'bindPort' | 'preparePort' | 'unbindPort' }>, author: Author): Promise<CarriedOut> {
    await this.#mayWrite(author.key, command.value.routingDomainId);
    if (command.kind === 'bindPort') return { result: { kind: 'bindPort', value: await this.#ports.bind(command.value, author) } };
    if (command.kind === 'preparePort') await this.#ports.prepare(command.value);
    else await this.#ports.unbind(command.value, author);
    return { result: undefined };
  }

  /** A network not followed yet is looked at by the command itself; then its tenant is known. */
  async #mayWrite(signer: string, rdid: string): Promise<void> {
    const { trust } = this.#parts;
    if (trust.mayAct(signer, '', 'write') === undefined) return;
    const tenant = await this.#ports.tenantOf(rdid);
    const refusal = trust.mayAct(signer, tenant, 'write');
    if (refusal !== undefined) throw refusal;
  }

  /** The saved state is lost: which ports are this host's stands in the store, once read through. */
  async #recover(store: Store): Promise<void> {
    const { init, networks, logger } = this.#parts;
    const options: CallOptions = { timeoutMs: 30_000 };
    const { entries } = await store.mapping.snapshot('', options);
    const rdids = new Set<string>();
    for (const entry of entries) {
      const parsed = parseKey('mapping', entry.key);
      if (parsed?.kind !== 'binding' || rdids.has(parsed.routingDomainId)) continue;
      const record = recallQuietly('mapping', store.mapping.bucketCreatedUnixMs, entry, parsed.routingDomainId);
      if (record?.kind === 'binding' && record.value?.hostId === init.hostId && record.value.state === 'bound')
        rdids.add(parsed.routingDomainId);
    }
    for (const rdid of rdids) networks.join(rdid);
    this.#needsRecovery = false;
    if (rdids.size > 0) logger.info({ networks: rdids.size }, 'own bindings found in the store');
  }
}
