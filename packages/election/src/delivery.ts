import type { OwnershipCertificate } from '@weft/model';
import type { Timing } from './timing.ts';

const FIRST_WAIT_MS = 100;

/** One certificate on its way to hosts, voters and members: repeated to each, ever more rarely, until it is acknowledged. */
export class Delivery {
  readonly certificate: OwnershipCertificate;
  readonly #pending = new Map<string, { next: number; wait: number }>();
  readonly #done = new Set<string>();
  #targets: readonly string[] = [];

  constructor(certificate: OwnershipCertificate) {
    this.certificate = certificate;
  }

  /**
   * @param targets Whom it has to reach; the same array as long as nobody joins.
   * @returns To whom it is to be sent now.
   */
  due(targets: readonly string[], now: number, timing: Timing): string[] {
    if (targets !== this.#targets) {
      this.#targets = targets;
      for (const id of targets) {
        if (!this.#done.has(id) && !this.#pending.has(id)) this.#pending.set(id, { next: now, wait: timing.resendMs });
      }
    }
    const ids: string[] = [];
    for (const [id, entry] of this.#pending) {
      if (now < entry.next) continue;
      ids.push(id);
      entry.next = now + entry.wait;
      entry.wait = Math.min(entry.wait * 2, timing.certificateMaxMs);
    }
    return ids;
  }

  acknowledged(id: string): void {
    this.#pending.delete(id);
    this.#done.add(id);
  }

  /** It has been forgotten there: send it anew. */
  again(id: string): void {
    this.#done.delete(id);
    if (!this.#pending.has(id)) this.#pending.set(id, { next: 0, wait: FIRST_WAIT_MS });
  }
}
