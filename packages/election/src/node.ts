import type { OwnershipAnswer, OwnershipAsk, OwnershipBody, OwnershipConfig } from '@weft/model';
import { configFaults, hasShard, lacksFailover } from './config.ts';
import { type Components, Context } from './context.ts';
import { type Durable, DurableQueue } from './durable.ts';
import type { FenceRow } from './fence.ts';
import type { Input, Output, ShardState } from './io.ts';
import { Member } from './member.ts';
import { Observer } from './observer.ts';
import { Voter } from './voter.ts';

export interface NodeInit {
  /** Host id. */
  readonly self: string;
  /** The kernel's boot id. */
  readonly bootId: string;
  /** The node's file; undefined: there is none. */
  readonly file: Durable | undefined;
  /** The group's rows of `gateway_shard` as they stand in the kernel: of an earlier process of this boot. Epochs of other groups say nothing here. */
  readonly rows: readonly FenceRow[];
  /** Boot clock, ms. */
  readonly now: number;
}

/**
 * One node of a gateway group: a member (voter, candidate, owner, fence) or a witness (voter only), as its configuration says.
 *
 * `step(input, now)` gives what is to be done, in order; nothing else happens, and the same inputs give the same outputs. `now` is this machine's boot clock
 * in ms and never falls.
 */
export class OwnershipNode {
  readonly #context: Context;
  readonly voter: Voter;
  readonly member: Member;
  #lastTick: number;

  constructor(init: NodeInit, components: Components) {
    const observer = new Observer(components.timing);
    this.#context = new Context(init.self, components, observer, init.now);
    const state: Durable = init.file ?? {
      instance: components.random(),
      bootId: init.bootId,
      accepted: 0,
      proposed: 0n,
      promises: [],
      certificates: [],
      placements: [],
    };
    this.#context.durable = new DurableQueue(
      state,
      init.file !== undefined,
      (token, persisted) => this.#context.put({ kind: 'persist', token, state: persisted }),
      () => this.#context.now,
    );
    this.#lastTick = init.now;
    this.voter = new Voter(this.#context, init.bootId, init.file !== undefined);
    this.member = new Member(this.#context, init.rows, (shard) => this.voter.damped(shard));
  }

  /** Which memory this is: what a configuration has to name for this node to vote. */
  get instance(): number {
    return this.#context.durable.state.instance;
  }
  get config(): OwnershipConfig | undefined {
    return this.#context.configs.newest;
  }
  stateOf(shard: number): ShardState {
    return this.member.stateOf(shard);
  }
  /** Whom a shard that this member owns is to be handed over to because the record placed it there. Undefined: it stays. */
  displacedTo(shard: number): string | undefined {
    return this.member.owner.termOf(shard) === undefined ? undefined : this.member.placements.displacedTo(shard);
  }

  /** What this voter says to the host side of its own machine, which asks it as it asks the others. */
  answerOwn(ask: OwnershipAsk, now: number): OwnershipAnswer | undefined {
    this.#context.now = now;
    return this.voter.answerTo(this.#context.self, ask);
  }

  /**
   * True: a majority has granted or renewed the shard to this process. What a former process has left may have passed to another meanwhile; until this one
   * knows better, it does not tell the outside whose the addresses are.
   */
  isConfirmed(shard: number): boolean {
    return this.member.owner.termOf(shard)?.isConfirmed === true;
  }

  /** When a probe was sent that the shard's owner answered as such, in ms of the boot clock. Undefined: none is known, or it never answered this node. */
  ownerHeardAt(shard: number): number | undefined {
    return this.member.ownerHeardAt(shard);
  }

  /** The member that this one would hand the shard to: its standby. Undefined: no other answers. */
  successor(shard: number): string | undefined {
    return this.member.handover.successor(shard);
  }

  step(input: Input, now: number): readonly Output[] {
    const context = this.#context;
    context.now = now;
    context.outputs = [];
    this.#handle(input);
    for (let body = context.loop.shift(); body !== undefined; body = context.loop.shift()) this.#said(context.self, body);
    context.durable.flush();
    return context.outputs;
  }

  #handle(input: Input): void {
    const context = this.#context;
    switch (input.kind) {
      case 'tick':
        this.#tick();
        break;
      case 'message': {
        const { group, from, to, body } = input.message;
        if ((to !== '' && to !== context.self) || from === context.self) return;
        if (context.configs.newest !== undefined && group !== context.configs.newest.group) return;
        this.#said(from, body);
        break;
      }
      case 'persisted':
        context.durable.persisted(input.token);
        break;
      case 'probe-sent':
        context.observer.sent(input.peer, input.nonce, input.at);
        break;
      case 'probe-answered':
        context.observer.answered(input.peer, input.nonce, input.shards);
        break;
      case 'carrier':
        this.member.carrierChanged(input.up);
        break;
      case 'config':
        this.#configured(input.config);
        break;
      case 'record-read':
        context.recordReadAt = Math.max(context.recordReadAt, input.askedAt);
        break;
      case 'hosts':
        this.member.owner.hostsChanged(input.hosts);
        break;
      case 'recorded':
        // Also one of its own: whoever can write there can write this node's name. Nobody has sent it, so nobody is told that it arrived.
        if (context.verified(input.certificate, 'the store')) this.#believe(input.certificate);
        break;
      case 'synced':
        this.member.handover.synced(input.shards);
        break;
      case 'external-conflict':
        this.#conflict(input.address);
        break;
    }
  }

  #said(from: string, body: OwnershipBody): void {
    switch (body.kind) {
      case 'ask':
        this.voter.ask(from, body.value);
        break;
      case 'answer':
        this.member.answer(from, body.value);
        break;
      case 'ballot':
        this.voter.ballot(from, body.value);
        break;
      case 'vote':
        this.member.vote(from, body.value);
        break;
      case 'refusal':
        this.member.refusal(from, body.value);
        break;
      case 'certificate':
        this.#certificate(from, body.value);
        break;
      case 'acknowledgement':
        this.member.owner.acknowledged(from, body.value);
        break;
      case 'release':
        this.voter.release(from, body.value);
        break;
      case 'offer':
        this.member.handover.offer(from, body.value.consent);
        break;
    }
  }

