import { type Bus, commitRecord, getRecord, type Identity, type RecordEntry, type Store } from '@weft/bus';
import { type ExternalLink, type Host, hostKey, type OwnershipMemory, type TrustStore } from '@weft/model';
import type { AgentClock, AgentLogger, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import type { RoleName } from './role.ts';
import type { TrustFeed } from './trust-feed.ts';

export interface RegistrationComponents {
  readonly init: HostAgentInit;
  readonly bus: Bus;
  readonly identity: Identity;
  readonly trust: TrustStore;
  readonly trustFeed: TrustFeed;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  readonly roles: readonly RoleName[];
  /** Of gateway groups that this machine votes in. */
  readonly memories: () => readonly OwnershipMemory[];
  /** The external interfaces that gateways name for this machine. Undefined: not looked at yet, what the record says stays; without it former owners drop late frames for this one. */
  readonly externalLinks: () => readonly ExternalLink[] | undefined;
}

/** This host's own record in the store. */
export class Registration {
  readonly #on: RegistrationComponents;
  #registered = false;

  constructor(components: RegistrationComponents) {
    this.#on = components;
  }

  get registered(): boolean {
    return this.#registered;
  }

  /** Says who this host is. Written only when something differs: whether a host lives is asked of it, not stored. */
  async register(store: Store): Promise<void> {
    const { trust, identity, bus, clock, logger, init, conditions, trustFeed } = this.#on;
    const { hostId } = init;
    const principal = trust.principal(identity.publicKey);
    if (principal?.role !== 'host' || principal.name !== hostId) {
      this.#registered = false;
      conditions.raise(
        'NOT_ADMITTED',
        `Host ${hostId} with key ${identity.publicKey} is no principal of this installation${principal === undefined ? '' : ` (the key is ${principal.role} ${principal.name})`}: others refuse what it writes; an admin adds it with \`weft principal add --role host\``,
      );
      return;
    }
    conditions.clear('NOT_ADMITTED');
    const own: Omit<Host, 'externalLinks'> = {
      id: hostId,
      providerAddress: init.providerAddress,
      publicKey: identity.publicKey,
      encapsulations: ['vxlan'],
      engine: init.engine,
      underlayMtu: init.underlayMtu,
      version: init.version,
      roles: [...this.#on.roles],
      bootId: init.bootId,
      memories: this.#on.memories(),
    };
    for (let attempt = 0; attempt < 3; attempt++) {
      const current: RecordEntry | undefined = await getRecord(store.hosts, hostKey(hostId));
      const known = current?.record?.kind === 'host' ? current.record.value.externalLinks : [];
      const wanted: Host = { ...own, externalLinks: this.#on.externalLinks() ?? known };
      if (current?.record?.kind === 'host' && current.signer === identity.publicKey && sameHost(current.record.value, wanted)) {
        trustFeed.take(current);
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
      trustFeed.take(entry);
      this.#registered = true;
      logger.info({ revision: outcome.status === 'committed' ? outcome.revision : 0 }, 'host registered');
      break;
    }
    if (this.#registered) conditions.clear('HOST_NOT_REGISTERED');
    else
      conditions.raise(
        'HOST_NOT_REGISTERED',
        `Cannot write the record of host ${hostId}: others write it too, or NATS does not answer; is the host id used twice?`,
      );
  }
}

function sameHost(a: Host, b: Host): boolean {
  return JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort());
}
