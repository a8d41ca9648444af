import { join } from 'node:path';
import type { MoveWindow } from '@weft/tables';
import type { AgentClock, AgentLogger, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { messageOf } from './errors.ts';
import { type FollowedNetwork, FollowedNetworks } from './followed-networks.ts';
import { inSlices } from './gateway/in-slices.ts';
import { SyncedFile } from './gateway/synced-file.ts';
import { MANY_NETWORKS } from './network-reader.ts';
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
  readonly #followedFile: SyncedFile;
  readonly #followed: FollowedNetworks;
  #stateDirty = false;
  /** Networks that are not in the file of the others yet: until they are, they stand in state.json. */
  readonly #fresh = new Set<string>();
  /** Of those, what the writing under way has in it. */
  #listed: readonly string[] = [];

  /** @throws {AgentError} `WEFT_ERR_AGENT_STATE`. */
  constructor(components: MemoryComponents) {
    this.#on = components;
    const { init, clock } = components;
    this.#state = new StateStore(init.stateDirectory);
    this.#followedFile = new SyncedFile(join(init.stateDirectory, 'networks.bin'));
    this.#followed = new FollowedNetworks({
      file: this.#followedFile,
      bootId: init.bootId,
      now: () => clock.now(),
      list: () => this.#others(),
      onSaved: (error) => {
        if (error === undefined) for (const rdid of this.#listed) this.#fresh.delete(rdid);
        this.#noteSaved(error);
      },
    });
  }

  /** Restores the networks of the last run, bit by bit: heartbeats go on meanwhile. @returns What was saved; undefined: nothing, or nothing that can be read. */
  async restore(): Promise<SavedState | undefined> {
    const { init } = this.#on;
    const saved = this.#state.load((reason) => this.#damaged(reason));
    if (saved === undefined) return undefined;
    const sameBoot = saved.bootId === init.bootId;
    await inSlices(Object.entries(saved.networks), ([rdid, emptySinceMs]) => {
      this.#fresh.add(rdid);
      this.#restore(rdid, { emptySinceMs, vsids: saved.claims[rdid] ?? [], sameBoot, moves: sameBoot ? saved.moves : {} });
    });
    if (saved.othersApart) await this.#restoreOthers();
    return saved;
  }

  async #restoreOthers(): Promise<void> {
    const { init } = this.#on;
    try {
      const saved = await this.#followed.read();
      if (saved === undefined) return;
      const sameBoot = saved.bootId === init.bootId;
      await inSlices(saved.networks, ({ rdid, emptySinceMs, vsids }) => {
        // It has a port since.
        if (this.#on.networks().get(rdid) === undefined) this.#restore(rdid, { emptySinceMs, vsids, sameBoot, moves: {} });
      });
    } catch (error) {
      this.#damaged(`Cannot read networks.bin: ${messageOf(error)}; the store is asked instead`);
    }
  }

  #restore(
    rdid: string,
    {
      emptySinceMs,
      vsids,
      sameBoot,
      moves,
    }: { emptySinceMs: number; vsids: readonly number[]; sameBoot: boolean; moves: SavedState['moves'] },
  ): void {
    const { clock, logger, init } = this.#on;
    const session = this.#on.networks().restore(rdid);
    if (emptySinceMs > 0) session.emptySinceMs = sameBoot ? emptySinceMs : clock.now();
    session.restoreClaims(vsids);
    let records = 0;
    for (const { bucket, key, revision, bucketCreatedUnixMs, envelope } of this.#state.loadRecords(rdid, (reason) =>
      this.#damaged(reason),
    )) {
      const record = recallQuietly(bucket, bucketCreatedUnixMs, { key, revision, value: envelope }, rdid);
      if (record === undefined) continue;
      records++;
      session.restore(record, envelope);
    }
    session.restoreMoves(moves);
    if (init.acceptNewStore) session.acceptStore();
    logger.debug({ rdid, records }, 'network restored');
  }

  #damaged(reason: string): void {
    this.#on.conditions.raise('STATE_NOT_SAVED', reason);
  }

  /** Networks were joined. Few are on disk when this returns, before anything is claimed in them; of thousands that come together those without a port follow later. */
  joined(sessions: readonly Pick<NetworkSession, 'rdid'>[]): void {
    if (sessions.length < MANY_NETWORKS) for (const { rdid } of sessions) this.#fresh.add(rdid);
    this.saveState();
  }

  /** What must not be lost: own ports; of their networks claims and open moves. Small; at once. Where there are many networks, the others follow some seconds later, without moves. */
  saveState(): void {
    const sessions = this.#on.networks().all();
    const othersApart = sessions.length >= MANY_NETWORKS;
    this.#followed.touch();
    this.#saving(() => {
      const ofRoles = this.#on.ofRoles();
      const own = new Set(ofRoles.ports?.map(({ routingDomainId }) => routingDomainId));
      const kept = othersApart ? sessions.filter(({ rdid }) => own.has(rdid) || this.#fresh.has(rdid)) : sessions;
      const moves: Record<string, MoveWindow> = {};
      for (const session of kept) Object.assign(moves, session.moves());
      this.#state.save({
        ports: [],
        ...ofRoles,
        networks: Object.fromEntries(kept.map((session) => [session.rdid, session.emptySinceMs ?? 0])),
        claims: Object.fromEntries(kept.map((session) => [session.rdid, [...session.claimedVsids]])),
        moves,
        othersApart,
        bootId: this.#on.init.bootId,
      });
      this.#stateDirty = false;
    });
  }

  /** Networks without a port of this host, where there are many. */
  *#others(): Generator<FollowedNetwork> {
    const own = new Set(this.#on.ofRoles().ports?.map(({ routingDomainId }) => routingDomainId));
    const sessions = this.#on.networks().all();
    this.#listed = [];
    if (sessions.length < MANY_NETWORKS) return;
    this.#listed = [...this.#fresh].filter((rdid) => !own.has(rdid));
    for (const { rdid, emptySinceMs = 0, claimedVsids } of sessions)
      if (!own.has(rdid)) yield { rdid, emptySinceMs, vsids: [...claimedVsids] };
  }

  /** Once a second: what has changed since. */
  async poll(): Promise<void> {
    const now = this.#on.clock.now();
    await inSlices(this.#on.networks().all(), (session) => this.#saveRecords(session, now, false));
    if (this.#stateDirty) this.saveState();
    this.#followed.poll();
  }

  /** All that has changed, before the process ends. */
  async flush(): Promise<void> {
    for (const session of this.#on.networks().all()) this.#saveRecords(session, this.#on.clock.now(), true);
    this.saveState();
    await this.#followed.flush();
  }

  /** A network is followed no more. */
  forget(session: NetworkSession): void {
    this.#state.removeRecords(session.rdid);
    this.#fresh.delete(session.rdid);
    this.#stateDirty = true;
  }

  /** Removes everything saved. */
  async purge(): Promise<void> {
    await this.#followed.flush();
    await this.#followedFile.remove();
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
    try {
      save();
      this.#noteSaved(undefined);
    } catch (error) {
      this.#stateDirty = true;
      this.#noteSaved(error);
    }
  }

  #noteSaved(error: unknown): void {
    const { init, conditions } = this.#on;
    if (error === undefined) conditions.clear('STATE_NOT_SAVED');
    else
      conditions.raise(
        'STATE_NOT_SAVED',
        `Cannot save to ${init.stateDirectory}: ${messageOf(error)}; a restart without NATS would know less`,
      );
  }
}
