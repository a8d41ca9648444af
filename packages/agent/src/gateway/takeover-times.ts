import type { Input, Output } from '@weft/election';

/** How shards came to this member: boot clock, ms. */
interface Attempt {
  readonly beganMs: number;
  readonly from: string;
  kind: 'takeover' | 'handover';
  readonly silentSinceMs: number | undefined;
  answeredMs: number | undefined;
  ballotMs: number | undefined;
  readonly votesMs: Map<string, number>;
  openedMs: number | undefined;
  toldMs: number | undefined;
}

/** One takeover, for the log: ms after the attempt began, whole tenths. What did not happen is left out. */
export interface TakeoverTimes {
  readonly shards: readonly number[];
  /** `handover`: by the former owner's consent. */
  readonly kind: 'takeover' | 'handover';
  /** Host id of the former owner; empty: none is known. */
  readonly from: string;
  readonly epoch: string;
  /** How long the former owner's packet path had not answered when the attempt began. Absent: it never answered this member, or there was none. */
  readonly silentBeforeMs?: number | undefined;
  /** Enough voters said that they would vote. */
  readonly answeredMs?: number | undefined;
  /** The ballot left: own file on disk. */
  readonly ballotMs?: number | undefined;
  /** Votes as they arrived, by voter: each is on its voter's disk. This member's own is not among them. */
  readonly votesMs: Readonly<Record<string, number>>;
  /** This packet path forwards. */
  readonly openedMs?: number | undefined;
  /** The certificate is on its way to every host, voter and member. */
  readonly toldMs?: number | undefined;
  /** External addresses have been announced once. */
  readonly announcedMs: number;
}

/** Notes when a member that stands for shards got how far, from what its state machine is told and does: so that the log says where the time of a takeover went. */
export class TakeoverClock {
  readonly #attempts = new Map<number, Attempt>();

  /** Before the machine is given an input. */
  heard(input: Input, now: number): void {
    if (input.kind !== 'message' || input.message.body.kind !== 'vote') return;
    for (const attempt of this.#attempts.values()) if (attempt.ballotMs !== undefined) setOnce(attempt.votesMs, input.message.from, now);
  }

  /**
   * When an output has been carried out.
   *
   * @param silentSince When the shard's former owner was last heard, if ever.
   * @returns The times, when that was the last step.
   */
  did(output: Output, now: number, silentSince: (shard: number) => number | undefined): TakeoverTimes | undefined {
    switch (output.kind) {
      case 'state':
        this.#entered(output, now, silentSince);
        return undefined;
      case 'send':
        if (output.body.kind === 'ballot')
          for (const shard of output.body.value.shards) {
            this.#note(shard, 'ballotMs', now);
            const attempt = this.#attempts.get(shard);
            if (attempt !== undefined && output.body.value.kind === 'handover') attempt.kind = 'handover';
          }
        else if (output.body.kind === 'certificate')
          for (const shard of output.body.value.ballot.shards) this.#note(shard, 'toldMs', now, true);
        return undefined;
      case 'fence':
        if (output.row.deadlineMs > 0) this.#note(output.row.shard, 'openedMs', now);
        return undefined;
      case 'announce':
        return this.#announced(output.shards, output.epoch, now);
      default:
        return undefined;
    }
  }

  #entered({ shard, state, owner }: Output & { kind: 'state' }, now: number, silentSince: (shard: number) => number | undefined): void {
    if (state === 'asking') {
      const attempt = {
        beganMs: now,
        from: owner,
        kind: 'takeover' as const,
        silentSinceMs: silentSince(shard),
        votesMs: new Map<string, number>(),
      };
      this.#attempts.set(shard, { ...attempt, answeredMs: undefined, ballotMs: undefined, openedMs: undefined, toldMs: undefined });
    } else if (state === 'voting') this.#note(shard, 'answeredMs', now);
    else if (state !== 'owner') this.#attempts.delete(shard);
  }

  #note(shard: number, step: 'answeredMs' | 'ballotMs' | 'openedMs' | 'toldMs', now: number, again = false): void {
    const attempt = this.#attempts.get(shard);
    if (attempt !== undefined && (again || attempt[step] === undefined)) attempt[step] = now;
  }

  #announced(shards: readonly number[], epoch: bigint, now: number): TakeoverTimes | undefined {
    const [attempt] = shards.flatMap((shard) => this.#attempts.get(shard) ?? []);
    for (const shard of shards) this.#attempts.delete(shard);
    if (attempt === undefined) return undefined;
    const { beganMs, silentSinceMs, kind, from } = attempt;
    const after = (at: number | undefined): number | undefined => (at === undefined ? undefined : tenths(at - beganMs));
    return {
      shards,
      kind,
      from,
      epoch: String(epoch),
      silentBeforeMs: silentSinceMs === undefined ? undefined : tenths(beganMs - silentSinceMs),
      answeredMs: after(attempt.answeredMs),
      ballotMs: after(attempt.ballotMs),
      votesMs: Object.fromEntries([...attempt.votesMs].map(([voter, at]) => [voter, tenths(at - beganMs)])),
      openedMs: after(attempt.openedMs),
      toldMs: after(attempt.toldMs),
      announcedMs: tenths(now - beganMs),
    };
  }
}

function setOnce<K, V>(map: Map<K, V>, key: K, value: V): void {
  if (!map.has(key)) map.set(key, value);
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}
