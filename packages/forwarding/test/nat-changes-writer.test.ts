import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type NatEvent, NatEventKind, type NatStateMessage, natStateCodec, natStateFields } from '../src/index.ts';

// Changes are written by hand (changes-writer.ts): the bytes are those that follow from the fields.

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 0xffff_ffff }));
const u64 = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat());
const big = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const address = fc.uint8Array({ minLength: 16, maxLength: 16 });
const block = fc.integer({ min: 16, max: 1023 });
const port = fc.record({
  ...{ state: fc.nat(2), protocol: u8, insidePort: u16, next: u32, sessions: fc.constant(0), version: u32 },
  freeAtBootNs: big,
});
const change = fc.record({ reference: fc.integer({ min: 0, max: 0x7_ffff }), port });
const source = fc.record({
  ...{ version: u32, freeHead: u32, freeTail: u32, freeCount: u32, fresh: u32, freshLeft: u32, newest: u32 },
  ...{ blocks: u32, mappings: u32, flags: u32, addressCount: fc.nat(8), idleBootNs: big },
});
const session = fc.record({
  ...{ networkId: u32, ca: address, insidePort: u16, kind: fc.nat(1), flags: u8, revision: u32 },
  ...{ expiresBootNs: big, toldBootNs: big, ticket: big },
});
const K = NatEventKind;

const event: fc.Arbitrary<NatEvent> = fc.oneof(
  fc.record({
    kind: fc.constantFrom(K.SESSION_ADDED, K.SESSION_CHANGED, K.SESSION_RETIRED),
    timeBootNs: big,
    key: fc.record({ segment: u32, address, remote: address, externalPort: u16, remotePort: u16, protocol: u8 }),
    session,
  }),
  fc.record({
    kind: fc.constantFrom(K.MAPPING_ADDED, K.MAPPING_RETIRED, K.PORT_RETURNED),
    timeBootNs: big,
    key: fc.record({ networkId: u32, ca: address, port: u16, protocol: u8 }),
    mapping: fc.record({ pool: u32, segment: u32, address, externalPort: u16, ticket: big }),
    source,
    port: change,
    link: fc.option(change, { nil: undefined }),
  }),
  fc.record({
    kind: fc.constantFrom(K.BLOCK_GRANTED, K.BLOCK_RELEASED),
    timeBootNs: big,
    key: fc.record({ segment: u32, address, block }),
    block: fc.record({
      ...{ networkId: u32, pool: u32, ca: address, epoch: big, grantedBootNs: big, next: u32, addressIndex: fc.nat(7), version: u32 },
    }),
    source,
  }),
);

const message = (events: fc.Arbitrary<NatEvent[]>): fc.Arbitrary<NatStateMessage> =>
  fc.record({
    ...{ from: fc.string({ unit: 'grapheme' }), to: fc.string({ maxLength: 200 }), stream: u64, sequence: u64, sentBootNs: big },
    body: events.map((value) => ({ kind: 'changes' as const, value })),
  });

describe('a message of changes', () => {
  it('has the bytes that its fields say, and what was put into it comes back', () => {
    fc.assert(
      fc.property(message(fc.array(event, { maxLength: 12 })), (value) => {
        const bytes = natStateCodec.encode(value);
        expect(Buffer.from(bytes).toString('hex')).toBe(Buffer.from(natStateFields.encode(value)).toString('hex'));
        expect(natStateCodec.decode(bytes)).toEqual(value);
      }),
      { numRuns: 300 },
    );
  });

  it('may be longer than any before, and the next one short again', () => {
    for (const count of [1, 20_000, 3, 5_000, 0]) {
      const [one] = fc.sample(message(fc.array(event, { minLength: 5, maxLength: 5 })), { numRuns: 1, seed: count });
      const value = Array.from({ length: count }, (_, i) => (one!.body.value as NatEvent[])[i % 5]!);
      const long = { ...one!, body: { kind: 'changes' as const, value } };
      expect(Buffer.compare(natStateCodec.encode(long), natStateFields.encode(long))).toBe(0);
    }
  });
});
