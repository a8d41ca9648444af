/**
 * Gateway ownership (docs/ownership.md): who owns a shard, agreed by a majority of voters, enforced by hosts' shard maps and by each owner's own deadline. Pure.
 *
 * Two machines, both `step(input, now) -> outputs`:
 *
 * - {@link OwnershipNode}, one a gateway group on each member and on a witness host: voter, candidate, owner and fence in one.
 * - {@link OwnershipHost}, one a gateway group on each host that has networks behind it.
 *
 * The adapter's part:
 *
 * | when | input | |
 * |---|---|---|
 * | start | constructor | file (or undefined), boot id, the rows of `gateway_shard` (or `shard`) that the kernel holds; then `config`, `hosts`, `recorded` |
 * | every `TIMING.probeMs` | `tick` | after the sockets have been read empty: an answer that lies unread must not count as silence |
 * | a datagram or NATS message came | `message` | after its envelope (kind `ownership`) was opened and its key found to be that of host `from` |
 * | a probe left, an answer came | `probe-sent`, `probe-answered` | kernel time stamps of the boot clock |
 * | fsync returned | `persisted` | of the token given; never before: a promise that is not on disk is none |
 * | netlink | `carrier` | of the external interface |
 * | NATS, or a peer that was asked | `config` | its signature verified |
 *
 * | output | do |
 * |---|---|
 * | `send` | sign as an envelope, send on each of the paths; losing one, or all, is allowed |
 * | `probe` | send a probe with that nonce to the peer's packet path, report `probe-sent` |
 * | `persist` | write the state to a new file, fsync, rename, fsync the directory, report `persisted`. One at a time |
 * | `fence` | write the row of `gateway_shard`: deadline in ns, rounded down. Synchronously, before the next step |
 * | `shard` (host) | write the row of `shard`: epoch, PA, prev_pa, prev_until. Synchronously, before the next step |
 * | `settled` | the step `votersSettled` to a controller, with the certificate as its proof |
 * | `announce`, `handover`, `record`, `need-config`, `alarm`, `state` | as their types say; none is waited for |
 *
 * Time is the machine's boot clock in ms (CLOCK_BOOTTIME: never steps back, counts sleep), the same that the packet path compares deadlines with.
 *
 * @example
 * const node = new OwnershipNode({ self: 'gw-a', bootId, file, rows, now: bootMs() }, { signer, verify, random, timing: TIMING, rules: RULES });
 * const run = (input: Input): void => node.step(input, bootMs()).forEach(carryOut);
 * run({ kind: 'config', config });
 * setInterval(() => run({ kind: 'tick' }), TIMING.probeMs);
 *
 * @module
 */
export { BlockConsents } from './block-consents.ts';
export { type CertificateFault, certificateFault } from './certificate.ts';
export {
  acceptsConfig,
  type CountedVote,
  configFaults,
  drainedMembers,
  hasQuorum,
  hasShard,
  lacksFailover,
  nodesOf,
  planVoters,
  rosterOf,
} from './config.ts';
export type { Components } from './context.ts';
export type { Durable } from './durable.ts';
export { chooseEpoch, epochText, incarnationOf, makeEpoch, NO_EPOCH } from './epoch.ts';
export { Fence, type FenceRow, isOpen } from './fence.ts';
export { type HostComponents, OwnershipHost } from './host.ts';
export type * from './io.ts';
export { type NodeInit, OwnershipNode } from './node.ts';
export { Observer, type ProbeShard } from './observer.ts';
export { type BallotRequest, judge, type Lease, type Promised, RULES, type Rules, type Verdict, type VoterView } from './rules.ts';
export { consentStatement, type Signer, type Verify, voteStatement } from './statement.ts';
export { boundD, forwardMs, placementBoundMs, recoveryBoundMs, TIMING, type Timing } from './timing.ts';
