import type { OwnershipCertificate } from '@weft/model';
import type { Timing } from './timing.ts';

/** One certificate on its way to hosts, voters and members: repeated to each, ever more rarely, until it is acknowledged. */
export class Delivery {
  readonly certificate: OwnershipCertificate;
  readonly #pending = new Map<string, { next: number; wait: number }>();
  readonly #done = new Set<string>();

  constructor(certificate: OwnershipCertificate) {
    this.certificate = certificate;
  }

  /** Whom it has to reach. Those who have acknowledged it are not asked again. */
  targets(ids: Iterable<string>, now: number, timing: Timing): void {
    for (const id of ids) {
      if (!this.#done.has(id) && !this.#pending.has(id)) this.#pending.set(id, { next: now, wait: timing.resendMs });
    }
  }

  /** @returns To whom it is to be sent now. */
  due(now: number, timing: Timing): string[] {
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
  }

  get pending(): number {
    return this.#pending.size;
  }
}
