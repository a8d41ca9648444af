import { WeftError } from './errors.ts';
import { keyFits, parseKey } from './keys.ts';
import type { Change, Host, Port, PortBinding, Principal, Role } from './records.ts';

// Who may say what. Pure: a fold over principal and host records whose signatures the caller has verified; nothing here does
// cryptography. Trust starts at the anchors, public keys each process is started with. A principal counts if an anchor signed it,
// or an admin that counts itself: judged when asked, so the order in which records come does not matter. Everything unknown is refused.

/** Longest chain anchor → admin → admin … → principal that is followed. */
const MAX_CHAIN = 8;

interface Held<T> {
  readonly value: T;
  readonly signer: string;
  readonly revision: number;
}

export class TrustStore {
  readonly anchors: ReadonlySet<string>;
  readonly #principals = new Map<string, Held<Principal | undefined>>();
  readonly #hosts = new Map<string, Held<Host | undefined>>();

  /** @param anchors Public keys of the installation's first admins. They are admins without a record. */
  constructor(anchors: Iterable<string>) {
    this.anchors = new Set(anchors);
  }

  /**
   * Takes in a change of a principal (config) or of a host (hosts); others are passed over. Older revisions than held are passed
   * over too, so events and snapshots may come in any order; and one signed to replace an older revision than held is refused.
   * @param revision As read from the store: an event's is signed by nobody.
   * @returns Why it was refused; undefined when taken in or passed over. A principal signed by a key that is not (yet) an admin is held
   *   and counts once its signer does; so nothing is returned for it.
   */
  apply(change: Change, signer: string, revision: number): WeftError | undefined {
    const parsed = parseKey(change.bucket, change.key);
    if (parsed?.kind === 'principal') {
      if (change.after !== undefined && !keyFits('config', change.key, change.after)) return misplaced(change);
      const held = this.#principals.get(parsed.publicKey);
      if (held !== undefined && held.revision >= revision) return undefined;
      if (held !== undefined && change.replacesRevision < held.revision) return replayed(change, revision, held.revision);
      // A stranger may not displace what an admin wrote.
      if (held !== undefined && !this.isAdmin(signer) && this.isAdmin(held.signer))
        return notAllowed(change, signer, 'only an admin writes principals');
      const value = change.after?.kind === 'principal' ? change.after.value : undefined;
      this.#principals.set(parsed.publicKey, { value, signer, revision });
      return undefined;
    }
    if (parsed?.kind === 'host') {
      if (change.after !== undefined && !keyFits('hosts', change.key, change.after)) return misplaced(change);
      const held = this.#hosts.get(parsed.hostId);
      if (held !== undefined && held.revision >= revision) return undefined;
      if (held !== undefined && change.replacesRevision < held.revision) return replayed(change, revision, held.revision);
      // A stranger may not displace what the host itself wrote. One whose principal is not here yet is held, and counts with it.
      const known = this.principal(signer) !== undefined;
      const refusal = known || this.host(parsed.hostId) !== undefined ? this.mayWrite(change, signer) : undefined;
      if (refusal !== undefined) return refusal;
      const value = change.after?.kind === 'host' ? change.after.value : undefined;
      this.#hosts.set(parsed.hostId, { value, signer, revision });
    }
    return undefined;
  }

  /** After a snapshot of the principals at `atSequence`: forgets those at most that old which the snapshot lacks. */
  sweep(kind: 'principal' | 'host', keys: ReadonlySet<string>, atSequence: number): void {
    const map: Map<string, Held<unknown>> = kind === 'principal' ? this.#principals : this.#hosts;
    for (const [key, held] of map) if (held.revision <= atSequence && !keys.has(key)) map.delete(key);
  }

  /** The principal with that key, if it counts. Anchors count as admins. */
  principal(key: string): Principal | undefined {
    return this.#principal(key, 0);
  }

  roleOf(key: string): Role {
    return this.principal(key)?.role ?? 'deny';
  }

  isAdmin(key: string): boolean {
    return this.roleOf(key) === 'admin';
  }

  /** The host's record, if that host signed it and counts. */
  host(hostId: string): Host | undefined {
    const held = this.#hosts.get(hostId);
    if (held?.value === undefined) return undefined;
    return this.#isHost(held.signer, hostId) && held.value.publicKey === held.signer ? held.value : undefined;
  }

