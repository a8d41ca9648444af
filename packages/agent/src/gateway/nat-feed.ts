import type { GatewayDatapath } from '@weft/datapath';
import type { NatEventBatch } from '@weft/forwarding';

/** Who wants to know what port mapping does. Called in the order of events, synchronously: what takes long is put aside, and what is to be kept is taken out of the batch. */
export interface NatListener {
  onEvents(batch: NatEventBatch): void;
  /** Events were lost (the kernel's ring was full): what is known from events is incomplete, read the tables. */
  onLost(): void;
}

/** The one reader of the packet path's NAT events, for all who want them: the stream to the standby, the NAT log. */
export class NatFeed {
  readonly #source: Pick<GatewayDatapath, 'watchNat' | 'natEventsLost'>;
  readonly #listeners = new Set<NatListener>();
  #stop: (() => void) | undefined;
  #lost = 0n;

  constructor(source: Pick<GatewayDatapath, 'watchNat' | 'natEventsLost'>) {
    this.#source = source;
  }

  /** @returns Ends it. The ring is read while there is a listener. */
  listen(listener: NatListener): () => void {
    this.#listeners.add(listener);
    if (this.#stop === undefined) {
      this.#lost = this.#source.natEventsLost();
      this.#stop = this.#source.watchNat((batch) => {
        for (const one of this.#listeners) one.onEvents(batch);
      });
    }
    return () => {
      if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }

  /** To be called every second. */
  poll(): void {
    if (this.#stop === undefined) return;
    const lost = this.#source.natEventsLost();
    if (lost === this.#lost) return;
    this.#lost = lost;
    for (const one of this.#listeners) one.onLost();
  }
}
