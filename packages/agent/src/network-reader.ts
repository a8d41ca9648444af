import type { Store } from '@weft/bus';
import { inSlices, PROCESS_SLICES, type SliceClock, whenSliceOver } from './gateway/in-slices.ts';
import { nextTurn } from './limiter.ts';
import type { Asked, NetworkSource } from './snapshot-sync.ts';
import { StoreCopy } from './store-copy.ts';

// Of one network, NATS is asked for what lies below two prefixes, and goes through all of its keys to find it (2.9.10; reckoned from how fast networks were read, some
// 40 ms where there are 80,000 keys). A gateway's agent that read ten thousand networks so kept it busy for minutes. One copy of all asks it once.

/** So many networks that wait to be read are read in one go. */
export const MANY_NETWORKS = 64;
/** Read at once, one by one. */
const AT_ONCE = 4;
/** Longest rest after a copy. */
const REST_MS = 10_000;

/** A copy of the store, and how far the network's view was before it was read. */
export interface Copied {
  readonly copy: NetworkSource;
  readonly asked: Asked;
}

/** One network that is to be read. */
export interface NetworkReading {
  /** Called before a copy is read for `read`. */
  ask(): Asked;
  /** @param copied Undefined: from the store itself. @throws What reading says; told to who waits. */
  read(copied: Copied | undefined): Promise<void>;
}

interface Waiting {
  readonly reading: NetworkReading;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

export interface NetworkReaderInit {
  readonly store: () => Store | undefined;
  readonly slices?: SliceClock;
}

/** Reads networks from the store, in the order asked for: few one by one, many out of one copy of all. */
export class NetworkReader {
  readonly #init: NetworkReaderInit;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #copying = false;
  #gathering = false;
  /** Those that are asking for many networks, bit by bit. */
  #asking = 0;

  constructor(init: NetworkReaderInit) {
    this.#init = init;
  }

  /** Resolves when the network has been read as it is after this call. @throws What `read` throws. */
  run(reading: NetworkReading): Promise<void> {
    return new Promise((done, failed) => {
      const one = { reading, done, failed };
      if (this.#asking > 0) this.#waiting.push(one);
      else if (this.#waiting.length === 0 && this.#running < AT_ONCE) this.#start(one);
      else {
        this.#waiting.push(one);
        void this.#gather();
      }
    });
  }

  /** What is asked for until `ask` resolves is read in one go, however long that takes: to ask for ten thousand networks takes many turns. */
  async together(ask: () => Promise<void>): Promise<void> {
    this.#asking++;
    try {
      await ask();
    } finally {
      this.#asking--;
      this.#next();
    }
  }

  /** Who asks for some does so one by one. */
  async #gather(): Promise<void> {
    if (this.#gathering) return;
    this.#gathering = true;
    await nextTurn();
    this.#gathering = false;
    this.#next();
  }

  #next(): void {
    if (this.#asking > 0) return;
    const areMany = this.#waiting.length >= MANY_NETWORKS;
    if (areMany && !this.#copying) void this.#readCopied(this.#waiting.splice(0));
    // Of many that come meanwhile there is another copy.
    if (!areMany) while (this.#running < AT_ONCE && this.#waiting.length > 0) this.#start(this.#waiting.shift()!);
  }

  #start({ reading, done, failed }: Waiting): void {
    this.#running++;
    reading
      .read(undefined)
      .then(done, failed)
      .finally(() => {
        this.#running--;
        if (!this.#gathering) this.#next();
      });
  }

  async #readCopied(all: readonly Waiting[]): Promise<void> {
    this.#copying = true;
    const begunMs = performance.now();
    const { slices = PROCESS_SLICES } = this.#init;
    const asked = new Map<Waiting, Asked>();
    await inSlices(all, (one) => asked.set(one, one.reading.ask()), slices);
    const copy = await this.#copy(slices);
    const pause = whenSliceOver(slices);
    for (const [{ reading, done, failed }, since] of asked) {
      await reading.read({ copy, asked: since }).then(done, failed);
      await pause();
    }
    // Half of the time at most: while thousands of networks are being made, some are always waiting.
    await new Promise((resolve) => setTimeout(resolve, Math.min(performance.now() - begunMs, REST_MS)));
    this.#copying = false;
    this.#next();
  }

  /** When it fails, each network hears so by itself, and tries again as it does otherwise. */
  async #copy(slices: SliceClock): Promise<NetworkSource> {
    try {
      const store = this.#init.store();
      if (store !== undefined) return await StoreCopy.read(store, slices);
      throw new Error('NATS is not reachable');
    } catch (error) {
      const fail = async (): Promise<never> => {
        throw error;
      };
      return { config: { name: 'config', get: fail, snapshot: fail }, mapping: { snapshot: fail } };
    }
  }
}