  hosts(): Host[] {
    return [...this.#hosts.keys()].flatMap((id) => this.host(id) ?? []);
  }

  principals(): Principal[] {
    return [...this.#principals.keys()].flatMap((key) => this.principal(key) ?? []);
  }

  /** Whether `signer` may have written this change. Undefined: yes. */
  mayWrite(change: Change, signer: string): WeftError | undefined {
    for (const record of [change.before, change.after]) {
      if (record !== undefined && !keyFits(change.bucket, change.key, record)) return misplaced(change);
    }
    const parsed = parseKey(change.bucket, change.key);
    if (parsed === undefined) return misplaced(change);
    const role = this.roleOf(signer);
    if (role === 'deny') return unknownKey(`record ${change.bucket} ${change.key}`, signer);
    switch (parsed.kind) {
      case 'principal':
        return role === 'admin' ? undefined : notAllowed(change, signer, 'only an admin writes principals');
      case 'binding': {
        if (role !== 'host') return notAllowed(change, signer, 'only hosts write bindings');
        return change.after?.kind === 'binding' ? this.#mayBind(change.after.value, signer) : undefined;
      }
      case 'host':
        if (role === 'admin' && change.after === undefined) return undefined;
        if (!this.#isHost(signer, parsed.hostId)) return notThatHost(`host record ${parsed.hostId}`, signer);
        if (change.after?.kind === 'host' && change.after.value.publicKey !== signer)
          return notThatHost(`host record ${parsed.hostId}`, signer);
        return undefined;
      // Anybody's word would do: its certificate is what counts.
      case 'grant':
        return role === 'host' ? undefined : notAllowed(change, signer, 'only hosts write down grants');
      default:
        return role === 'controller' ? undefined : notAllowed(change, signer, 'only controllers write configuration');
    }
  }

  /**
   * Whether a binding holds against the port it is about: signer, provider address and placement.
   * @param port The port as configured; undefined when unknown, which refuses.
   */
  mayBind(binding: PortBinding, signer: string, port: Port | undefined): WeftError | undefined {
    const refusal = this.#mayBind(binding, signer);
    if (refusal !== undefined) return refusal;
    return placementRefusal(binding, port);
  }

  /** Whether `signer` may give that answer: a controller for `controller`, that host for a host id. */
  mayAnswer(target: string, signer: string): WeftError | undefined {
    const allowed = target === 'controller' ? this.roleOf(signer) === 'controller' : this.#isHost(signer, target);
    if (allowed) return undefined;
    return new WeftError(
      'WEFT_ERR_TRUST_ROLE',
      `Cannot believe the answer for "${target}": ${signer} is not ${target === 'controller' ? 'a controller' : 'that host'}; find who answers`,
      { target, signer },
    );
  }

  /**
   * Whether `signer` may act for that tenant. Admins for all; tenant users for theirs; viewers only read.
   * @param tenant Tenant name; '' for what belongs to the installation.
   */
  mayAct(signer: string, tenant: string, access: 'read' | 'write'): WeftError | undefined {
    const principal = this.principal(signer);
    if (principal === undefined) return unknownKey('request', signer);
    if (principal.role === 'admin') return undefined;
    if (principal.role === 'viewer' && access === 'read') return undefined;
    if (principal.role === 'tenant') {
      if (tenant !== '' && principal.tenants.includes(tenant)) return undefined;
      return new WeftError(
        'WEFT_ERR_TRUST_TENANT',
        `Cannot act for ${tenant === '' ? 'the installation' : `tenant "${tenant}"`}: ${principal.name} may act for ${principal.tenants.join(', ') || 'no tenant'}; ask an admin`,
        { tenant, signer },
      );
    }
    return new WeftError(
      'WEFT_ERR_TRUST_ROLE',
      `Cannot ${access} configuration as ${principal.name}: its role is ${principal.role}; ask an admin`,
      { signer, role: principal.role },
    );
  }

  #principal(key: string, depth: number): Principal | undefined {
    if (this.anchors.has(key)) return { key, name: this.#principals.get(key)?.value?.name ?? 'admin', role: 'admin', tenants: [] };
    const held = this.#principals.get(key);
    if (held?.value === undefined || depth >= MAX_CHAIN || held.signer === key) return undefined;
    return this.#principal(held.signer, depth + 1)?.role === 'admin' ? held.value : undefined;
  }

  #isHost(key: string, hostId: string): boolean {
    const principal = this.principal(key);
    return principal?.role === 'host' && principal.name === hostId;
  }

  #mayBind(binding: PortBinding, signer: string): WeftError | undefined {
    const host = this.host(binding.hostId);
    if (!this.#isHost(signer, binding.hostId) || host === undefined) return notThatHost(`binding of port ${binding.portId}`, signer);
    if (host.providerAddress !== binding.providerAddress) {
      return new WeftError(
        'WEFT_ERR_TRUST_HOST',
        `Cannot accept the binding of port ${binding.portId}: its provider address ${binding.providerAddress} is not ${host.providerAddress}, that of host ${host.id}`,
        { portId: binding.portId, hostId: host.id },
      );
    }
    return undefined;
  }
}

/** Whether the port's placement allows the binding's host. A port unknown, or another than the binding's, refuses. Undefined: allowed. */
export function placementRefusal(binding: PortBinding, port: Port | undefined): WeftError | undefined {
  const same =
    port !== undefined && port.id === binding.portId && port.routingDomainId === binding.routingDomainId && port.vsid === binding.vsid;
  if (same && (port.placement.mode === 'any' || (port.placement.mode === 'list' && port.placement.hosts.includes(binding.hostId))))
    return undefined;
  const reason = same
    ? `its placement (${port.placement.mode}${port.placement.mode === 'list' ? `: ${port.placement.hosts.join(', ')}` : ''}) leaves host ${binding.hostId} out`
    : 'no such port is configured';
  return new WeftError(
    'WEFT_ERR_TRUST_PLACEMENT',
    `Cannot accept the binding of port ${binding.portId} to host ${binding.hostId}: ${reason}`,
    {
      portId: binding.portId,
      hostId: binding.hostId,
    },
  );
}

/**
 * Whether a binding's generation can be honest: each claim raises it by one and is one write, and a write's revision counts all writes of the
 * bucket; so a generation is never above the revision it stands at. What obeys this leaves room for the next claim, whose revision is higher; a
 * host that wrote the highest number there is would keep the port from all others for ever. Undefined: it can.
 */
export function generationRefusal(binding: PortBinding, revision: number): WeftError | undefined {
  if (binding.generation <= revision) return undefined;
  return new WeftError(
    'WEFT_ERR_TRUST_GENERATION',
    `Cannot accept the binding of port ${binding.portId} by host ${binding.hostId}: generation ${binding.generation} is above its revision ${revision}, which no honest claim reaches; find out what that host does, and bind the port again`,
    { portId: binding.portId, hostId: binding.hostId },
  );
}

function misplaced(change: Change): WeftError {
  return new WeftError(
    'WEFT_ERR_TRUST_KEY',
    `Cannot accept the record under ${change.bucket} ${change.key}: its content belongs elsewhere`,
    {
      bucket: change.bucket,
      key: change.key,
    },
  );
}

/** An old record put again says itself that it was signed to replace something older than what is held. */
function replayed(change: Change, revision: number, held: number): WeftError {
  return new WeftError(
    'WEFT_ERR_TRUST_KEY',
    `Cannot accept the record under ${change.bucket} ${change.key} at revision ${revision}: it was signed to replace revision ${change.replacesRevision}, ${held} stood there; an old record put again`,
    { bucket: change.bucket, key: change.key },
  );
}

function unknownKey(what: string, signer: string): WeftError {
  return new WeftError(
    'WEFT_ERR_TRUST_UNKNOWN_KEY',
    `Cannot accept the ${what}: ${signer} is no principal of this installation; an admin adds it with \`weft principal add\``,
    {
      signer,
    },
  );
}
function notAllowed(change: Change, signer: string, rule: string): WeftError {
  return new WeftError('WEFT_ERR_TRUST_ROLE', `Cannot accept the record ${change.bucket} ${change.key} of ${signer}: ${rule}`, {
    bucket: change.bucket,
    key: change.key,
    signer,
  });
}
function notThatHost(what: string, signer: string): WeftError {
  return new WeftError(
    'WEFT_ERR_TRUST_HOST',
    `Cannot accept the ${what}: ${signer} is not that host's key, or the host has not registered itself`,
    { signer },
  );
}
