import { type commitRecord, getRecord, type RecordEntry, type Store } from '@weft/bus';
import {
  type BindPortRequest,
  configKey,
  generationRefusal,
  mappingKey,
  type Port,
  type PortBinding,
  placementRefusal,
  resourceName,
  type TrustStore,
} from '@weft/model';
import type { AgentClock, HostAgentInit } from './components.ts';
import { AgentError } from './errors.ts';
import type { NetworkSession } from './network-session.ts';
import type { OwnPort } from './state-store.ts';

// What the store has of a port, whether this host may claim it, and the writing of its binding.

/** Who asked, for the audit record. */
export interface Author {
  readonly key: string;
  readonly name: string;
  readonly requestId: string;
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

export interface PortClaimsComponents {
  readonly init: HostAgentInit;
  readonly trust: TrustStore;
  readonly clock: AgentClock;
  /** @throws {AgentError} `WEFT_ERR_AGENT_NATS_DOWN`, `WEFT_ERR_AGENT_NOT_ADMITTED`. */
  readonly requireStore: () => Store;
  readonly join: (rdid: string) => NetworkSession;
  readonly session: (rdid: string) => NetworkSession | undefined;
  readonly commit: (store: Store, init: CommitPart) => ReturnType<typeof commitRecord>;
}

const MAX_UNKNOWN = 3;

export class PortClaims {
  readonly #on: PortClaimsComponents;

  constructor(components: PortClaimsComponents) {
    this.#on = components;
  }

  /** Tenant of a network, read from the store if it is not followed yet; '' if there is no such network. */
  async tenantOf(rdid: string): Promise<string> {
    const found = this.#on.session(rdid)?.view.network;
    if (found !== undefined) return found.tenant;
    const entry = await getRecord(this.#on.requireStore().config, configKey.network(rdid));
    if (entry?.record?.kind !== 'network' || this.#on.trust.mayWrite(entry.change, entry.signer) !== undefined) return '';
    return entry.record.value.tenant;
  }

  /** Port and binding as the store has them now, folded into the view. */
  async look(
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

  async lookBinding(held: OwnPort, store: Store): Promise<{ session: NetworkSession; current: RecordEntry | undefined }> {
    const session = this.#on.join(held.routingDomainId);
    return { session, current: await session.fetchBinding(store, held.portId, held.vsid) };
  }

  checkPlacement(port: Port, session: NetworkSession): void {
    const { hostId, providerAddress } = this.#on.init;
    const wanted = { portId: port.id, routingDomainId: session.rdid, vsid: port.vsid, hostId, providerAddress } as PortBinding;
    if (placementRefusal(wanted, port) === undefined) return;
    const allowed = port.placement.mode === 'list' ? port.placement.hosts.join(', ') : 'no host';
    throw new AgentError('WEFT_ERR_AGENT_PLACEMENT', `Cannot bind ${name(port)} on host ${hostId}: its placement allows ${allowed}`, {
      resource: name(port),
      path: 'spec.placement',
      value: hostId,
    });
  }

  checkClaim(request: BindPortRequest, port: Port, binding: PortBinding | undefined): void {
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
        `Cannot bind ${name(port)} on host ${hostId}: host ${binding.hostId} has it (device ${binding.device}, generation ${binding.generation})`,
        { resource: name(port), path: 'host', value: binding.hostId },
      );
    }
  }

  /** Writes a binding. @returns Its revision; undefined when another write came first. */
  async write(
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
}

/**
 * The generation that a new claim must exceed, as far as it stands in the store. Whoever wrote it: others may have believed it when its
 * placement was another. But not one that nobody believes, which would leave no higher one to the rightful host.
 */
export function generationOf(entry: RecordEntry | undefined): number {
  const [record, revision] =
    entry?.record === undefined ? [entry?.change.before, entry?.change.replacesRevision ?? 0] : [entry.record, entry.revision];
  if (record?.kind !== 'binding' || generationRefusal(record.value, revision) !== undefined) return 0;
  return record.value.generation;
}

/** Whether the store has the binding as it is in force; else something stands there that is not believed. */
export function stands(entry: RecordEntry | undefined, binding: PortBinding): boolean {
  return entry?.record?.kind === 'binding' && entry.record.value.hostId === binding.hostId && generationOf(entry) === binding.generation;
}

function name(port: Port): string {
  return resourceName({ kind: 'port', value: port });
}
