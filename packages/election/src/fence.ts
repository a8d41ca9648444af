/*
 * The member's fence: the one row of `gateway_shard` (docs/gateway-contract.md, section 3) per shard that it owns or owned. The packet path, not this
 * process, keeps the time: it forwards while `now < deadlineMs`, so a stopped, frozen or dead agent closes by itself.
 */
export interface FenceRow {
  readonly shard: number;
  readonly epoch: bigint;
  /** Boot clock; the adapter rounds down to ns. 0: closed. */
  readonly deadlineMs: number;
  /** Closed by a hand-over: until then, late frames go on to the new owner's provider address. 0: none. */
  readonly handoverUntilMs: number;
  readonly handoverTo: string;
}

/** What the packet path asks for each frame, and before it answers ARP, ND and probes as owner, and before it grants a NAT block. */
export function isOpen(row: Pick<FenceRow, 'deadlineMs'> | undefined, now: number): boolean {
  return row !== undefined && now < row.deadlineMs;
}

export class Fence {
  readonly #rows = new Map<number, FenceRow>();
  /** Highest epoch of somebody else, per shard: nothing at or below it opens again. */
  readonly #replaced = new Map<number, bigint>();

  constructor(rows: readonly FenceRow[] = []) {
    for (const row of rows) this.#rows.set(row.shard, row);
  }

  row(shard: number): FenceRow | undefined {
    return this.#rows.get(shard);
  }

  rows(): IterableIterator<FenceRow> {
    return this.#rows.values();
  }

  /** Moves the deadline of an own epoch. @returns The row to write, or undefined: a lower epoch than the row's, replaced, or no later than it is. */
  extend(shard: number, epoch: bigint, deadlineMs: number): FenceRow | undefined {
    const row = this.#rows.get(shard);
    if (epoch < (row?.epoch ?? 0n) || epoch <= (this.#replaced.get(shard) ?? 0n)) return undefined;
    if (row !== undefined && row.epoch === epoch && row.deadlineMs >= deadlineMs) return undefined;
    return this.#set({ shard, epoch, deadlineMs, handoverUntilMs: 0, handoverTo: '' });
  }

  /**
   * Another's epoch is certified: closes at once, if it is above the row's.
   * @param handover Given if the move was by own consent.
   * @returns The row to write, or undefined: nothing was open, or the certificate is older than the own epoch.
   */
  replaced(shard: number, by: bigint, handover?: { readonly to: string; readonly untilMs: number }): FenceRow | undefined {
    if (by > (this.#replaced.get(shard) ?? 0n)) this.#replaced.set(shard, by);
    const row = this.#rows.get(shard);
    if (row === undefined || by <= row.epoch || (row.deadlineMs === 0 && handover === undefined)) return undefined;
    if (row.deadlineMs === 0 && row.handoverUntilMs > 0) return undefined;
    return this.#set({
      ...row,
      deadlineMs: 0,
      handoverUntilMs: handover?.untilMs ?? 0,
      handoverTo: handover?.to ?? '',
    });
  }

  #set(row: FenceRow): FenceRow {
    this.#rows.set(row.shard, row);
    return row;
  }
}
