import type { OwnershipBallot, OwnershipConsent } from '@weft/model';
import { consentHolds } from './certificate.ts';
import type { Context } from './context.ts';
import type { Member } from './member.ts';
import { consentStatement } from './statement.ts';

/*
 * A planned move of shards, seen from the old owner:
 *
 *   sync     the standby gets the state                         until `synced`, `syncMs` at most; without a carrier it is not waited for
 *   offer    signed consent to the next owner, repeated         it holds a ballot of kind handover; voters see the consent and break the lease
 *   forward  its certificate: closed, late returns passed on    for `handoverMs`
 *   done
 *
 * The old owner goes on renewing and serving until the certificate is there. A consent is good for its epoch only, so calling the move off means taking a
 * higher epoch.
 */
interface Move {
  readonly shards: readonly number[];
  readonly to: string;
  readonly epoch: bigint;
  readonly startedAt: number;
  consent: OwnershipConsent | undefined;
  offeredAt: number;
  nextSendAt: number;
}

/** Nobody waits for the state when the old owner's external side is dead already. */
const SYNC_WITHOUT_CARRIER_MS = 200;

export class Handover {
  readonly #context: Context;
  readonly #member: Member;
  #move: Move | undefined;
  #drain: 'none' | 'all' | ReadonlySet<number> = 'none';
  #forwarding: { readonly shard: number; readonly to: string; readonly until: number }[] = [];
  /** Targets that did not take over, and until when they are left alone. */
  readonly #failed = new Map<string, number>();

  constructor(context: Context, member: Member) {
    this.#context = context;
    this.#member = member;
  }

  /** True: this member takes nothing. */
  get drained(): boolean {
    return this.#drain === 'all';
  }

  drain(shards: readonly number[] | undefined): void {
    this.#drain = shards === undefined ? 'all' : new Set(shards);
    this.#failed.clear();
  }
  undrain(): void {
    this.#drain = 'none';
  }

  tick(now: number): void {
    for (const { shard, to } of this.#forwarding.filter(({ until }) => now >= until)) {
      this.#context.put({ kind: 'handover', step: 'done', shards: [shard], to });
    }
    this.#forwarding = this.#forwarding.filter(({ until }) => now < until);
    if (this.#move === undefined) this.#begin(now);
    else this.#go(this.#move, now);
  }

  #begin(now: number): void {
    if (this.#drain === 'none' && this.#member.owner.carrier && this.#member.isMember) return;
    for (const { shards, epoch } of this.#member.owner.terms) {
      const leaving = shards.filter((shard) => this.#leaves(shard));
      const to = leaving.length === 0 ? undefined : this.#target(leaving[0]!, now);
      if (to === undefined) continue;
      const together = leaving.filter((shard) => this.#target(shard, now) === to);
      this.#move = { shards: together, to, epoch, startedAt: now, consent: undefined, offeredAt: 0, nextSendAt: now };
      this.#context.put({ kind: 'handover', step: 'sync', shards: together, to });
      this.#member.moving(together, true);
      return;
    }
  }

  #leaves(shard: number): boolean {
    return (
      !this.#member.owner.carrier || !this.#member.isMember || this.#drain === 'all' || (this.#drain !== 'none' && this.#drain.has(shard))
    );
  }

  #target(shard: number, now: number): string | undefined {
    const { configs, self, observer } = this.#context;
    const order = configs.newest?.shards.find((known) => known.shard === shard)?.order ?? [];
    return order.find((id) => id !== self && observer.answering(id, now) && now >= (this.#failed.get(id) ?? -Infinity));
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
    move.nextSendAt = now + timing.resendMs;
    this.#context.send(move.to, { kind: 'offer', value: { consent: move.consent } });
  }

  #cancel(move: Move, failed: boolean): void {
    this.#move = undefined;
    this.#context.put({ kind: 'handover', step: 'cancelled', shards: move.shards, to: move.to });
    this.#member.moving(move.shards, false);
    if (!failed) return;
    this.#failed.set(move.to, this.#context.now + this.#context.timing.leaseMs);
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
      this.#context.alarm('handover-failed', ballot.candidate, false, () => '');
    }
    const move = this.#move;
    if (move?.shards.includes(shard) === true && ballot.epoch > move.epoch) this.#move = undefined;
  }
}
