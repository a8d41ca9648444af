import type { OwnershipBallot, OwnershipBody, OwnershipCertificate, OwnershipConfig } from '@weft/model';
import { describe, expect, it } from 'vitest';
import {
  type Durable,
  type HostOutput,
  type Input,
  incarnationOf,
  makeEpoch,
  type Output,
  OwnershipHost,
  OwnershipNode,
  RULES,
  TIMING,
  voteStatement,
} from '../src/index.ts';
import { Random, simSigner, simVerify } from '../src/sim/index.ts';

// What schedules of the simulator once found, each written down by hand: a seed gives another schedule as soon as the simulator draws one number more.

const config: OwnershipConfig = {
  group: 'g',
  config: 3,
  incarnation: 1,
  voters: ['a', 'b', 'w'].map((id) => ({ id, key: `key-${id}`, instance: 7 })),
  previous: undefined,
  members: ['a', 'b'].map((id, i) => ({ id, key: `key-${id}`, providerAddress: `192.0.2.${i + 1}`, drain: false })),
  shards: [{ shard: 1, order: ['a', 'b'], placement: 1 }],
};
/** After a recovery: nothing of the lists before counts any more. */
const recovered: OwnershipConfig = { ...config, config: 4, incarnation: 2 };
const file: Durable = { instance: 7, bootId: 'boot', accepted: 3, proposed: 0n, promises: [], certificates: [], placements: [] };
const EPOCH = makeEpoch(1, 5);
const DEADLINE_MS = 4_000;

/** Member a, whose process starts at 0 and finds that it owns shard 1 until {@link DEADLINE_MS}. */
function owner(): OwnershipNode {
  const random = new Random(1);
  const rows = [{ shard: 1, epoch: EPOCH, deadlineMs: DEADLINE_MS, handoverUntilMs: 0, handoverTo: '' }];
  const promises = [{ shard: 1, epoch: EPOCH, candidate: 'a' }];
  const node = new OwnershipNode(
    { self: 'a', bootId: 'boot', file: { ...file, promises }, rows, now: 0 },
    { signer: simSigner('key-a'), verify: simVerify, random: () => random.bits(), timing: TIMING, rules: RULES },
  );
  step(node, { kind: 'config', config }, 0);
  return node;
}

const said = (outputs: readonly (Output | HostOutput)[]): { readonly to: string; readonly body: OwnershipBody }[] =>
  outputs.flatMap((output) => (output.kind === 'send' ? [{ to: output.to, body: output.body }] : []));
/** A step of a node whose disk takes no time. */
function step(node: OwnershipNode, input: Input, now: number): readonly Output[] {
  const outputs = node.step(input, now);
  return outputs.flatMap((output) => [
    output,
    ...(output.kind === 'persist' ? step(node, { kind: 'persisted', token: output.token }, now) : []),
  ]);
}
const hear = (node: OwnershipNode, from: string, body: OwnershipBody, now: number): readonly Output[] =>
  step(node, { kind: 'message', message: { group: 'g', from, to: 'a', body } }, now);

/** Ticks until something is said that `choose` takes. */
function until<T>(
  node: OwnershipNode,
  from: number,
  to: number,
  choose: (body: OwnershipBody, target: string) => T | undefined,
): { found: T; at: number } {
  for (let now = from; now <= to; now += TIMING.probeMs) {
    for (const { to: target, body } of said(step(node, { kind: 'tick' }, now))) {
      const found = choose(body, target);
      if (found !== undefined) return { found, at: now };
    }
  }
  throw new Error(`not said between ${from} and ${to} ms`);
}

