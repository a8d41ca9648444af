import type { AgentClock, AgentLogger, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { messageOf } from './errors.ts';
import { inSlices } from './gateway/in-slices.ts';
import type { NetworkSession } from './network-session.ts';
import type { Networks } from './networks.ts';
import { type SavedState, StateStore } from './state-store.ts';
import { recallQuietly } from './verify.ts';

/** Least time between two writings of a network's records, for each 1,000 of them. */
const SAVE_MS_PER_1000 = 2_500;

export interface MemoryComponents {
  readonly init: HostAgentInit;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  readonly networks: () => Networks;
  /** What the roles must not lose. */
  readonly ofRoles: () => Partial<SavedState>;
}

/** What an agent keeps on disk: when it is written, and how it is taken up again. */
export class Memory {
  readonly #on: MemoryComponents;
  readonly #state: StateStore;
  #stateDirty = false;

  /** @throws {AgentError} `WEFT_ERR_AGENT_STATE`. */
  constructor(components: MemoryComponents) {
    this.#on = components;
    this.#state = new StateStore(components.init.stateDirectory);
  }

  /** Restores the networks of the last run, bit by bit: heartbeats go on meanwhile. @returns What was saved; undefined: nothing, or nothing that can be read. */
  async restore(): Promise<SavedState | undefined> {
    const { clock, logger, init, conditions } = this.#on;
    const damaged = (reason: string): void => conditions.raise('STATE_NOT_SAVED', reason);
    const saved = this.#state.load(damaged);
    if (saved === undefined) return undefined;
    const sameBoot = saved.bootId === init.bootId;
    const now = clock.now();
    await inSlices(Object.entries(saved.networks), ([rdid, emptySinceMs]) => {
      const session = this.#on.networks().restore(rdid);
      if (emptySinceMs > 0) session.emptySinceMs = sameBoot ? emptySinceMs : now;
      session.restoreClaims(saved.claims[rdid] ?? []);
      let records = 0;
      for (const { bucket, key, revision, bucketCreatedUnixMs, envelope } of this.#state.loadRecords(rdid, damaged)) {
        const record = recallQuietly(bucket, bucketCreatedUnixMs, { key, revision, value: envelope }, rdid);
        if (record === undefined) continue;
        records++;
        session.restore(record, envelope);
      }
      session.restoreMoves(sameBoot ? saved.moves : {});
      if (init.acceptNewStore) session.acceptStore();
      logger.debug({ rdid, records }, 'network restored');
    });
    return saved;
  }

  /** What must not be lost: own ports, networks, claims, open moves. Small; at once. */
  saveState(): void {
    const sessions = this.#on.networks().all();
    this.#saving(() => {
      this.#state.save({
        ports: [],
        ...this.#on.ofRoles(),
        networks: Object.fromEntries(sessions.map((session) => [session.rdid, session.emptySinceMs ?? 0])),
        claims: Object.fromEntries(sessions.map((session) => [session.rdid, [...session.claimedVsids]])),
        moves: Object.assign({}, ...sessions.map((session) => session.moves())),
        bootId: this.#on.init.bootId,
      });
      this.#stateDirty = false;
    });
  }

  /** Once a second: what has changed since. */
  async poll(): Promise<void> {
    const now = this.#on.clock.now();
    await inSlices(this.#on.networks().all(), (session) => this.#saveRecords(session, now, false));
    if (this.#stateDirty) this.saveState();
  }

  /** All that has changed, before the process ends. */
  flush(): void {
    for (const session of this.#on.networks().all()) this.#saveRecords(session, this.#on.clock.now(), true);
    this.saveState();
  }

  /** A network is followed no more. */
  forget(session: NetworkSession): void {
    this.#state.removeRecords(session.rdid);
    this.#stateDirty = true;
  }

  /** Removes everything saved. */
  purge(): void {
    this.#state.purge();
  }

  /** Last records of a network that changed. A large network's file takes long to write: the rarer the larger. */
  #saveRecords(session: NetworkSession, now: number, all: boolean): void {
    const waitMs = (session.keeper.envelopes.size / 1_000) * SAVE_MS_PER_1000;
    if (!session.keeper.dirty || (!all && now - session.savedMs < waitMs)) return;
    this.#saving(() => {
      this.#state.saveRecords(session.rdid, session.keeper.envelopes.values());
      session.keeper.dirty = false;
      session.savedMs = now;
      this.#stateDirty = true;
    });
  }

  #saving(save: () => void): void {
    const { init, conditions } = this.#on;
    try {
      save();
      conditions.clear('STATE_NOT_SAVED');
    } catch (error) {
      this.#stateDirty = true;
      conditions.raise(
        'STATE_NOT_SAVED',
        `Cannot save to ${init.stateDirectory}: ${messageOf(error)}; a restart without NATS would know less`,
      );
    }
  }
}
