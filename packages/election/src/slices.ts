import type { Context } from './context.ts';
import type { SliceNote } from './durable.ts';
import type { SliceRecord } from './io.ts';
import { sliceStatement } from './statement.ts';

/*
 * Slices of NAT blocks. A member grants new blocks from its own slices only, so two owners of one shard, for the D in which both may forward, never give one
 * block to two tenants. A slice has a generation in the group's record, which is written by CAS:
 *
 *     mine(g) ──give: noted as given on disk, then consent(g) signed──► given(g) ──record says (other, g+1)──► the other's
 *     no note (file lost, or first assigned) ──noted as given on disk, then reclaim(g)──► given(g) ──record says (me, g+1)──► mine(g+1)
 *
 * Consent and reclaim both replace generation g by CAS, so one of them wins. Own notes outrank an older record: a store that lost writes moves nothing.
 */
export class Slices {
  readonly #context: Context;
  /** Version of the note that made a slice usable; it counts once on disk. */
  readonly #usable = new Set<number>();
  #records: readonly SliceRecord[] = [];

  constructor(context: Context) {
    this.#context = context;
    for (const { slice, given } of context.durable.state.slices) if (!given) this.#usable.add(slice);
  }

  /** True: blocks of this slice are this member's to grant, if it also has a live lease of the shard. */
  usable(slice: number): boolean {
    return this.#usable.has(slice);
  }

  record(records: readonly SliceRecord[]): void {
    this.#records = records;
    for (const { slice, holder, generation } of records) {
      const note = this.#note(slice);
      if (note !== undefined && generation <= note.generation) continue;
      if (holder !== this.#context.self) {
        if (note !== undefined) this.#write({ slice, generation, given: true });
      } else if (note === undefined) this.#reclaim(slice, generation);
      else this.#write({ slice, generation, given: false });
    }
  }

  /** Gives a slice away; to itself: takes one back whose consent came to nothing. */
  give(slice: number, to: string): void {
    const { self, signer, configs } = this.#context;
    const record = this.#records.find((known) => known.slice === slice);
    if (to === self) {
      if (record?.holder === self && !this.usable(slice)) this.#reclaim(slice, record.generation);
      return;
    }
    const note = this.#note(slice);
    if (note === undefined || !this.usable(slice) || configs.newest === undefined) return;
    const { group } = configs.newest;
    const consent = { slice, generation: note.generation, from: self, to };
    this.#write({ ...note, given: true }, () => {
      this.#context.put({ kind: 'slice-consent', consent: { ...consent, signature: signer.sign(sliceStatement(group, consent)) } });
    });
  }

  #reclaim(slice: number, generation: number): void {
    this.#write({ slice, generation, given: true }, () => this.#context.put({ kind: 'slice-reclaim', slice, generation }));
  }

  #note(slice: number): SliceNote | undefined {
    return this.#context.durable.state.slices.find((note) => note.slice === slice);
  }

  #write(note: SliceNote, then: () => void = () => {}): void {
    const { durable } = this.#context;
    this.#usable.delete(note.slice);
    const version = durable.change({ slices: [...durable.state.slices.filter(({ slice }) => slice !== note.slice), note] });
    durable.when(version, () => {
      if (!note.given && this.#note(note.slice) === note) this.#usable.add(note.slice);
      then();
    });
  }
}
