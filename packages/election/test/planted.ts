import { hasQuorum, judge, RULES, type Rules } from '../src/index.ts';

/*
 * Eight bugs, each one decision of `Rules` put wrong. The simulator has to find every one of them, or it proves nothing about the rest.
 */
export const PLANTED: Readonly<Record<string, Rules>> = {
  'a vote twice: a voter gives one epoch to two candidates': {
    ...RULES,
    // ">" where ">=" belongs: the epoch that is promised is open again, and so is its lease.
    judge: (view, ballot, rules) =>
      judge(
        {
          now: view.now,
          self: view.self,
          instance: view.instance,
          abstaining: view.abstaining,
          accepted: view.accepted,
          config: (id) => view.config(id),
          promised: (shard) => other(view.promised(shard), ballot.epoch),
          lease: (shard) => other(view.lease(shard), ballot.epoch),
          silent: (peer, shard, epoch) => view.silent(peer, shard, epoch),
          answering: (peer) => view.answering(peer),
          damped: (shard) => view.damped(shard),
          consentHolds: (consent) => view.consentHolds(consent),
        },
        ballot,
        rules,
      ),
  },
  'a forgotten promise: a voter that restarts begins with nothing': {
    ...RULES,
    recall: (_file, _bootId, now) => ({ promises: [], abstainUntil: now }),
  },
  'epoch reuse: a member takes the epoch it heard of last for its own new term': {
    ...RULES,
    chooseEpoch: (incarnation, heard) => (heard >> 32n === BigInt(incarnation) ? heard : RULES.chooseEpoch(incarnation, heard)),
  },
  'the deadline is not checked: the packet path forwards as long as it has a row': {
    ...RULES,
    isOpen: (row) => row !== undefined && row.deadlineMs > 0,
  },
  'the fence is skipped: a host takes every certificate that is genuine': { ...RULES, acceptsEpoch: () => true },
  'a stale voter list is accepted: votes of any configuration are given and believed': { ...RULES, acceptsConfig: () => true },
  'the witness is swapped during an election: a new list counts at once, without the old one': {
    ...RULES,
    hasQuorum: (config, votes) => hasQuorum({ ...config, previous: undefined }, votes),
  },
  'blocks are granted by a record older than the one that a consent rests on': { ...RULES, mayGrantBy: () => true },
};

function other<P extends { readonly epoch: bigint }>(promised: P | undefined, epoch: bigint): P | undefined {
  return promised?.epoch === epoch ? undefined : promised;
}
