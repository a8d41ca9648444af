import type { SliceClock } from './gateway/in-slices.ts';
import { inSlices, PROCESS_SLICES } from './gateway/in-slices.ts';
import type { SyncedFile } from './gateway/synced-file.ts';

/** Least time between two writings, ms: while networks are taken up, each of them changes the file. */
const SAVE_MS = 5_000;

/** What is kept of a network that is followed though no port of this host is in it. */
export interface FollowedNetwork {
  readonly rdid: string;
  /** Boot clock, ms; 0: a role uses it. */
  readonly emptySinceMs: number;
  /** Whose claims have been read. */
  readonly vsids: readonly number[];
}

export interface FollowedNetworksInit {
  readonly file: Pick<SyncedFile, 'read' | 'write'>;
  readonly bootId: string;
  /** Boot clock, ms. */
  readonly now: () => number;
  /** The networks as they are now. */
  readonly list: () => Iterable<FollowedNetwork>;
  /** Writing failed; undefined: it works again. */
  readonly onSaved: (error: unknown) => void;
  readonly slices?: SliceClock;
}

/**
 * The networks that a gateway's agent follows, ten thousand perhaps, on disk: made bit by bit and written off the main thread, where a slow disk would keep the agent from its heartbeats.
 * Nothing rests on it but how soon a restarted agent knows them all: with NATS away it does not know the documents of those that are missing, and leaves their rows as they are.
 *
 * One line each, after one with the boot: `<rdid> <empty since> <vsid>,…`.
 */
export class FollowedNetworks {
  readonly #init: FollowedNetworksInit;
  #isDirty = false;
  #savedMs = Number.NEGATIVE_INFINITY;
  #text = '';
  #saving: Promise<void> | undefined;

  constructor(init: FollowedNetworksInit) {
    this.#init = init;
  }

  /** Something may be other than what was written last. */
  touch(): void {
    this.#isDirty = true;
  }

  /** What was written last, if it was. @throws What reading says. */
  async read(): Promise<{ readonly bootId: string; readonly networks: readonly FollowedNetwork[] } | undefined> {
    const saved = await this.#init.file.read();
    if (saved === undefined) return undefined;
    const [bootId = '', ...lines] = new TextDecoder().decode(saved).split('\n');
    const networks: FollowedNetwork[] = [];
    await inSlices(
      lines,
      (line) => {
        const [rdid = '', emptySinceMs = '', vsids = ''] = line.split(' ');
        if (rdid !== '')
          networks.push({ rdid, emptySinceMs: Number(emptySinceMs), vsids: vsids === '' ? [] : vsids.split(',').map(Number) });
      },
      this.#init.slices,
    );
    return { bootId, networks };
  }

  /** To be called now and then: writes what has changed, not too often. */
  poll(): void {
    if (!this.#isDirty || this.#saving !== undefined || this.#init.now() - this.#savedMs < SAVE_MS) return;
    void this.#save();
  }

  /** Writes what has changed, before the process ends. */
  async flush(): Promise<void> {
    await this.#saving;
    if (this.#isDirty) await this.#save();
  }

  #save(): Promise<void> {
    this.#saving = this.#write().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #write(): Promise<void> {
    const { file, bootId, list, now, onSaved, slices = PROCESS_SLICES } = this.#init;
    this.#isDirty = false;
    this.#savedMs = now();
    try {
      const lines = [bootId];
      await inSlices(list(), ({ rdid, emptySinceMs, vsids }) => void lines.push(`${rdid} ${emptySinceMs} ${vsids.join(',')}`), slices);
      const text = lines.join('\n');
      if (text !== this.#text) await file.write(new TextEncoder().encode(text));
      this.#text = text;
      onSaved(undefined);
    } catch (error) {
      this.#isDirty = true;
      onSaved(error);
    }
  }
}
