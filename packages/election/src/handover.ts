import type { OwnershipBallot, OwnershipConsent } from '@weft/model';
import { consentHolds } from './certificate.ts';
import { drainedMembers } from './config.ts';
import type { Context } from './context.ts';
import type { Member } from './member.ts';
import { consentStatement } from './statement.ts';

/*
 * A planned move of shards. Two things ask for one:
 *
 *   no carrier, no member any more, drained    at once, to whoever answers first in the order
 *   displaced (placement.ts)                   when this owner and the next one have been well for `placementMs`; to the first of the order, a few at a time
 *
 * Seen from the old owner:
 *
 *   sync     the standby gets the state                         until `synced`, `syncMs` at most; without a carrier it is not waited for
 *   offer    signed consent to the next owner, repeated         it holds a ballot of kind handover; voters see the consent and break the lease
 *            and once to all others                             hosts believe frames of the next owner, too: it may open before its certificate has reached them
 *   forward  its certificate: closed, late returns passed on    for `handoverMs`
 *   done
 *
 * The old owner goes on renewing and serving until the certificate is there. A consent is good for its epoch only, so calling the move off means taking a
 * higher epoch.
 */
interface Move {
  readonly shards: readonly number[];
  readonly to: string;
  readonly isPlanned: boolean;
  readonly epoch: bigint;
  readonly startedAt: number;
  consent: OwnershipConsent | undefined;
  offeredAt: number;
  nextSendAt: number;
}

/** Nobody waits for the state when the old owner's external side is dead already. */
const SYNC_WITHOUT_CARRIER_MS = 200;
/** Shards of one move that nothing presses: what goes wrong with it concerns no more than these. */
const PLACED_TOGETHER = 4;

export class Handover {
  readonly #context: Context;
  readonly #member: Member;
  readonly #damped: (shard: number) => boolean;
  #move: Move | undefined;
  #movedAt = -Infinity;
  /** When the record was asked for. */
  #askedAt = -Infinity;
  #forwarding: { readonly shard: number; readonly to: string; readonly until: number }[] = [];
  /** Targets that did not take over, until when they are left alone, and how long that is. */
  readonly #failed = new Map<string, { readonly until: number; readonly waitMs: number }>();
  /** Members that answer, and since when without a gap. */
  readonly #answering = new Map<string, number>();

  /** @param damped Whether voters would refuse another move of a shard, as far as this node's own knows. */
  constructor(context: Context, member: Member, damped: (shard: number) => boolean) {
    this.#context = context;
    this.#member = member;
    this.#damped = damped;
  }

