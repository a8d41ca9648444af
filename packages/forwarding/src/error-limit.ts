// How many ICMP errors are told (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4(f)). The kernel's: packages/datapath/bpf/lib/error_limit.h.

/** Of one who is told: a second's worth at once, then evenly. */
export const ERRORS_PER_SECOND = 1_000;
/** Remembered at once; who is forgotten begins anew, with a full second. */
const REMEMBERED_MAX = 16_384;
const SECOND_NS = 1_000_000_000n;
const SPACING_NS = SECOND_NS / BigInt(ERRORS_PER_SECOND);

/** Who is told: a port's VM by its host (`id`: ifindex), a network by its gateway (network), the outside about packets to a network (VSID that the drop is counted for). */
export type ErrorSide = 'port' | 'inside' | 'outside';

/** Counts errors for who causes them, so that a flood of packets that are too old or too big takes nothing from others. */
export class ErrorLimit {
  /** When those told would all have been told, at the limit: nanoseconds of the boot clock. Used last stands last. */
  readonly #due = new Map<string, bigint>();

  /** One more error. False: it is not told. */
  take(side: ErrorSide, id: number, nowBootNs: bigint): boolean {
    const key = `${side}/${id}`;
    const due = this.#due.get(key) ?? 0n;
    const next = (due > nowBootNs ? due : nowBootNs) + SPACING_NS;
    const isTold = next <= nowBootNs + SECOND_NS;
    this.#due.delete(key);
    this.#due.set(key, isTold ? next : due);
    if (this.#due.size > REMEMBERED_MAX) this.#due.delete(this.#due.keys().next().value!);
    return isTold;
  }
}
