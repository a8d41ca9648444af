/** How often a device's claimed addresses are answered for at most. */
export const DEFENCE_MS = 1_000;
/** And how many at a time: whoever claims one address must not make us flood the segment. */
export const DEFENDED_AT_ONCE = 64;

/** What is to be said on one device, an address after the other; a set keeps the order in which they were added. */
interface Due {
  readonly addresses: Set<string>;
  toldMs: number;
}

/**
 * Decides which external addresses to announce once more, because another machine has claimed some on that device.
 *
 * The packet path counts claims and keeps the last one's head, so it can't be known which addresses were claimed: all of the device are told again, the one
 * that is known first. A claim that comes while the last answer is too recent is answered for later, so the last word is the owner's. Addresses are text.
 */
export class AddressDefence {
  /** By device. */
  readonly #due = new Map<number, Due>();

  /**
   * Another machine has claimed addresses on a device.
   *
   * @param address The one that is known, if any.
   * @param owned All that this machine answers for on the device now.
   */
  claimed(ifindex: number, address: string | undefined, owned: Iterable<string>): void {
    const all = new Set(owned);
    const { addresses: waiting, toldMs } = this.#due.get(ifindex) ?? { addresses: new Set<string>(), toldMs: -Infinity };
    // Those that wait stay before those that were told last: with more than go at a time, each has its turn.
    const order = [...(address === undefined ? [] : [address]), ...waiting, ...all];
    this.#due.set(ifindex, { addresses: new Set(order.filter((one) => all.has(one))), toldMs });
  }

  /** What to announce now, by device. It counts as told. */
  take(nowMs: number): ReadonlyMap<number, readonly string[]> {
    const told = new Map<number, readonly string[]>();
    for (const [ifindex, due] of this.#due) {
      if (nowMs - due.toldMs < DEFENCE_MS) continue;
      if (due.addresses.size === 0) {
        this.#due.delete(ifindex);
        continue;
      }
      const batch = [...due.addresses].slice(0, DEFENDED_AT_ONCE);
      for (const address of batch) due.addresses.delete(address);
      due.toldMs = nowMs;
      told.set(ifindex, batch);
    }
    return told;
  }
}