  /** Who would have the shard next, of those that answer: the first in its order, one that is not drained rather than another. */
  successor(shard: number): string | undefined {
    const { newest } = this.#context.configs;
    const drained: ReadonlySet<string> = newest === undefined ? new Set() : drainedMembers(newest);
    const order = newest?.shards.find((known) => known.shard === shard)?.order ?? [];
    const able = order.filter((id) => this.#answering.has(id));
    return able.find((id) => !drained.has(id)) ?? able[0];
  }

  tick(now: number): void {
    for (const { shard, to } of this.#forwarding.filter(({ until }) => now >= until)) {
      this.#context.put({ kind: 'handover', step: 'done', shards: [shard], to });
    }
    this.#forwarding = this.#forwarding.filter(({ until }) => now < until);
    this.#watch(now);
    if (this.#move !== undefined) this.#go(this.#move, now);
    else if (!this.#leave(now)) this.#place(now);
  }

  #watch(now: number): void {
    const { configs, observer, self } = this.#context;
    for (const { id } of configs.newest?.members ?? []) {
      if (id === self) this.#answering.delete(id);
      else if (!observer.answering(id, now)) {
        // A gap of this process is none of the peer's: each would put a placement off by another `placementMs`.
        if (observer.hasWatched(now)) this.#answering.delete(id);
      } else if (!this.#answering.has(id)) this.#answering.set(id, now);
    }
  }

  /** Everything has to go, soon. @returns False: nothing has. */
  #leave(now: number): boolean {
    const { configs, self, timing } = this.#context;
    const { owner, isMember } = this.#member;
    const drained: ReadonlySet<string> = configs.newest === undefined ? new Set() : drainedMembers(configs.newest);
    if (owner.carrier && isMember && !drained.has(self)) return false;
    const target = (shard: number): string | undefined => {
      const order = configs.newest?.shards.find((known) => known.shard === shard)?.order ?? [];
      const able = order.filter((id) => this.#answering.has(id) && !this.#isLeftAlone(id, now));
      // One that is drained, too, serves better than nobody.
      return able.find((id) => !drained.has(id)) ?? (owner.carrier ? undefined : able[0]);
    };
    for (const { shards, epoch, since } of owner.terms) {
      // Who has been given shards though it is drained reads an older record than the giver, and the shards would not come back: they wait for the newer one.
      if (owner.carrier && isMember && (now - since < timing.placementMs || this.#knowsTooLittle(shards, now))) continue;
      const to = shards.map(target).find((one) => one !== undefined);
      if (to === undefined) continue;
      this.#begin(
        shards.filter((shard) => target(shard) === to),
        { to, epoch, isPlanned: false },
      );
      break;
    }
    return true;
  }

  /** Shards were given to this member after it had read the record: whoever gave them may have read a newer one. Asks for it. */
  #knowsTooLittle(shards: readonly number[], now: number): boolean {
    const { recordReadAt, configs, timing, self } = this.#context;
    if (!shards.some((shard) => (this.#member.owner.givenAt(shard) ?? -Infinity) > recordReadAt)) return false;
    if (now >= this.#askedAt + 2 * timing.renewMs) {
      this.#askedAt = now;
      this.#context.put({ kind: 'need-config', config: configs.newest!.config, from: self });
    }
    return true;
  }

  /** What the record has placed elsewhere goes there when nothing else is going on. */
  #place(now: number): void {
    const { placementMs, renewMs } = this.#context.timing;
    if (now - this.#movedAt < renewMs) return;
    const { owner, placements } = this.#member;
    const steady = (id: string): boolean => now - (this.#answering.get(id) ?? now) >= placementMs && !this.#isLeftAlone(id, now);
    for (const { shards, epoch, since } of owner.terms) {
      placements.recall(shards);
      if (now - since < placementMs) continue;
      const target = (shard: number): string | undefined => {
        const to = placements.displacedTo(shard);
        return to !== undefined && steady(to) && !this.#damped(shard) ? to : undefined;
      };
      const to = shards.map(target).find((one) => one !== undefined);
      if (to === undefined) continue;
      const together = shards.filter((shard) => target(shard) === to).slice(0, PLACED_TOGETHER);
      this.#begin(together, { to, epoch, isPlanned: true });
      return;
    }
  }

  #begin(shards: readonly number[], what: Pick<Move, 'to' | 'epoch' | 'isPlanned'>): void {
    const { now } = this.#context;
    this.#move = { shards, ...what, startedAt: now, consent: undefined, offeredAt: 0, nextSendAt: now };
    this.#context.put({ kind: 'handover', step: 'sync', shards, to: what.to });
    this.#member.moving(shards, true);
  }

  #isLeftAlone(id: string, now: number): boolean {
    return now < (this.#failed.get(id)?.until ?? -Infinity);
  }

  #go(move: Move, now: number): void {
    const { timing } = this.#context;
    if (this.#member.owner.terms.every(({ epoch }) => epoch !== move.epoch)) {
      // Replaced, or its own epoch has risen: the consent is worth nothing any more.
      this.#cancel(move, false);
    } else if (move.consent === undefined) {
      if (!this.#member.owner.carrier && now - move.startedAt >= SYNC_WITHOUT_CARRIER_MS) this.#offer(move);
      else if (now - move.startedAt >= timing.syncMs) this.#cancel(move, true);
    } else if (now - move.offeredAt >= 2 * timing.attemptMs) {
      this.#cancel(move, true);
      if (this.#member.owner.carrier) this.#member.owner.raiseSoon(move.shards, now);
    } else if (now >= move.nextSendAt) this.#offer(move);
  }

  synced(shards: readonly number[]): void {
    const move = this.#move;
    if (move !== undefined && move.consent === undefined && move.shards.every((shard) => shards.includes(shard))) this.#offer(move);
  }

  #offer(move: Move): void {
    const { now, timing, self, signer, configs } = this.#context;
    if (move.consent === undefined) {
      const consent = { epoch: move.epoch, shards: move.shards, from: self, to: move.to };
      move.consent = { ...consent, signature: signer.sign(consentStatement(configs.newest!.group, consent)) };
      move.offeredAt = now;
    }
    const offer = { kind: 'offer', value: { consent: move.consent } } as const;
    const isFirst = move.offeredAt === now;
    move.nextSendAt = now + timing.resendMs;
    this.#context.send(move.to, offer);
    if (!isFirst) return;
    for (const id of this.#member.owner.audience(configs.newest!)) if (id !== move.to) this.#context.send(id, offer);
  }

  #cancel(move: Move, failed: boolean): void {
    this.#move = undefined;
    this.#movedAt = this.#context.now;
    this.#context.put({ kind: 'handover', step: 'cancelled', shards: move.shards, to: move.to });
    this.#member.moving(move.shards, false);
    if (!failed) return;
    const { leaseMs, handoverMs } = this.#context.timing;
    // What presses is tried again soon; the rest ever more rarely, since each try costs an epoch.
    const waitMs = move.isPlanned ? Math.min(2 * (this.#failed.get(move.to)?.waitMs ?? leaseMs / 2), handoverMs) : leaseMs;
    this.#failed.set(move.to, { until: this.#context.now + waitMs, waitMs });
    this.#context.alarm(
      'handover-failed',
      move.to,
      true,
      () => `${move.to} did not take over shards ${move.shards.join()}: they stay for now`,
    );
  }

  /** An owner offers its shards to this member. */
  offer(from: string, consent: OwnershipConsent): void {
    const { self, configs, verify } = this.#context;
    const { newest } = configs;
    if (newest === undefined || consent.from !== from || consent.to !== self || !consentHolds(newest, consent, verify)) return;
    if (consent.shards.every((shard) => this.#member.owner.termOf(shard) !== undefined)) return;
    this.#member.offered(consent);
  }

  /** Somebody else was granted a shard of ours. */
  replaced(shard: number, ballot: OwnershipBallot): void {
    const { self, now, timing } = this.#context;
    if (ballot.kind === 'handover' && ballot.consent?.from === self && !this.#forwarding.some((known) => known.shard === shard)) {
      this.#forwarding.push({ shard, to: ballot.candidate, until: now + timing.handoverMs });
      this.#context.put({ kind: 'handover', step: 'forward', shards: [shard], to: ballot.candidate });
      this.#failed.delete(ballot.candidate);
      this.#context.alarm('handover-failed', ballot.candidate, false, () => '');
    }
    const move = this.#move;
    if (move?.shards.includes(shard) === true && ballot.epoch > move.epoch) {
      this.#move = undefined;
      this.#movedAt = now;
    }
  }
}
