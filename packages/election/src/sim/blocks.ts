import { type Assignment, BLOCKS_PER_ADDRESS, type BlockSlice, releasable } from '@weft/model';
import { BlockConsents } from '../block-consents.ts';
import type { Rules } from '../rules.ts';
import { Violation } from './checker.ts';
import type { GroupRecord } from './group-record.ts';
import type { Machine } from './machine.ts';
import type { Random } from './random.ts';

/** A block stays with its holder for at most this long, so that schedules see it given up. */
const HELD_MS = 3_000;
const GRANTS = 0.5;
/** Of records read, those that are on disk before the next start. */
const SAVED = 0.3;

interface Known {
  readonly assignment: Assignment;
  readonly revision: number;
}

/** What one member has of the blocks of the external address. */
interface MemberBlocks {
  /** The packet path's: what it grants from, a byte a block, and who holds what until when. Kept by a restart of the agent, lost with the power. */
  readonly ring: Uint8Array;
  readonly heldUntil: Map<number, number>;
  /** On disk. */
  note: number;
  saved: Known | undefined;
  /** The process's. */
  consents: BlockConsents | undefined;
  known: Known | undefined;
  /** A consent is being noted. */
  isNoting: boolean;
  /** Its slice is to end once its shard is with another. */
  isEnding: boolean;
}

export interface SimBlocksInit {
  readonly record: GroupRecord;
  readonly random: Random;
  readonly rules: Rules;
  readonly trace: (line: () => string) => void;
  readonly now: () => number;
  readonly after: (ms: number, event: () => void) => void;
  /** Brings a write to the store, at some time. */
  readonly storeWrite: (write: () => void) => void;
  /** Blocks of a member have become another's just now, and it has not heard of it. */
  readonly onMoved: (machine: Machine) => void;
  /** Whether the machine's packet path forwards for the shard of the address now. */
  readonly isOpen: (machine: Machine) => boolean;
}

/**
 * NAT blocks of one external address on their way between members: the real decisions of the record (`planSlices`, `settleSlices`) and of the members
 * (`BlockConsents`), with rings, holders, notes and files that are behind. No block may be in two rings, nor in one while another member's holder has it.
 */
export class SimBlocks {
  readonly #init: SimBlocksInit;
  readonly #members = new Map<Machine, MemberBlocks>();
  /** By block: whose packet path grants it. */
  readonly #granter: (Machine | undefined)[] = new Array(BLOCKS_PER_ADDRESS).fill(undefined);
  /** Blocks that have changed hands. */
  moved = 0;

  constructor(init: SimBlocksInit) {
    this.#init = init;
  }

