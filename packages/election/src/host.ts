import {
  OWNERSHIP_LIMITS,
  type OwnershipAnswer,
  type OwnershipCertificate,
  type OwnershipConfig,
  type OwnershipConsent,
} from '@weft/model';
import { certificateFault, consentHolds } from './certificate.ts';
import { hasShard } from './config.ts';
import { Configs } from './context.ts';
import { incarnationOf, NO_EPOCH } from './epoch.ts';
import type { HostInput, HostOutput, Path, ShardRow } from './io.ts';
import { voterIds } from './round.ts';
import { isVoter, type Rules } from './rules.ts';
import type { Verify } from './statement.ts';
import type { Timing } from './timing.ts';

/** A ballot by consent is over by then, or was called off. */
const CONSENT_ATTEMPTS = 3;
const BOTH: readonly Path[] = ['nats', 'underlay'];

export interface HostComponents {
  readonly verify: Verify;
  readonly random: () => number;
  readonly timing: Timing;
  readonly rules: Rules;
}

/**
 * A host that obeys: it verifies certificates and writes its shard map, where epochs only rise.
 *
 *     started ──asks the voters──► a majority answered, and no promise stands above the highest certificate ──► knows
 *     knows ──verified certificate, not of a lower epoch, nor of a configuration below one that took effect──► shard map
 *
 * A host that has just booted may have obeyed a higher epoch before. Any granted epoch was promised by a majority, so a majority's answers name it; until a
 * certificate at least as high is there the host has no owner for the shard, which drops rather than misleads. While the agent alone restarts, the shard map in the
 * kernel tells (`rows`).
 */
export class OwnershipHost {
  readonly self: string;
  readonly #components: HostComponents;
  readonly #configs = new Configs();
  readonly #rows = new Map<number, ShardRow>();
  readonly #certificates = new Map<number, OwnershipCertificate>();
  /** Certificates that came before this host knew whether to believe them. */
  readonly #kept = new Map<number, OwnershipCertificate>();
  readonly #answers = new Map<string, OwnershipAnswer>();
  readonly #synced = new Set<number>();
  #nonce = 0;
  #nextAskAt: number;
  /** Highest configuration of a certificate believed: lower ones can't grant any more. */
  #accepted = 0;
  #outputs: HostOutput[] = [];

  /** @param rows The shard map as the kernel has it. */
  constructor(init: { readonly self: string; readonly rows: readonly ShardRow[]; readonly now: number }, components: HostComponents) {
    this.self = init.self;
    this.#components = components;
    this.#nextAskAt = init.now;
    for (const row of init.rows) {
      this.#rows.set(row.shard, row);
      this.#synced.add(row.shard);
    }
  }

  row(shard: number): ShardRow | undefined {
    return this.#rows.get(shard);
  }

  step(input: HostInput, now: number): readonly HostOutput[] {
    this.#outputs = [];
    if (input.kind === 'config') this.#configured(input.config, now);
    else if (input.kind === 'tick') this.#tick(now);
    else if (input.message.to === '' || input.message.to === this.self) {
      const { from, body } = input.message;
      if (body.kind === 'certificate') this.#certificate(from, body.value, now);
      else if (body.kind === 'answer') this.#answer(from, body.value, now);
      else if (body.kind === 'offer') this.#offer(from, body.value.consent, now);
    }
    return this.#outputs;
  }

