import { weft } from '@weft/proto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  envelopeCodec,
  OWNERSHIP_LIMITS,
  type OwnershipBallot,
  type OwnershipBody,
  type OwnershipConfig,
  type OwnershipFile,
  type OwnershipMessage,
  ownershipConfigCodec,
  ownershipFileCodec,
  ownershipMessageCodec,
  REFUSAL_REASONS,
} from '../src/index.ts';
import { decodesOrRefuses } from './damage.ts';

const id = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
const u32 = fc.nat({ max: 0xffff_ffff });
const u16 = fc.nat({ max: 0xffff });
const bits = fc.maxSafeNat();
const epoch = fc
  .tuple(fc.integer({ min: 1, max: 0xffff_ffff }), fc.integer({ min: 1, max: 0xffff_ffff }))
  .map(([i, b]) => (BigInt(i) << 32n) | BigInt(b));
const anyU64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const shards = fc.uniqueArray(u16, { minLength: 1, maxLength: OWNERSHIP_LIMITS.shards }).map((list) => list.sort((a, b) => a - b));
const signature = fc.uint8Array({ minLength: 64, maxLength: 64 });
const kind = fc.constantFrom('takeover' as const, 'handover' as const, 'renewal' as const);
const address = fc.oneof(fc.ipV4(), fc.constant('2001:db8::1'));
const consent = fc.record({ epoch, shards, from: id, to: id, signature });
const ballot: fc.Arbitrary<OwnershipBallot> = fc.record({
  config: u32,
  epoch,
  shards,
  candidate: id,
  providerAddress: address,
  kind,
  leaseMs: fc.integer({ min: 1, max: 3_600_000 }),
  round: bits,
  consent: fc.option(consent, { nil: undefined }),
});
const certificate = fc.record({
  ballot,
  votes: fc.array(fc.record({ voter: u32, instance: bits, signature }), { maxLength: OWNERSHIP_LIMITS.votes }),
});
const reason = fc.constantFrom(...REFUSAL_REASONS);
const body: fc.Arbitrary<OwnershipBody> = fc.oneof(
  fc
    .record({ nonce: bits, shards, candidacy: fc.boolean(), kind, consent: fc.option(consent, { nil: undefined }) })
    .map((value) => ({ kind: 'ask', value }) as const),
  fc
    .record({
      nonce: bits,
      knownConfig: u32,
      acceptedConfig: u32,
      instance: bits,
      abstaining: fc.boolean(),
      shards: fc.array(
        fc.record({
          shard: u16,
          promised: anyU64,
          holder: fc.oneof(id, fc.constant('')),
          remainingMs: u32,
          certified: anyU64,
          refusal: fc.option(reason, { nil: undefined }),
        }),
        { maxLength: 4 },
      ),
    })
    .map((value) => ({ kind: 'answer', value }) as const),
  ballot.map((value) => ({ kind: 'ballot', value }) as const),
  fc
    .record({ config: u32, epoch, round: bits, instance: bits, signature, certified: anyU64 })
    .map((value) => ({ kind: 'vote', value }) as const),
  fc
    .record({ config: u32, epoch, round: bits, reason, shard: u16, promised: anyU64, remainingMs: u32, acceptedConfig: u32 })
    .map((value) => ({ kind: 'refusal', value }) as const),
  certificate.map((value) => ({ kind: 'certificate', value }) as const),
  fc
    .record({ epoch, config: u32, round: bits, accepted: fc.boolean(), highest: anyU64 })
    .map((value) => ({ kind: 'acknowledgement', value }) as const),
  fc.record({ epoch, shards }).map((value) => ({ kind: 'release', value }) as const),
  fc.record({ consent }).map((value) => ({ kind: 'offer', value }) as const),
);
const message: fc.Arbitrary<OwnershipMessage> = fc.record({
  group: fc.uuid(),
  from: id,
  to: fc.oneof(id, fc.constant('')),
  body,
});
const voter = fc.record({ id, key: fc.constant('N'.padEnd(56, 'A')), instance: bits });
const voters = fc.uniqueArray(voter, { minLength: 1, maxLength: OWNERSHIP_LIMITS.voters, selector: (one) => one.id });
const config: fc.Arbitrary<OwnershipConfig> = fc.record({
  group: fc.uuid(),
  config: fc.integer({ min: 1, max: 0xffff_ffff }),
  incarnation: fc.integer({ min: 1, max: 0xffff_ffff }),
  voters,
  previous: fc.option(fc.record({ config: u32, voters }), { nil: undefined }),
  members: fc.array(fc.record({ id, key: fc.constant('N'.padEnd(56, 'A')), providerAddress: address, drain: fc.boolean() }), {
    maxLength: 4,
  }),
  shards: fc.array(fc.record({ shard: u16, order: fc.array(id, { maxLength: 4 }), placement: u32 }), { maxLength: 4 }),
});
const file: fc.Arbitrary<OwnershipFile> = fc.record({
  instance: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  bootId: fc.uuid(),
  accepted: u32,
  proposed: anyU64,
  promises: fc.array(fc.record({ shard: u16, epoch, candidate: id }), { maxLength: 4 }),
  certificates: fc.array(certificate, { maxLength: 2 }),
  placements: fc.array(fc.record({ shard: u16, placement: u32 }), { maxLength: 4 }),
});

const host = (n: number): string => `host-${n}`.padEnd(63, 'x');