  /** The agent starts: with what its files say, which may be behind. */
  started(machine: Machine): void {
    const own = this.#of(machine);
    if (machine.disk === undefined) Object.assign(own, { note: 0, saved: undefined });
    own.consents = new BlockConsents(own.note, this.#init.rules);
    own.known = own.saved;
    own.isNoting = false;
    this.#setRing(machine, own);
  }

  /** Its rings stay. */
  ended(machine: Machine): void {
    Object.assign(this.#of(machine), { consents: undefined, known: undefined });
  }

  powerLost(machine: Machine): void {
    const own = this.#of(machine);
    this.#putRing(machine, own, []);
    own.heldUntil.clear();
  }

  /** The member reads the record as it stands. */
  read(machine: Machine): void {
    const { record, random } = this.#init;
    const own = this.#of(machine);
    if (own.consents === undefined || own.known?.revision === record.revision) return;
    own.known = { assignment: record.assignment, revision: record.revision };
    if (random.chance(SAVED)) own.saved = own.known;
    this.#setRing(machine, own);
  }

  /** Once a second: packets take blocks, and the agent looks at what it is to give up. @param isConnected To NATS. */
  poll(machine: Machine, isConnected: boolean): void {
    const { random, now, isOpen } = this.#init;
    const own = this.#of(machine);
    for (const [block, until] of own.heldUntil) if (until <= now()) own.heldUntil.delete(block);
    if (isOpen(machine) && random.chance(GRANTS)) {
      const first = Math.floor(random.between(0, BLOCKS_PER_ADDRESS));
      const block = own.ring.indexOf(1, first);
      if (block >= 0) own.heldUntil.set(block, now() + random.between(0, HELD_MS));
    }
    if (own.consents === undefined || machine.stopped || machine.frozen) return;
    if (own.isEnding) this.#setRing(machine, own);
    if (isConnected) this.#look(machine, own);
  }

  /** Undefined: every block is where the record wants it. */
  unsettled(): string | undefined {
    const { assignment } = this.#init.record;
    const moving = assignment.members.flatMap(({ member, hostId }) =>
      releasable(assignment, member).map(({ first, count }) => `${count} blocks from ${first} on of ${hostId}`),
    );
    return moving.length === 0 ? undefined : `${moving.join(', ')} have not moved`;
  }

  #look(machine: Machine, own: MemberBlocks): void {
    const { record, random, after, storeWrite, onMoved } = this.#init;
    const { consents, known } = own;
    if (consents === undefined || known === undefined || own.isNoting) return;
    const { assignment, revision } = known;
    const isFree = (block: number): boolean => own.ring[block] === 0 && !own.heldUntil.has(block);
    const candidates = consents.candidates(assignment, record.memberNumber(machine.id, assignment), revision);
    const free = candidates.flatMap(({ segment, address, first, count }) =>
      runs(first, count, isFree).map((run) => ({ segment, address, ...run })),
    );
    const blocks = consents.agree(free);
    if (blocks.length === 0) return;
    own.isNoting = true;
    after(machine.diskMs * random.between(0.5, 1.5), () => {
      if (own.consents !== consents) return;
      own.note = Math.max(own.note, revision);
      consents.written(revision);
      own.isNoting = false;
      // What is lost on its way is asked for again; what comes late may come after a restart, too.
      if (random.chance(0.1)) return;
      storeWrite(() => {
        if (!record.release(machine.id, revision, blocks)) return;
        this.moved += blocks.reduce((sum, { count }) => sum + count, 0);
        onMoved(machine);
      });
    });
  }

  #setRing(machine: Machine, own: MemberBlocks): void {
    const { record, isOpen } = this.#init;
    const { consents, known } = own;
    if (consents === undefined) return;
    const [address] = known?.assignment.addresses ?? [];
    const number = known === undefined ? 0 : record.memberNumber(machine.id, known.assignment);
    const slices = known === undefined || address === undefined ? [] : consents.grantable(address, number, known.revision);
    own.isEnding = slices.length === 0 && isOpen(machine);
    if (!own.isEnding) this.#putRing(machine, own, slices);
  }

  #putRing(machine: Machine, own: MemberBlocks, slices: readonly Pick<BlockSlice, 'first' | 'count'>[]): void {
    const next = new Uint8Array(BLOCKS_PER_ADDRESS);
    for (const { first, count } of slices) next.fill(1, first, first + count);
    for (let block = 0; block < BLOCKS_PER_ADDRESS; block++) {
      if (next[block] === own.ring[block]) continue;
      own.ring[block] = next[block]!;
      const other = this.#granter[block];
      if (next[block] === 0) {
        if (other === machine) this.#granter[block] = undefined;
        continue;
      }
      if (other !== undefined) throw new Violation('block-granted-by-two', `block ${block}: ${other.id} and ${machine.id}`);
      const holder = this.#holderOf(block, machine);
      if (holder !== undefined)
        throw new Violation('block-granted-by-two', `block ${block}: ${machine.id} may grant it, and one on ${holder.id} has it`);
      this.#granter[block] = machine;
    }
  }

  #holderOf(block: number, but: Machine): Machine | undefined {
    for (const [machine, { heldUntil }] of this.#members)
      if (machine !== but && (heldUntil.get(block) ?? Number.NEGATIVE_INFINITY) > this.#init.now()) return machine;
    return undefined;
  }

  #of(machine: Machine): MemberBlocks {
    const known = this.#members.get(machine);
    if (known !== undefined) return known;
    const own: MemberBlocks = {
      ring: new Uint8Array(BLOCKS_PER_ADDRESS),
      heldUntil: new Map(),
      note: 0,
      saved: undefined,
      consents: undefined,
      known: undefined,
      isNoting: false,
      isEnding: false,
    };
    this.#members.set(machine, own);
    return own;
  }
}

/** The runs of blocks of which `wanted` holds. */
function runs(first: number, count: number, wanted: (block: number) => boolean): { first: number; count: number }[] {
  const found: { first: number; count: number }[] = [];
  for (let block = first; block < first + count; block++) {
    if (!wanted(block)) continue;
    const last = found.at(-1);
    if (last !== undefined && last.first + last.count === block) last.count++;
    else found.push({ first: block, count: 1 });
  }
  return found;
}