  /**
   * The owner is about to hand over. The next one opens when it has its grant, which may be before this host hears of that; frames that it sends here meanwhile are believed, too. It is the
   * owner only by the certificate.
   */
  #offer(from: string, consent: OwnershipConsent, now: number): void {
    const { newest } = this.#configs;
    const next = newest?.members.find(({ id }) => id === consent.to);
    const rows = consent.shards.flatMap((shard) => {
      const row = this.#rows.get(shard);
      return row !== undefined && row.owner === from && row.epoch === consent.epoch ? [row] : [];
    });
    const { verify, timing } = this.#components;
    if (newest === undefined || next === undefined || rows.length === 0 || consent.from !== from || !consentHolds(newest, consent, verify))
      return;
    for (const row of rows) {
      const until = now + CONSENT_ATTEMPTS * timing.attemptMs;
      const isKnown = row.previousAddress === next.providerAddress;
      const believed = {
        ...row,
        previousAddress: next.providerAddress,
        previousUntilMs: isKnown ? Math.max(until, row.previousUntilMs) : until,
      };
      this.#rows.set(row.shard, believed);
      this.#outputs.push({ kind: 'shard', row: believed });
    }
  }

  #configured(config: OwnershipConfig, now: number): void {
    if (!this.#configs.add(config) || this.#configs.newest !== config) return;
    this.#nextAskAt = now;
  }

  #unsynced(): number[] {
    return (this.#configs.newest?.shards ?? []).map(({ shard }) => shard).filter((shard) => !this.#synced.has(shard));
  }

  #tick(now: number): void {
    const { newest } = this.#configs;
    const unsynced = this.#unsynced();
    if (newest === undefined || unsynced.length === 0 || now < this.#nextAskAt) return;
    this.#nextAskAt = now + this.#components.timing.askMs;
    // Answers to earlier questions stay good: a promise never falls, and what was not promised then could not have been obeyed before.
    this.#nonce ||= this.#components.random();
    unsynced.sort((a, b) => a - b);
    for (let i = 0; i < unsynced.length; i += OWNERSHIP_LIMITS.shards) {
      const shards = unsynced.slice(i, i + OWNERSHIP_LIMITS.shards);
      const value = { nonce: this.#nonce, shards, candidacy: false, kind: 'renewal' as const, consent: undefined };
      for (const id of voterIds(newest)) this.#outputs.push({ kind: 'send', to: id, paths: BOTH, body: { kind: 'ask', value } });
    }
  }

  #answer(from: string, answer: OwnershipAnswer, now: number): void {
    const { newest } = this.#configs;
    if (newest === undefined || answer.nonce !== this.#nonce) return;
    const highest = Math.max(answer.acceptedConfig, answer.knownConfig);
    if (highest > newest.config) this.#outputs.push({ kind: 'need-config', config: highest, from });
    // One question has several parts when there are many shards.
    const before = this.#answers.get(from)?.shards.filter(({ shard }) => !answer.shards.some((given) => given.shard === shard)) ?? [];
    this.#answers.set(from, { ...answer, shards: [...before, ...answer.shards] });
    for (const [shard, certificate] of this.#kept) this.#believe(shard, certificate, now);
  }

  #certificate(from: string, certificate: OwnershipCertificate, now: number): void {
    const { ballot } = certificate;
    const config = this.#configs.get(ballot.config);
    if (config === undefined) {
      if (ballot.config > (this.#configs.newest?.config ?? 0)) this.#outputs.push({ kind: 'need-config', config: ballot.config, from });
      return;
    }
    const { rules, verify } = this.#components;
    if (!rules.acceptsConfig(this.#accepted, ballot.config)) return;
    const fault = certificateFault(config, certificate, verify, rules);
    if (fault === 'no-majority' && config.previous !== undefined) {
      this.#outputs.push({ kind: 'need-config', config: ballot.config, from });
      return;
    }
    if (fault !== undefined) {
      const message = `A certificate that ${from} sent is refused (${fault}): find out who made it`;
      this.#outputs.push({ kind: 'alarm', code: 'certificate-refused', about: from, active: true, message });
      return;
    }
    this.#accepted = Math.max(this.#accepted, ballot.config);
    // A majority of this group has no word on another's shards. A new one of this group is not in an older record: the owner repeats it until it is accepted.
    const own = ballot.shards.filter((shard) => hasShard(config, shard));
    let accepted = own.length === ballot.shards.length;
    if (!accepted) this.#outputs.push({ kind: 'need-config', config: ballot.config, from });
    let highest = NO_EPOCH;
    for (const shard of own) {
      const outcome = this.#believe(shard, certificate, now);
      if (outcome !== 'accepted') accepted = false;
      if (outcome === 'lower') {
        // The owner of a lower epoch learns from the certificate itself, not from a word that anybody could say.
        const better = this.#certificates.get(shard);
        if (better !== undefined)
          this.#outputs.push({ kind: 'send', to: ballot.candidate, paths: BOTH, body: { kind: 'certificate', value: better } });
      }
      const known = this.#rows.get(shard)?.epoch ?? NO_EPOCH;
      if (known > highest) highest = known;
    }
    if (!accepted) return;
    const value = { epoch: ballot.epoch, config: ballot.config, round: ballot.round, accepted, highest };
    this.#outputs.push({ kind: 'send', to: ballot.candidate, paths: BOTH, body: { kind: 'acknowledgement', value } });
  }

  #believe(shard: number, certificate: OwnershipCertificate, now: number): 'accepted' | 'lower' | 'kept' {
    const { ballot } = certificate;
    const { rules, timing } = this.#components;
    const row = this.#rows.get(shard);
    if (row !== undefined && !rules.acceptsEpoch(row.epoch, ballot.epoch)) return 'lower';
    if (!this.#synced.has(shard)) {
      const kept = this.#kept.get(shard);
      if (kept === undefined || ballot.epoch > kept.ballot.epoch) this.#kept.set(shard, certificate);
      if (!this.#mayBelieve(shard, ballot.epoch)) return 'kept';
      this.#synced.add(shard);
      this.#kept.delete(shard);
    }
    this.#certificates.set(shard, certificate);
    if (row?.epoch === ballot.epoch) return 'accepted';
    const consent =
      ballot.kind === 'handover' && row?.owner === ballot.consent?.from && row?.epoch === ballot.consent?.epoch ? row : undefined;
    const next = {
      shard,
      epoch: ballot.epoch,
      owner: ballot.candidate,
      providerAddress: ballot.providerAddress,
      previousAddress: consent?.providerAddress ?? '',
      previousUntilMs: consent === undefined ? 0 : now + timing.handoverMs,
    };
    this.#rows.set(shard, next);
    this.#outputs.push({ kind: 'shard', row: next });
    return 'accepted';
  }

  /** Whether a majority of the voters has said that nothing above `epoch` was promised. */
  #mayBelieve(shard: number, epoch: bigint): boolean {
    const { newest } = this.#configs;
    // After `recover` the voters' memory begins anew: it says nothing about what was granted before.
    if (newest === undefined || incarnationOf(epoch) !== newest.incarnation) return false;
    const below = [...this.#answers].filter(
      ([id, answer]) =>
        !answer.abstaining &&
        answer.acceptedConfig <= newest.config &&
        isVoter(newest, id, answer.instance) &&
        answer.shards.some((given) => given.shard === shard && given.promised <= epoch),
    );
    return this.#components.rules.hasQuorum(
      newest,
      below.map(([voter, { instance }]) => ({ voter, instance })),
    );
  }
}
