import type { OwnershipAnswer, OwnershipConfig } from '@weft/model';
import type { Context } from './context.ts';
import { isVoter, type Rules } from './rules.ts';

/** Answers to one question, as far as they have come in. */
export class Survey {
  readonly nonce: number;
  readonly answers: Map<string, OwnershipAnswer> = new Map();

  constructor(nonce: number) {
    this.nonce = nonce;
  }

  /** Highest epoch that anybody who answered has promised or seen certified. */
  get heard(): bigint {
    let heard = 0n;
    for (const { shards } of this.answers.values()) {
      for (const { promised, certified } of shards) {
        if (promised > heard) heard = promised;
        if (certified > heard) heard = certified;
      }
    }
    return heard;
  }

  /** True: nobody who answered knows of a grant of any of the shards. */
  get unowned(): boolean {
    return [...this.answers.values()].every(({ shards }) => shards.every(({ certified }) => certified === 0n));
  }

  /**
   * The newest configuration in which enough voters would vote for these shards. An answer promises nothing; it keeps a ballot that can't win from making
   * voters refuse others.
   */
  winnable(context: Context, shards: readonly number[]): OwnershipConfig | undefined {
    return context.configs
      .list()
      .find((config) => config.members.some(({ id }) => id === context.self) && this.#carries(context, config, shards));
  }

  #carries(context: Context, config: OwnershipConfig, shards: readonly number[]): boolean {
    const willing = [...this.answers].filter(([id, answer]) => wouldVote(context.rules, config, id, answer, shards));
    return context.rules.hasQuorum(
      config,
      willing.map(([voter, { instance }]) => ({ voter, instance })),
    );
  }

  /** The least time after which a lease that stands in the way may have run out. */
  get waitMs(): number {
    let wait = Number.POSITIVE_INFINITY;
    for (const { shards } of this.answers.values()) {
      for (const { refusal, remainingMs } of shards) if (refusal === 'lease-standing') wait = Math.min(wait, remainingMs);
    }
    return wait;
  }

  has(reason: string): boolean {
    for (const { shards } of this.answers.values()) if (shards.some(({ refusal }) => refusal === reason)) return true;
    return false;
  }
}

function wouldVote(
  rules: Pick<Rules, 'acceptsConfig'>,
  config: OwnershipConfig,
  id: string,
  answer: OwnershipAnswer,
  shards: readonly number[],
): boolean {
  return (
    !answer.abstaining &&
    rules.acceptsConfig(answer.acceptedConfig, config.config) &&
    answer.knownConfig >= config.config &&
    isVoter(config, id, answer.instance) &&
    shards.every((shard) => answer.shards.some((given) => given.shard === shard && given.refusal === undefined))
  );
}
