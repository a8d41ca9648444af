import type { Subscription } from '@weft/bus';
import { type Alarm, type HostComponents, type HostInput, nodesOf, OwnershipHost, type ShardRow } from '@weft/election';
import type { OwnershipAnswer, OwnershipAsk, OwnershipCertificate, OwnershipConfig } from '@weft/model';
import type { AgentClock } from '../components.ts';
import type { OwnershipTransport } from './transport.ts';

/** While some shard's owner is not known. Known ones need no clock. */
const ASK_MS = 100;

export interface HostShardsInit {
  readonly group: string;
  readonly hostId: string;
  readonly clock: AgentClock;
  readonly transport: OwnershipTransport;
  readonly components: HostComponents;
  /** The shard map as the kernel holds it. */
  readonly rows: readonly ShardRow[];
  /** Writes a row of `shard`, before it returns. */
  readonly write: (row: ShardRow) => void;
  /** Asks the voter on this very machine, if there is one: a message to oneself is sent by nobody. */
  readonly askOwn: (ask: OwnershipAsk) => OwnershipAnswer | undefined;
  readonly needConfig: (config: number) => void;
  readonly alarm: (alarm: Alarm) => void;
}

/** One gateway group on a host whose networks use it: carries out what {@link OwnershipHost} decides. */
export class HostShards {
  readonly #init: HostShardsInit;
  readonly #host: OwnershipHost;
  readonly #subscription: Subscription;
  #timer: unknown;
  #stopped = false;

  constructor(init: HostShardsInit) {
    this.#init = init;
    this.#host = new OwnershipHost({ self: init.hostId, rows: init.rows, now: init.clock.now() }, init.components);
    this.#subscription = init.transport.listen(init.group, false, (message) => this.#step({ kind: 'message', message }));
    this.#tick();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#init.clock.clearTimeout(this.#timer);
    await this.#subscription.stop();
  }

  row(shard: number): ShardRow | undefined {
    return this.#host.row(shard);
  }

  configure(config: OwnershipConfig): void {
    this.#init.transport.setNodes(config.group, nodesOf(config));
    this.#step({ kind: 'config', config });
  }

  /** A grant that this machine's own gateway role made: nobody sends it to itself. */
  take(certificate: OwnershipCertificate): void {
    const { group, hostId } = this.#init;
    this.#step({ kind: 'message', message: { group, from: hostId, to: '', body: { kind: 'certificate', value: certificate } } });
  }

  #hear(answer: OwnershipAnswer | undefined): void {
    const { group, hostId } = this.#init;
    if (answer !== undefined)
      this.#step({ kind: 'message', message: { group, from: hostId, to: hostId, body: { kind: 'answer', value: answer } } });
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#timer = this.#init.clock.setTimeout(() => this.#tick(), ASK_MS);
    this.#step({ kind: 'tick' });
  }

  #step(input: HostInput): void {
    if (this.#stopped) return;
    const { transport, group, hostId } = this.#init;
    for (const output of this.#host.step(input, this.#init.clock.now())) {
      switch (output.kind) {
        case 'shard':
          this.#init.write(output.row);
          break;
        case 'send':
          if (output.to !== hostId) transport.send(group, output.to, output.paths, output.body);
          else if (output.body.kind === 'ask') this.#hear(this.#init.askOwn(output.body.value));
          break;
        case 'need-config':
          this.#init.needConfig(output.config);
          break;
        case 'alarm':
          this.#init.alarm(output);
          break;
      }
    }
  }
}
