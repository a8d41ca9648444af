import type { TrustStore } from '@weft/model';
import type { AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';
import type { SyncedFile } from './synced-file.ts';

/** Where a host is, and by which key it is known. */
export interface KnownHost {
  readonly id: string;
  readonly providerAddress: string;
  readonly publicKey: string;
}

/**
 * The hosts that ownership talks to. What the trust store has is what counts; until it has anything, after a start and for as long as NATS is away, it is what
 * the last run knew: else a restarted owner could reach neither its witness nor the hosts that are to obey it.
 */
export class KnownHosts {
  readonly #trust: Pick<TrustStore, 'hosts'>;
  readonly #file: Pick<SyncedFile, 'read' | 'write'>;
  readonly #logger: AgentLogger;
  #hosts: ReadonlyMap<string, KnownHost> = new Map();
  #text = '[]';
  /** The last write, whatever came of it. */
  saved: Promise<void> = Promise.resolve();

  constructor(trust: Pick<TrustStore, 'hosts'>, file: Pick<SyncedFile, 'read' | 'write'>, logger: AgentLogger) {
    this.#trust = trust;
    this.#file = file;
    this.#logger = logger;
  }

  /** Takes up what the last run knew. */
  async start(): Promise<void> {
    try {
      const saved = await this.#file.read();
      if (saved === undefined || this.look()) return;
      this.#text = new TextDecoder().decode(saved);
      this.#hosts = byId(JSON.parse(this.#text) as KnownHost[]);
    } catch (error) {
      this.#logger.warn({ reason: messageOf(error) }, 'what was known of hosts can not be read back; the store is asked');
    }
  }

  get(id: string): KnownHost | undefined {
    return this.#hosts.get(id);
  }

  all(): IterableIterator<KnownHost> {
    return this.#hosts.values();
  }

  /** Looks at the trust store. @returns Whether something is other than at the last look. */
  look(): boolean {
    const hosts = this.#trust
      .hosts()
      .map(({ id, providerAddress, publicKey }) => ({ id, providerAddress, publicKey }))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    const text = JSON.stringify(hosts);
    if (hosts.length === 0 || text === this.#text) return false;
    this.#text = text;
    this.#hosts = byId(hosts);
    this.saved = this.#file.write(new TextEncoder().encode(text)).catch((error: unknown) => {
      this.#logger.warn({ reason: messageOf(error) }, 'what is known of hosts can not be saved; a restart without NATS will not know it');
    });
    return true;
  }
}

function byId(hosts: readonly KnownHost[]): ReadonlyMap<string, KnownHost> {
  return new Map(hosts.map((host) => [host.id, host]));
}
