import type { RecordEntry } from '@weft/bus';
import { WeftError } from '@weft/model';
import type { Author, ControllerClock } from './components.ts';
import type { Records } from './records.ts';

/**
 * How long a request may go without sign of life before another controller resumes it; the same for all controllers of an installation. Of
 * these 45 s its own controller writes for 20 s after its last renewal, at most; 5 s are for a write under way; 20 s for a machine that stood
 * still in between. Renewed every 5 s: three may fail.
 */
export const RESUME_AFTER_MS = 45_000;
const RENEW_SHARE = 1 / 9;
const WRITE_SHARE = 4 / 9;

/**
 * A request's intent while this controller works on it: renewed by CAS, so that others see it is alive, and this one sees when it has been
 * taken over.
 */
export class IntentLease {
  readonly #records: Records;
  readonly #author: Author;
  readonly #clock: ControllerClock;
  readonly #renewMs: number;
  readonly #writeMs: number;
  #entry: RecordEntry;
  #renewedMs: number;
  #lost = false;
  #timer: NodeJS.Timeout | undefined;
  #renewing: Promise<void> = Promise.resolve();

  constructor(records: Records, author: Author, clock: ControllerClock, entry: RecordEntry, resumeAfterMs: number) {
    this.#renewMs = resumeAfterMs * RENEW_SHARE;
    this.#writeMs = resumeAfterMs * WRITE_SHARE;
    this.#records = records;
    this.#author = author;
    this.#clock = clock;
    this.#entry = entry;
    this.#renewedMs = clock.monotonic();
    this.#schedule();
  }

  /** Call before each write. @throws {WeftError} `WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME` when another controller may have the request by now. */
  check(): void {
    if (!this.#lost && this.#clock.monotonic() - this.#renewedMs <= this.#writeMs) return;
    throw new WeftError(
      'WEFT_ERR_CONTROLLER_UNKNOWN_OUTCOME',
      `Cannot go on with request ${this.#author.requestId}: this controller stood still too long, another one carries it on; see \`weft diff\``,
      {
        requestId: this.#author.requestId,
      },
    );
  }

  /** Ends the renewals. `done`: marks the request as carried out; unless another controller has it, which then does. */
  async end(done: boolean): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#renewing;
    if (done && !this.#lost) await this.#records.tryPut(this.#author, this.#entry.key, '', this.#entry, undefined);
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#renewing = this.#renew().finally(() => this.#timer !== undefined && this.#schedule());
    }, this.#renewMs);
  }

  async #renew(): Promise<void> {
    const before = this.#clock.monotonic();
    try {
      const entry = await this.#records.tryPut(this.#author, this.#entry.key, '', this.#entry, this.#entry.record);
      if (entry === undefined) {
        this.#lost = true;
        return;
      }
      this.#entry = entry;
      // Counted from before it was sent: others count from when they saw it.
      this.#renewedMs = before;
    } catch (error) {
      // NATS fails: the next renewal, or `check`, decides. One whose outcome is unknown may be found taken over, by itself; that is safe.
      if (!(error instanceof WeftError)) throw error;
    }
  }
}
