import type { OwnershipBallot, OwnershipConfig, OwnershipVote } from '@weft/model';
import { type CollectedVote, certifiedVotes } from './certificate.ts';
import { rosterOf } from './config.ts';
import type { Context } from './context.ts';
import { voteStatement } from './statement.ts';

/** One ballot sent to the voters, and the votes for exactly it. A vote for another round extends nothing: the deadline counts from this one's sending. */
export class Round {
  readonly config: OwnershipConfig;
  readonly ballot: OwnershipBallot;
  readonly sentAt: number;
  readonly votes: Map<string, CollectedVote> = new Map();
  readonly refused: Set<string> = new Set();

  constructor(config: OwnershipConfig, ballot: OwnershipBallot, sentAt: number) {
    this.config = config;
    this.ballot = ballot;
    this.sentAt = sentAt;
  }

  /** Sends the ballot to every voter that has not voted. */
  send(context: Context): void {
    for (const id of voterIds(this.config)) if (!this.votes.has(id)) context.send(id, { kind: 'ballot', value: this.ballot });
  }

  matches({ config, epoch, round }: { readonly config: number; readonly epoch: bigint; readonly round: number }): boolean {
    return this.ballot.round === round && this.ballot.epoch === epoch && this.ballot.config === config;
  }

  /** Adds a vote whose signature holds. */
  vote(context: Context, from: string, vote: OwnershipVote): void {
    const voter = rosterOf(this.config).find(({ id, instance }) => id === from && instance === vote.instance);
    if (voter === undefined) return;
    const { instance, signature } = vote;
    const statement = voteStatement(this.config.group, this.ballot, { id: from, instance });
    if (from !== context.self && !context.verify(voter.key, statement, signature)) return;
    this.votes.set(from, { voter: from, instance, signature });
  }

  won(context: Context): boolean {
    return context.rules.hasQuorum(this.config, [...this.votes.values()]);
  }

  /** True if not even all who are left could make it a majority. */
  lost(context: Context): boolean {
    const possible = rosterOf(this.config).filter(({ id }) => !this.refused.has(id) || this.votes.has(id));
    return !context.rules.hasQuorum(
      this.config,
      possible.map(({ id, instance }) => ({ voter: id, instance })),
    );
  }

  certificate(context: Context): { readonly ballot: OwnershipBallot; readonly votes: ReturnType<typeof certifiedVotes> } {
    return { ballot: this.ballot, votes: certifiedVotes(this.config, [...this.votes.values()], context.rules) };
  }
}

/** Each host id among the voters of a configuration and of the list before it, once. */
export function voterIds(config: OwnershipConfig): readonly string[] {
  return [...new Set(rosterOf(config).map(({ id }) => id))];
}