describe('an owner', () => {
  it('whose deadline has passed gives its lease up at the voters and stands anew: a lease that a minority renews would stand in everybody’s way for ever', () => {
    const node = owner();
    const { found, at } = until(node, 0, DEADLINE_MS + 100, (body, target) =>
      body.kind === 'release' && target === 'w' ? body.value : undefined,
    );
    expect(found).toEqual({ epoch: EPOCH, shards: [1] });
    expect(at).toBeGreaterThanOrEqual(DEADLINE_MS);
    // In the same moment, and no renewal any more.
    expect(node.stateOf(1)).toBe('asking');
    expect(() => until(node, at + TIMING.probeMs, at + TIMING.renewMs, (body) => (body.kind === 'ballot' ? true : undefined))).toThrow(
      'not said',
    );
  });

  it('whose voter has promised a higher epoch for nothing takes one above it, so that this voter renews again', () => {
    const node = owner();
    const { found: renewal } = until(node, 0, 100, (body, target) => (body.kind === 'ballot' && target === 'w' ? body.value : undefined));
    const promised = makeEpoch(1, 8);
    const refusal = {
      config: 3,
      epoch: EPOCH,
      round: renewal.round,
      reason: 'promised-higher' as const,
      shard: 1,
      promised,
      remainingMs: 0,
      acceptedConfig: 3,
    };
    hear(node, 'w', { kind: 'refusal', value: refusal }, 100);
    const { found: asked, at } = until(node, 110, 110 + 2 * TIMING.renewMs, (body) => (body.kind === 'ask' ? body.value : undefined));
    const answer = (from: string): readonly Output[] => {
      const shards = [
        { shard: 1, promised: from === 'w' ? promised : EPOCH, holder: 'a', remainingMs: 0, certified: EPOCH, refusal: undefined },
      ];
      return hear(
        node,
        from,
        { kind: 'answer', value: { nonce: asked.nonce, knownConfig: 3, acceptedConfig: 3, instance: 7, abstaining: false, shards } },
        at + 5,
      );
    };
    const ballots = [...answer('b'), ...answer('w')].flatMap((output) =>
      output.kind === 'send' && output.body.kind === 'ballot' ? [output.body.value] : [],
    );
    expect(ballots[0]).toMatchObject({ kind: 'takeover', shards: [1] });
    expect(ballots[0]!.epoch).toBeGreaterThan(promised);
  });

  it('of an incarnation before stands for an epoch of the new one, though its term has not ended: nobody renews that', () => {
    const node = owner();
    step(node, { kind: 'config', config: recovered }, 50);
    const { at } = until(node, 60, 500, (body) =>
      body.kind === 'ask' && body.value.candidacy && body.value.kind === 'takeover' ? true : undefined,
    );
    expect(at).toBeLessThan(DEADLINE_MS);
    // Its packet path goes on meanwhile.
    expect(node.member.owner.live(1)).toBe(true);
    expect(incarnationOf(EPOCH)).toBe(1);
  });
});

describe('a host that has booted', () => {
  it('believes no grant of the incarnation before, though a majority knows of no higher promise: their memory began anew', () => {
    const host = new OwnershipHost({ self: 'h', rows: [], now: 0 }, { verify: simVerify, random: () => 9, timing: TIMING, rules: RULES });
    host.step({ kind: 'config', config }, 0);
    host.step({ kind: 'tick' }, 10);
    const give = (ballot: OwnershipBallot): void => {
      const votes = ['a', 'w'].map((id) => ({
        voter: config.voters.findIndex((one) => one.id === id),
        instance: 7,
        signature: simSigner(`key-${id}`).sign(voteStatement('g', ballot, { id, instance: 7 })),
      }));
      const value: OwnershipCertificate = { ballot, votes };
      host.step({ kind: 'message', message: { group: 'g', from: 'a', to: 'h', body: { kind: 'certificate', value } } }, 40);
    };
    const ballot: OwnershipBallot = {
      ...{
        config: 3,
        epoch: EPOCH,
        shards: [1],
        candidate: 'a',
        providerAddress: '192.0.2.1',
        kind: 'takeover',
        leaseMs: TIMING.leaseMs,
        round: 1,
      },
      consent: undefined,
    };
    // It comes before the host knows what to believe, and is kept until then; the answers come after the recovery.
    give(ballot);
    host.step({ kind: 'config', config: recovered }, 30);
    for (const voter of ['a', 'w']) {
      const shards = [{ shard: 1, promised: 0n, holder: '', remainingMs: 0, certified: 0n, refusal: undefined }];
      const value = { nonce: 9, knownConfig: 4, acceptedConfig: 3, instance: 7, abstaining: false, shards };
      host.step({ kind: 'message', message: { group: 'g', from: voter, to: 'h', body: { kind: 'answer', value } } }, 40);
    }
    expect(host.row(1)).toBeUndefined();
    give({ ...ballot, config: 4, epoch: makeEpoch(2, 1) });
    expect(host.row(1)).toMatchObject({ epoch: makeEpoch(2, 1), owner: 'a' });
  });
});
