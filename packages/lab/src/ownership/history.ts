import { boundD, TIMING } from '@weft/election';

/** What a host obeys for a shard: a row of `shard`. Addresses are text, times ms of the boot clock. */
export interface AcceptedOwner {
  readonly host: string;
  readonly shard: number;
  readonly epoch: bigint;
  readonly owner: string;
  /** Another whose frames are accepted too, while a hand-over lasts; '' for none. */
  readonly previous: string;
  readonly previousUntilMs: number;
}

/** What a member forwards: a row of `gateway_shard`. */
export interface OwnFence {
  readonly host: string;
  /** The member's provider address. */
  readonly address: string;
  readonly shard: number;
  readonly epoch: bigint;
  readonly deadlineMs: number;
}

/** All rows at one moment. */
export interface OwnershipSample {
  readonly atMs: number;
  readonly accepted: readonly AcceptedOwner[];
  readonly fences: readonly OwnFence[];
}

/** A shard went to another owner; `atMs` is when the first host obeyed it. */
export interface ShardMove {
  readonly shard: number;
  readonly from: string;
  readonly to: string;
  readonly epoch: bigint;
  readonly atMs: number;
  /** When the last host obeyed it; undefined: not all do yet. */
  everywhereMs: number | undefined;
}

/**
 * The promises of docs/ownership.md, held against samples of the packet paths' own rows, whatever the agents say:
 *
 * - a host's epoch for a shard never falls, and of one epoch there is one owner, everywhere;
 * - a member's own epoch never falls;
 * - no fence stands open for longer than D after a host has obeyed a higher epoch;
 * - a second owner is accepted only for as long as a hand-over lasts.
 *
 * Samples are in the order of their times. What happens between two is not seen: a deadline says more than that, as it tells what is yet to come.
 */
export class OwnershipHistory {
  readonly moves: ShardMove[] = [];
  readonly #faults = new Set<string>();
  readonly #hostEpochs = new Map<string, bigint>();
  readonly #fenceEpochs = new Map<string, bigint>();
  readonly #ownerOf = new Map<string, string>();
  /** Per shard: epochs that a host has obeyed, with the time at which the first did; ascending. */
  readonly #obeyed = new Map<number, { readonly epoch: bigint; readonly atMs: number }[]>();
  #overlapMs = 0;
  #lastMs: number | undefined;

  /** What was broken, each once. */
  get faults(): readonly string[] {
    return [...this.#faults];
  }

  /** For how long, in all, two members have stood open for one shard. Allowed up to D at each takeover from an owner that lives. */
  get overlapMs(): number {
    return this.#overlapMs;
  }

  add(sample: OwnershipSample): void {
    for (const row of sample.accepted) this.#accepted(row, sample);
    for (const fence of sample.fences) this.#fence(fence, sample);
    for (const move of this.moves) {
      const rows = sample.accepted.filter(({ shard }) => shard === move.shard);
      if (move.everywhereMs === undefined && rows.every(({ epoch }) => epoch >= move.epoch)) move.everywhereMs = sample.atMs;
    }
    const shards = new Set(sample.fences.map(({ shard }) => shard));
    const doubled = [...shards].some((shard) => openFences(sample, shard).length > 1);
    if (doubled && this.#lastMs !== undefined) this.#overlapMs += sample.atMs - this.#lastMs;
    this.#lastMs = sample.atMs;
  }

  #accepted({ host, shard, epoch, owner, previous, previousUntilMs }: AcceptedOwner, { atMs }: OwnershipSample): void {
    this.#rises(this.#hostEpochs, host, shard, epoch, `host ${host} obeys`);
    this.#belongs(shard, epoch, owner, `host ${host}`);
    if (previous !== '' && previousUntilMs > atMs + TIMING.handoverMs + SLACK_MS)
      this.#faults.add(
        `shard ${shard}: host ${host} accepts ${previous} beside ${owner} for ${Math.round(previousUntilMs - atMs)} ms more`,
      );
    const known = this.#obeyed.get(shard) ?? [];
    const last = known.at(-1);
    if (last !== undefined && epoch <= last.epoch) return;
    this.#obeyed.set(shard, [...known, { epoch, atMs }]);
    const from = last === undefined ? owner : this.#ownerOf.get(`${shard} ${last.epoch}`)!;
    if (from !== owner) this.moves.push({ shard, from, to: owner, epoch, atMs, everywhereMs: undefined });
  }

  #fence({ host, address, shard, epoch, deadlineMs }: OwnFence, { atMs }: OwnershipSample): void {
    this.#rises(this.#fenceEpochs, host, shard, epoch, `member ${host} forwards`);
    this.#belongs(shard, epoch, address, `member ${host}`);
    // It was replaced before the first host knew, so this is generous by that much.
    const higher = this.#obeyed.get(shard)?.find((one) => one.epoch > epoch);
    if (higher !== undefined && deadlineMs > atMs && deadlineMs > higher.atMs + boundD(TIMING) + SLACK_MS)
      this.#faults.add(
        `shard ${shard}: member ${host} stays open with epoch ${epoch} until ${Math.round(deadlineMs - higher.atMs)} ms after a host obeyed epoch ${higher.epoch}; D is ${boundD(TIMING)} ms`,
      );
  }

  #rises(known: Map<string, bigint>, host: string, shard: number, epoch: bigint, who: string): void {
    const before = known.get(`${host} ${shard}`) ?? 0n;
    if (epoch < before) this.#faults.add(`shard ${shard}: ${who} epoch ${epoch} after ${before}`);
    else known.set(`${host} ${shard}`, epoch);
  }

  #belongs(shard: number, epoch: bigint, owner: string, who: string): void {
    const known = this.#ownerOf.get(`${shard} ${epoch}`);
    if (known !== undefined && known !== owner) this.#faults.add(`shard ${shard}: epoch ${epoch} is ${known}'s, and by ${who} ${owner}'s`);
    else this.#ownerOf.set(`${shard} ${epoch}`, owner);
  }
}

/** The boot clock is read to 10 ms. */
const SLACK_MS = 20;

export function openFences({ atMs, fences }: OwnershipSample, shard: number): readonly OwnFence[] {
  return fences.filter((fence) => fence.shard === shard && fence.deadlineMs > atMs);
}

/** What keeps a sample from being at rest: one owner a shard, obeyed by every host, and open there alone. Empty: it is. */
export function unrest(sample: OwnershipSample): readonly string[] {
  const found: string[] = [];
  const shards = new Set([...sample.accepted, ...sample.fences].map(({ shard }) => shard));
  if (shards.size === 0) found.push('no shard is known');
  for (const shard of [...shards].sort((a, b) => a - b)) {
    const views = new Set(sample.accepted.filter((row) => row.shard === shard).map(({ epoch, owner }) => `${owner} with epoch ${epoch}`));
    const open = openFences(sample, shard).map(({ address, epoch }) => `${address} with epoch ${epoch}`);
    if (views.size !== 1) found.push(`shard ${shard}: hosts obey ${[...views].join(', ') || 'nobody'}`);
    if (open.length !== 1) found.push(`shard ${shard}: open is ${open.join(', ') || 'nobody'}`);
    else if (views.size === 1 && !views.has(open[0]!)) found.push(`shard ${shard}: hosts obey ${[...views][0]}, open is ${open[0]}`);
  }
  return found;
}