describe('ownership messages', () => {
  it('come back as they were, for any message, configuration and file', () => {
    fc.assert(
      fc.property(message, (value) => void expect(ownershipMessageCodec.decode(ownershipMessageCodec.encode(value))).toEqual(value)),
    );
    fc.assert(fc.property(config, (value) => void expect(ownershipConfigCodec.decode(ownershipConfigCodec.encode(value))).toEqual(value)));
    fc.assert(fc.property(file, (value) => void expect(ownershipFileCodec.decode(ownershipFileCodec.encode(value))).toEqual(value)));
  });

  it('never throw anything but WEFT_ERR_MODEL_DECODE on truncated and changed bytes', () => {
    fc.assert(
      fc.property(message, (value) => decodesOrRefuses(ownershipMessageCodec, ownershipMessageCodec.encode(value))),
      { numRuns: 20 },
    );
    fc.assert(
      fc.property(file, (value) => decodesOrRefuses(ownershipFileCodec, ownershipFileCodec.encode(value))),
      { numRuns: 10 },
    );
  });

  it('keep all 64 bits of an epoch', () => {
    const value: OwnershipMessage = {
      group: 'g',
      from: 'a',
      to: '',
      body: { kind: 'release', value: { epoch: 0xffff_ffff_ffff_ffffn, shards: [1] } },
    };
    expect(ownershipMessageCodec.decode(ownershipMessageCodec.encode(value))).toEqual(value);
  });

  it('refuse epochs without incarnation or ballot, shards that repeat, strangers’ addresses and ids', () => {
    const release = (part: object): (() => unknown) => {
      const value = { epoch: 1n << 33n, shards: [1], ...part };
      return () => ownershipMessageCodec.encode({ group: 'g', from: 'a', to: '', body: { kind: 'release', value } } as OwnershipMessage);
    };
    expect(release({ epoch: 1n << 33n })).toThrow(/epoch is 8589934592, must have an incarnation and a ballot above 0/);
    expect(release({ epoch: 5n })).toThrow(/epoch is 5/);
    expect(release({ epoch: 2n ** 64n })).toThrow(/epoch is 18446744073709551616/);
    expect(release({ epoch: (1n << 32n) | 1n, shards: [2, 1] })).toThrow(/shards must be one or more shards, ascending/);
    expect(release({ epoch: (1n << 32n) | 1n, shards: [] })).toThrow(/shards/);
    expect(() =>
      ownershipMessageCodec.encode({
        group: 'g',
        from: 'A.b',
        to: '',
        body: { kind: 'release', value: { epoch: (1n << 32n) | 1n, shards: [1] } },
      }),
    ).toThrow(/from is "A.b", must be a host id/);
    const wire = weft.v1.OwnershipMessage.encode({
      group: 'g',
      from: 'a',
      ballot: { candidate: 'a', providerAddress: 'nowhere', shards: [1] },
    }).finish();
    expect(() => ownershipMessageCodec.decode(wire)).toThrow(/ballot/);
  });

  it('fit one datagram in their envelope, at their largest', () => {
    const all = Array.from({ length: OWNERSHIP_LIMITS.shards }, (_, i) => 0xff00 + i);
    const largest = 0xffff_ffff_ffff_ffffn;
    const dropped = new Uint8Array(64).fill(255);
    const consented = { epoch: largest, shards: all, from: host(1), to: host(2), signature: dropped };
    const certificateOf = (votes: number, shardCount: number): OwnershipBody => ({
      kind: 'certificate',
      value: {
        ballot: {
          config: 0xffff_ffff,
          epoch: largest,
          shards: all.slice(0, shardCount),
          candidate: host(2),
          providerAddress: '2001:db8:1111:2222:3333:4444:5555:6666',
          kind: 'handover',
          leaseMs: 60_000,
          round: Number.MAX_SAFE_INTEGER,
          consent: { ...consented, shards: all.slice(0, shardCount) },
        },
        votes: Array.from({ length: votes }, (_, voter) => ({
          voter,
          instance: Number.MAX_SAFE_INTEGER,

          signature: dropped,
        })),
      },
    });
    const answer: OwnershipBody = {
      kind: 'answer',
      value: {
        nonce: Number.MAX_SAFE_INTEGER,
        knownConfig: 0xffff_ffff,
        acceptedConfig: 0xffff_ffff,
        instance: Number.MAX_SAFE_INTEGER,
        abstaining: true,
        shards: all
          .slice(0, 8)
          .map((shard) => ({ shard, promised: largest, holder: host(1), remainingMs: 60_000, certified: largest, refusal: 'damped' })),
      },
    };
    const sizes = Object.fromEntries(
      ([certificateOf(OWNERSHIP_LIMITS.votes, OWNERSHIP_LIMITS.shards), answer] as const).map((value, i) => {
        const payload = ownershipMessageCodec.encode({
          group: '0b8f5e0a-0000-4000-8000-000000000001',
          from: host(1),
          // A certificate is for whoever hears it.
          to: value.kind === 'answer' ? host(3) : '',
          body: value,
        });
        const envelope = { kind: 'ownership' as const, signed: payload, keyId: 'N'.padEnd(56, 'A'), signature: dropped };
        return [i, envelopeCodec.encode(envelope).length];
      }),
    );
    for (const [which, size] of Object.entries(sizes)) expect(size, which).toBeLessThanOrEqual(1_400);
  });
});
