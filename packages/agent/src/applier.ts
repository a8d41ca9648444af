import type { TableChange } from '@weft/forwarding';
import type { AgentDatapath } from './components.ts';
import type { Conditions } from './conditions.ts';
import { messageOf } from './errors.ts';

/**
 * Hands table changes to the packet path, within the event that caused them.
 *
 * When it refuses, the condition DATAPATH_FAILED is raised and `onFailure` asks for a reconciliation, which tries again all that is wanted.
 */
export class Applier {
  readonly #datapath: AgentDatapath;
  readonly #conditions: Conditions;
  readonly #onFailure: () => void;

  constructor(datapath: AgentDatapath, conditions: Conditions, onFailure: () => void) {
    this.#datapath = datapath;
    this.#conditions = conditions;
    this.#onFailure = onFailure;
  }

  /** @returns Whether the packet path took them. */
  push(changes: readonly TableChange[]): boolean {
    if (changes.length === 0) return true;
    try {
      this.#datapath.apply(changes);
      return true;
    } catch (error) {
      this.#conditions.raise('DATAPATH_FAILED', `Cannot apply ${changes.length} table changes: ${messageOf(error)}; the agent tries again`);
      this.#onFailure();
      return false;
    }
  }
}
