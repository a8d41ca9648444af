import { BlockConsents, RULES } from '@weft/election';
import type { Assignment, GatewayStep, ReleasedBlocks } from '@weft/model';
import type { AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';
import type { SyncedFile } from './synced-file.ts';

export interface BlockReleasesInit {
  readonly gatewayId: string;
  readonly hostId: string;
  readonly logger: AgentLogger;
  /** The revision of the assignment that the last consent rested on: on disk before it is sent. */
  readonly file: Pick<SyncedFile, 'read' | 'write'>;
  /** Of pieces of the own slices that are on their way elsewhere: what the packet path grants no more, and nobody holds. */
  readonly free: (pieces: readonly ReleasedBlocks[]) => readonly ReleasedBlocks[];
  /** @param restsOn The revision that the consent is good for. */
  readonly take: (step: GatewayStep, restsOn: number) => Promise<boolean>;
}

/** Gives up the blocks that the record has marked as moving elsewhere, piece by piece as they are free: what `BlockConsents` decides, with disk and store. */
export class BlockReleases {
  readonly #init: BlockReleasesInit;
  readonly #consents: BlockConsents;
  #running = false;

  private constructor(init: BlockReleasesInit, noted: number) {
    this.#init = init;
    this.#consents = new BlockConsents(noted, RULES);
  }

  /** @throws {Error} If the file can't be read: what was consented to is not known then. */
  static async open(init: BlockReleasesInit): Promise<BlockReleases> {
    const bytes = await init.file.read();
    return new BlockReleases(init, bytes === undefined ? 0 : Number(new TextDecoder().decode(bytes)));
  }

  /** True: this member may have given blocks away since that revision. */
  outdated(assignmentRevision: number): boolean {
    return this.#consents.outdated(assignmentRevision);
  }

  /** Looks for what can be given up now. Calls while one is under way do nothing. */
  async look(assignment: Assignment, assignmentRevision: number): Promise<void> {
    const { hostId, file, free, take, logger } = this.#init;
    const consents = this.#consents;
    const member = assignment.members.find((one) => one.hostId === hostId)?.member ?? 0;
    if (this.#running) return;
    const candidates = consents.candidates(assignment, member, assignmentRevision);
    if (candidates.length === 0) return;
    this.#running = true;
    try {
      const blocks = consents.agree(free(candidates));
      if (blocks.length === 0) return;
      if (assignmentRevision > consents.noted) {
        await file.write(new TextEncoder().encode(String(assignmentRevision)));
        consents.written(assignmentRevision);
      }
      // The record may have changed while the note was written: then this comes to nothing, and what the new one asks for is looked at anew.
      await take({ kind: 'blocksReleased', value: { blocks } }, assignmentRevision);
    } catch (error) {
      logger.warn({ gateway: this.#init.gatewayId, reason: messageOf(error) }, 'blocks not given up; tried again');
    } finally {
      this.#running = false;
    }
  }
}
