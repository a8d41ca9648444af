import { FlowMeter, NatFeed } from '@weft/agent';
import { createIdentity, signEnvelope } from '@weft/bus';
import type { GatewayDatapath } from '@weft/datapath';
import { isLogged, type NatChange, type NatEventBatch, writeChanges } from '@weft/forwarding';

/** What an agent has heard of port mapping. */
export interface NatEventsRead {
  readonly events: number;
  /** Flows that have begun, as `weft gateway top` has it. */
  readonly flows: number;
  /** What a standby would be told. */
  readonly changes: number;
  /** Blocks of ports granted and given back. */
  readonly blocks: number;
}

export interface NatEventsReader {
  /** Waits until all of it is read, and stops. @throws {Error} If some was lost. */
  readonly allRead: () => Promise<NatEventsRead>;
  readonly stop: () => void;
}

/** As the agent's state stream has it. */
const CHANGES_MAX = 500;
/** Longer than the reader rests. */
const QUIET_MS = 50;

/**
 * Reads a gateway's events with the agent's own code, and does with them what the agent of an owner with a standby does: counts new flows by network, takes out blocks for the NAT log, and makes
 * and signs the messages to the standby, which nobody gets. Left out: the socket, records of the log in its file.
 */
export function readNatEvents(tables: Pick<GatewayDatapath, 'watchNat' | 'natEventsLost'>): NatEventsReader {
  const feed = new NatFeed(tables);
  const meter = new FlowMeter();
  const messages = new Messages();
  let [events, blocks] = [0, 0];
  const log = (batch: NatEventBatch): void => {
    events += batch.count;
    for (let i = 0; i < batch.count; i++) if (isLogged(batch.kindAt(i)) && 'block' in batch.eventAt(i)) blocks++;
  };
  const tell = (batch: NatEventBatch): void =>
    batch.forEachChange(
      () => true,
      (change) => messages.add(change),
    );
  const ends = [meter, { onEvents: log, onLost: () => {} }, { onEvents: tell, onLost: () => {} }].map((one) => feed.listen(one));
  const stop = (): void => {
    for (const end of ends) end();
    messages.stop();
  };
  return {
    stop,
    allRead: async () => {
      for (let before = -1; events !== before; await new Promise((resolve) => setTimeout(resolve, QUIET_MS))) before = events;
      stop();
      const lost = tables.natEventsLost();
      if (lost > 0n) throw new Error(`${lost} events of port mapping were lost`);
      return { events, changes: messages.changes, blocks, flows: [...meter.begun().values()].reduce((sum, one) => sum + one, 0) };
    },
  };
}

/** The messages of a state stream. */
class Messages {
  changes = 0;
  readonly #identity = createIdentity('host');
  #telling: NodeJS.Immediate | undefined;
  #pending: NatChange[] = [];
  #sequence = 0;

  /** Those of one batch leave together, afterwards. */
  add(change: NatChange): void {
    this.#pending.push(change);
    this.#telling ??= setImmediate(() => this.#tell());
  }

  stop(): void {
    clearImmediate(this.#telling);
    this.#tell();
  }

  #tell(): void {
    this.#telling = undefined;
    while (this.#pending.length > 0) {
      const value = this.#pending.splice(0, CHANGES_MAX);
      const head = { from: 'g1', to: 'g2', stream: 1, sequence: ++this.#sequence, sentBootNs: 1n };
      signEnvelope(this.#identity, 'state', writeChanges(head, value));
      this.changes += value.length;
    }
  }
}
