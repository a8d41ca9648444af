import { type Assignment, type GatewayStep, type ReleasedBlocks, releasable } from '@weft/model';
import type { AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';
import type { SyncedFile } from './synced-file.ts';

/** Blocks that are looked at in one go; the others come in turn. */
const BLOCKS_A_LOOK = 4_032;

export interface BlockReleasesInit {
  readonly gatewayId: string;
  readonly hostId: string;
  readonly logger: AgentLogger;
  /** The revision of the assignment that the last consent rested on: on disk before it is sent. */
  readonly file: Pick<SyncedFile, 'read' | 'write'>;
  /** Of pieces of the own slices that are on their way elsewhere: what the packet path grants no more, and nobody holds. */
  readonly free: (pieces: readonly ReleasedBlocks[]) => readonly ReleasedBlocks[];
  readonly take: (step: GatewayStep) => Promise<boolean>;
}

/**
 * Gives up the blocks that the record has marked as moving elsewhere, piece by piece as they are free.
 *
 * A consent may have taken effect though its answer was lost. So from then on an assignment older than the one it rested on, which a store that lost writes
 * or an old file may show, says nothing about what this member may grant (`outdated`).
 */
export class BlockReleases {
  readonly #init: BlockReleasesInit;
  #consented = 0;
  #turn = 0;
  #isSecond = false;
  #free = new Set<string>();
  #running = false;

  private constructor(init: BlockReleasesInit, consented: number) {
    this.#init = init;
    this.#consented = consented;
  }

  /** @throws {Error} If the file can't be read: what was consented to is not known then. */
  static async open(init: BlockReleasesInit): Promise<BlockReleases> {
    const bytes = await init.file.read();
    return new BlockReleases(init, bytes === undefined ? 0 : Number(new TextDecoder().decode(bytes)));
  }

  /** True: this member may have given blocks away since that revision. */
  outdated(assignmentRevision: number): boolean {
    return assignmentRevision < this.#consented;
  }

  /** Looks for what can be given up now. Calls while one is under way do nothing. */
  async look(assignment: Assignment, assignmentRevision: number): Promise<void> {
    const { hostId, file, free, take, logger } = this.#init;
    const member = assignment.members.find((one) => one.hostId === hostId)?.member ?? 0;
    const moving = releasable(assignment, member);
    if (this.#running || moving.length === 0 || assignmentRevision === 0 || this.outdated(assignmentRevision)) return;
    this.#running = true;
    try {
      const blocks = this.#twice(free(this.#next(moving)));
      if (blocks.length === 0) return;
      if (assignmentRevision > this.#consented) {
        await file.write(new TextEncoder().encode(String(assignmentRevision)));
        this.#consented = assignmentRevision;
      }
      await take({ kind: 'blocksReleased', value: { blocks } });
    } catch (error) {
      logger.warn({ gateway: this.#init.gatewayId, reason: messageOf(error) }, 'blocks not given up; tried again');
    } finally {
      this.#running = false;
    }
  }

  /** Of free blocks, those that were free at the last look, too: while a snapshot is being taken in, what somebody holds is missing for a moment. */
  #twice(pieces: readonly ReleasedBlocks[]): readonly ReleasedBlocks[] {
    const before = this.#free;
    this.#free = new Set();
    const found: ReleasedBlocks[] = [];
    for (const { segment, address, first, count } of pieces) {
      for (let at = first; at < first + count; at++) {
        const name = `${segment} ${address} ${at}`;
        this.#free.add(name);
        if (!before.has(name)) continue;
        const last = found.at(-1);
        const follows = last?.segment === segment && last.address === address && last.first + last.count === at;
        if (follows) found[found.length - 1] = { ...last, count: last.count + 1 };
        else found.push({ segment, address, first: at, count: 1 });
      }
    }
    return found;
  }

  /** Some of the pieces, each in its turn. */
  #next(moving: readonly ReleasedBlocks[]): readonly ReleasedBlocks[] {
    const chosen: ReleasedBlocks[] = [];
    let blocks = 0;
    for (let i = 0; i < moving.length && blocks < BLOCKS_A_LOOK; i++) {
      const piece = moving[(this.#turn + i) % moving.length]!;
      chosen.push(piece);
      blocks += piece.count;
    }
    // Each is looked at twice in a row, if there are more than one look takes.
    if (chosen.length < moving.length && this.#isSecond) this.#turn = (this.#turn + chosen.length) % moving.length;
    this.#isSecond = !this.#isSecond;
    return chosen;
  }
}
