import type { OwnershipBallot } from '@weft/model';
import { epochText } from '../epoch.ts';
import type { Rules } from '../rules.ts';
import { boundD, type Timing } from '../timing.ts';
import { Violation } from './checker.ts';
import type { Machine } from './machine.ts';

export interface ReplacedInit {
  readonly timing: Timing;
  readonly rules: Pick<Rules, 'isOpen'>;
  readonly now: () => number;
}

/** Watches that a replaced owner's packet path is closed within D, on its own clock. */
export class Replaced {
  readonly #init: ReplacedInit;

  constructor(init: ReplacedInit) {
    this.#init = init;
  }

  /** Somebody was granted shards: whoever has had them is replaced from now on. */
  by(ballot: Pick<OwnershipBallot, 'epoch' | 'candidate' | 'shards'>, gateways: readonly Machine[]): void {
    for (const machine of gateways) {
      if (machine.id === ballot.candidate || !machine.power) continue;
      for (const shard of ballot.shards) {
        const row = machine.fence.get(shard);
        if (row === undefined || row.epoch >= ballot.epoch || machine.replaced.has(shard)) continue;
        machine.replaced.set(shard, { epoch: ballot.epoch, at: machine.clock.at(this.#init.now()) });
        this.#closedInTime(machine, shard);
      }
    }
  }

  check(machine: Machine): void {
    for (const shard of machine.replaced.keys()) this.#closedInTime(machine, shard);
  }

  #closedInTime(machine: Machine, shard: number): void {
    const { timing, rules, now } = this.#init;
    const row = machine.fence.get(shard);
    const replaced = machine.replaced.get(shard);
    if (row === undefined || replaced === undefined) return;
    if (row.epoch > replaced.epoch) {
      // An owner again, by a later grant.
      machine.replaced.delete(shard);
      return;
    }
    const closes = replaced.at + boundD(timing);
    const open = rules.isOpen(row, Math.max(machine.clock.at(now()), closes + 0.001));
    if (row.deadlineMs > closes + 0.001 || open) {
      throw new Violation(
        'closed-later-than-d',
        `${machine.id}, shard ${shard}, epoch ${epochText(row.epoch)}: replaced by ${epochText(replaced.epoch)} at ${replaced.at.toFixed(1)}, must be closed at ${closes.toFixed(1)}; deadline ${row.deadlineMs.toFixed(1)} (own clock)`,
      );
    }
  }
}