  #certificate(from: string, certificate: Parameters<Voter['certified']>[0]): void {
    const context = this.#context;
    if (from !== context.self && !context.verified(certificate, from)) return;
    const isWhole = this.#believe(certificate);
    const { epoch, config, round, candidate } = certificate.ballot;
    if (candidate === context.self) return;
    // Another group's shard, on which this one's majority has no word; or a new one that an older record does not name: its owner repeats it until it is accepted.
    if (!isWhole) {
      context.put({ kind: 'need-config', config, from });
      return;
    }
    context.send(candidate, { kind: 'acknowledgement', value: { epoch, config, round, accepted: true, highest: epoch } });
  }

  /** @returns Whether all of its shards are the group's; the others are passed over. */
  #believe(certificate: Parameters<Voter['certified']>[0]): boolean {
    const { configs } = this.#context;
    const config = configs.get(certificate.ballot.config) ?? configs.newest;
    const { shards } = certificate.ballot;
    const own = shards.filter((shard) => config !== undefined && hasShard(config, shard));
    this.voter.certified(certificate, own);
    this.member.certified(certificate, own);
    return own.length === shards.length;
  }

  #tick(): void {
    const context = this.#context;
    const { timing, now, observer } = context;
    // Probes and their answers of before a gap say nothing: this process did not listen.
    if (now - this.#lastTick > timing.answeringMs) observer.paused(now);
    this.#lastTick = now;
    const config = context.configs.newest;
    for (const { id } of config?.members ?? []) if (id !== context.self) context.put({ kind: 'probe', peer: id, nonce: context.nonce() });
    this.voter.tick();
    this.member.tick();
  }

  #configured(config: OwnershipConfig): void {
    const context = this.#context;
    const newest = context.configs.newest;
    if (newest !== undefined && config.group !== newest.group) return;
    context.alarm(
      'configuration-missing',
      'contradiction',
      context.configs.contradicts(config),
      () =>
        `Configuration ${config.config} passes over one that took effect: the store has lost writes. It is not used; see what NATS has lost`,
    );
    if (!context.configs.add(config) || context.configs.newest !== config) return;
    this.member.configured(config, newest);
    context.alarm('configuration-missing', '', false, () => '');
    const named = config.voters.find(({ id }) => id === context.self);
    context.alarm(
      'memory-lost',
      context.self,
      named !== undefined && named.instance !== 0 && named.instance !== this.instance,
      () =>
        `${context.self} has lost its ownership file and does not vote: a new configuration has to name its new memory (the controller does so by itself while a majority remembers; else run \`weft gateway recover\`)`,
    );
    context.alarm(
      'no-automatic-failover',
      '',
      lacksFailover(config),
      () =>
        'No automatic failover: a pair of gateways needs a witness host on a third machine: name one in `witnesses` of the Gateway, and apply it',
    );
    const faults = configFaults(config);
    context.alarm('configuration-missing', 'faults', faults.length > 0, () => faults.join('; '));
  }

  /** A claim proves nothing, so nothing closes by it. */
  #conflict(address: string): void {
    this.#context.alarm(
      'external-conflict',
      address,
      true,
      () => `Another machine claims the external address ${address}: find it; ownership does not change by that`,
    );
  }
}
