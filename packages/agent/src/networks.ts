import { deleteOf } from '@weft/tables';
import type { AgentClock, AgentLogger, HostAgentInit } from './components.ts';
import { inSlices } from './gateway/in-slices.ts';
import { NetworkSession, type SessionComponents } from './network-session.ts';

export interface NetworksComponents {
  readonly init: HostAgentInit;
  readonly session: SessionComponents;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  /** Networks were taken in: to be saved, and to be read. */
  readonly onJoin: (sessions: readonly NetworkSession[]) => void;
  readonly onLeave: (session: NetworkSession, changes: ReturnType<typeof deleteOf>[]) => void;
}

const LINGER_MS = 600_000;

/** The networks that are followed: those that a role uses, and for a while those that none uses any more. By routing domain id. */
export class Networks {
  readonly #on: NetworksComponents;
  readonly #sessions = new Map<string, NetworkSession>();
  /** Followed since a moment ago, and not told of yet. */
  readonly #untold = new Set<NetworkSession>();
  #stopped = false;

  constructor(components: NetworksComponents) {
    this.#on = components;
  }

  get size(): number {
    return this.#sessions.size;
  }

  get(rdid: string): NetworkSession | undefined {
    return this.#sessions.get(rdid);
  }

  /** A copy: sessions come and go meanwhile. */
  all(): NetworkSession[] {
    return [...this.#sessions.values()];
  }

  /** Makes the session of a network that the last run followed; it doesn't listen yet. */
  restore(rdid: string): NetworkSession {
    const session = new NetworkSession(rdid, this.#on.init, this.#on.session);
    this.#sessions.set(rdid, session);
    return session;
  }

  /** Follows a network. Idempotent. */
  join(rdid: string): NetworkSession {
    if (!this.#sessions.has(rdid)) this.#begin(rdid);
    const session = this.#sessions.get(rdid)!;
    // On disk before anything is claimed in it: a crash in between must not make its rows look stale, nor leave a binding that nobody tends.
    if (this.#untold.has(session)) this.#tell([session]);
    return session;
  }

  /** Follows networks, bit by bit, and says once that it does: a gateway may come to serve ten thousand at a time. */
  async joinAll(rdids: Iterable<string>): Promise<void> {
    const joined: NetworkSession[] = [];
    await inSlices(rdids, (rdid) => {
      if (!this.#stopped && !this.#sessions.has(rdid)) joined.push(this.#begin(rdid));
    });
    // Of those that somebody has asked for by name meanwhile it has been said.
    const untold = joined.filter((session) => this.#untold.has(session));
    if (untold.length > 0) this.#tell(untold);
  }

  /** Stops listening in all of them; of those that are being taken up no more are. Rows stay as they are. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.all().map((session) => session.stop()));
  }

  #begin(rdid: string): NetworkSession {
    const session = this.restore(rdid);
    session.emptySinceMs = this.#on.clock.now();
    session.start();
    this.#untold.add(session);
    return session;
  }

  #tell(joined: readonly NetworkSession[]): void {
    for (const session of joined) this.#untold.delete(session);
    this.#on.onJoin(joined);
    if (joined.length === 1) this.#on.logger.info({ rdid: joined[0]!.rdid }, 'network joined');
    else this.#on.logger.info({ networks: joined.length }, 'networks joined');
  }

  /** Notes since when networks are in use by nobody. */
  noteUse(isUsed: (rdid: string) => boolean): void {
    const now = this.#on.clock.now();
    for (const session of this.#sessions.values()) {
      if (isUsed(session.rdid)) session.emptySinceMs = undefined;
      else session.emptySinceMs ??= now;
    }
  }

  /** Lets go of what nobody has used for long. */
  async leaveUnused(): Promise<void> {
    const now = this.#on.clock.now();
    const lingerMs = this.#on.init.lingerMs ?? LINGER_MS;
    for (const session of this.all()) {
      if (session.emptySinceMs === undefined || now - session.emptySinceMs < lingerMs) continue;
      this.#sessions.delete(session.rdid);
      await session.stop();
      this.#on.onLeave(session, [...session.view.entries()].map(deleteOf));
      this.#on.logger.info({ rdid: session.rdid, network: session.view.network?.name }, 'network left');
    }
  }
}
