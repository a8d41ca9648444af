import type { Subscription } from '@weft/bus';
import {
  type Alarm,
  type Components,
  type FenceRow,
  type Input,
  nodesOf,
  type Output,
  OwnershipNode,
  type ProbeShard,
} from '@weft/election';
import { type OwnershipAnswer, type OwnershipAsk, type OwnershipCertificate, type OwnershipConfig, ownershipFileCodec } from '@weft/model';
import type { AgentClock, AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';
import { readOwnershipFile } from './ownership-file.ts';
import type { SyncedFile } from './synced-file.ts';
import { TakeoverClock, type TakeoverTimes } from './takeover-times.ts';
import type { OwnershipTransport } from './transport.ts';

/** An answer to a probe, stamped by this host's kernel when it arrived. */
export interface ProbeAnswer {
  readonly peer: string;
  readonly nonce: number;
  readonly shards: readonly ProbeShard[];
}

/** Probes of peers' packet paths. */
export interface ProbePort {
  /** Sends one; resolves with the time at which it left (boot clock, ms), or undefined when it did not. */
  send(peer: string, nonce: number, shards: readonly number[]): Promise<number | undefined>;
  /** Answers that came since the last call. */
  answers(): readonly ProbeAnswer[];
}

export interface OwnershipDriverInit {
  readonly group: string;
  readonly hostId: string;
  readonly bootId: string;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly transport: OwnershipTransport;
  readonly file: Pick<SyncedFile, 'read' | 'write'>;
  readonly components: Components;
  readonly probes: ProbePort;
  /** Rows of `gateway_shard` that the kernel holds. */
  readonly rows: readonly FenceRow[];
  /** Writes a row of `gateway_shard`, before it returns. */
  readonly fence: (row: FenceRow) => void;
  readonly on: {
    /** Grants made or heard by this node: for the host side of this machine, and to be recorded. */
    certificate(certificate: OwnershipCertificate, record: boolean): void;
    announce(shards: readonly number[], epoch: bigint): void;
    /** Shards came to this member. */
    takenOver(times: TakeoverTimes): void;
    state(output: Output & { kind: 'state' }): void;
    handover(output: Output & { kind: 'handover' }): void;
    needConfig(config: number): void;
    /** The voters' list has been shown to be in force: the controller may record so. */
    settled(configId: number, certificate: OwnershipCertificate): void;
    alarm(alarm: Alarm): void;
  };
}

/**
 * One gateway group on one node (member or witness): carries out what {@link OwnershipNode} decides.
 *
 * Order matters: a fence row is in the kernel before anything decided after it happens, a vote leaves only after its promise is on disk.
 */
export class OwnershipDriver {
  readonly node: OwnershipNode;
  readonly #init: OwnershipDriverInit;
  readonly #subscription: Subscription;
  readonly #takeovers = new TakeoverClock();
  #timer: unknown;
  #shards: readonly number[] = [];
  #stopped = false;

  private constructor(init: OwnershipDriverInit, node: OwnershipNode) {
    this.#init = init;
    this.node = node;
    this.#subscription = init.transport.listen(init.group, true, (message) => this.step({ kind: 'message', message }));
    this.#tick();
  }

  static async start(init: OwnershipDriverInit): Promise<OwnershipDriver> {
    const file = await readOwnershipFile(init.file, (reason) =>
      init.logger.error(
        { gateway: init.group, reason },
        'the ownership file can not be read: this node has forgotten its promises and does not vote',
      ),
    );
    const { hostId: self, bootId, rows, clock, components } = init;
    return new OwnershipDriver(init, new OwnershipNode({ self, bootId, file, rows, now: clock.now() }, components));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#init.clock.clearTimeout(this.#timer);
    await this.#subscription.stop();
  }

  configure(config: OwnershipConfig): void {
    this.#shards = config.shards.map(({ shard }) => shard);
    this.#init.transport.setNodes(config.group, nodesOf(config));
    this.step({ kind: 'config', config });
  }

  /** What this machine's own voter says to its host side. */
  answerOwn(ask: OwnershipAsk): OwnershipAnswer | undefined {
    return this.#stopped ? undefined : this.node.answerOwn(ask, this.#init.clock.now());
  }

  /** Gives the node an input and does what comes of it. */
  step(input: Input): void {
    if (this.#stopped) return;
    const { clock, logger, group } = this.#init;
    const now = clock.now();
    this.#takeovers.heard(input, now);
    for (const output of this.node.step(input, now)) {
      this.#carryOut(output);
      const times = this.#takeovers.did(output, clock.now(), (shard) => this.node.ownerHeardAt(shard));
      if (times === undefined) continue;
      logger.info({ gateway: group, ...times }, 'shards taken over');
      this.#init.on.takenOver(times);
    }
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#timer = this.#init.clock.setTimeout(() => this.#tick(), this.#init.components.timing.probeMs);
    // Answers first: one that lies unread must not count as silence.
    for (const answer of this.#init.probes.answers()) this.step({ kind: 'probe-answered', ...answer });
    this.step({ kind: 'tick' });
  }

  #carryOut(output: Output): void {
    const { on, transport, group } = this.#init;
    switch (output.kind) {
      case 'send':
        if (output.body.kind === 'certificate') on.certificate(output.body.value, false);
        transport.send(group, output.to, output.paths, output.body);
        break;
      case 'probe':
        this.#probe(output.peer, output.nonce);
        break;
      case 'persist':
        this.#persist(output);
        break;
      case 'fence':
        this.#init.fence(output.row);
        break;
      case 'record':
        on.certificate(output.certificate, true);
        break;
      case 'announce':
        on.announce(output.shards, output.epoch);
        break;
      case 'state':
        on.state(output);
        break;
      case 'handover':
        on.handover(output);
        break;
      case 'need-config':
        on.needConfig(output.config);
        break;
      case 'settled':
        on.settled(output.config, output.certificate);
        break;
      case 'alarm':
        on.alarm(output);
        break;
    }
  }

  #probe(peer: string, nonce: number): void {
    this.#init.probes.send(peer, nonce, this.#shards).then(
      (at) => {
        if (at !== undefined) this.step({ kind: 'probe-sent', peer, nonce, at });
      },
      (error: unknown) => this.#init.logger.error({ peer, reason: messageOf(error) }, 'probe not sent'),
    );
  }

  #persist(output: Output & { kind: 'persist' }): void {
    const { file, clock, logger, group } = this.#init;
    file.write(ownershipFileCodec.encode(output.state)).then(
      () => this.step({ kind: 'persisted', token: output.token }),
      (error: unknown) => {
        // Nothing is promised meanwhile: the vote that waits for it is not sent.
        logger.error({ gateway: group, reason: messageOf(error) }, 'the ownership file can not be written; tried again');
        if (!this.#stopped) clock.setTimeout(() => this.#persist(output), 1_000);
      },
    );
  }
}
