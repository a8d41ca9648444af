import { EventChange, type NatChange, type NatEvent, NatEventKind, NatEventList, writeChanges } from '@weft/forwarding';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KernelNatBatch } from '../src/kernel/nat/event-batch.ts';
import { NAT_EVENT_BLOCK, NAT_EVENT_SESSION, NAT_SESSION } from '../src/kernel/nat/layout.ts';
import { ringBatch } from './support/nat-harness.ts';

// What kernels tell of by themselves is compared in nat-standby.kernel.ts; here, what they do not.

const SESSION_BYTES = 128;

function session(kind: number, ticket: bigint, { revision = 0, network = 11, time = 1n } = {}): Uint8Array {
  const record = new Uint8Array(SESSION_BYTES);
  const view = new DataView(record.buffer);
  view.setUint32(NAT_EVENT_SESSION.kind, kind, true);
  view.setBigUint64(NAT_EVENT_SESSION.timeBootNs, time, true);
  view.setUint32(NAT_EVENT_SESSION.session + NAT_SESSION.networkId, network, true);
  view.setUint32(NAT_EVENT_SESSION.session + NAT_SESSION.revision, revision, true);
  view.setBigUint64(NAT_EVENT_SESSION.session + NAT_SESSION.ticket, ticket, true);
  return record;
}

function changes(batch: KernelNatBatch): NatEvent[] {
  const all: NatEvent[] = [];
  batch.forEachChange(
    () => true,
    (change) => all.push(change.event()),
  );
  return all;
}

describe('KernelNatBatch', () => {
  it('passes over what a later version tells of, however long that is', () => {
    const batch = new KernelNatBatch();
    const later = new Uint8Array(20);
    later[0] = 99;
    batch.read(
      ringBatch([later, session(NatEventKind.SESSION_ADDED, 1n), later, session(NatEventKind.SESSION_CHANGED, 1n, { revision: 1 })]),
    );
    expect([0, 1, 2, 3].map((i) => batch.kindAt(i))).toEqual([99, NatEventKind.SESSION_ADDED, 99, NatEventKind.SESSION_CHANGED]);
    expect(() => batch.eventAt(0)).toThrow('its kind, 99, is not known');
    expect(changes(batch)).toMatchObject([{ kind: NatEventKind.SESSION_ADDED, session: { ticket: 1n, revision: 1 } }]);
  });

  it('tells of a session that ended that it did, whatever stands behind', () => {
    const batch = new KernelNatBatch();
    const records = [
      session(NatEventKind.SESSION_CHANGED, 1n, { revision: 0xffff_ffff, time: 5n }),
      session(NatEventKind.SESSION_CHANGED, 1n, { revision: 0, time: 6n }),
      session(NatEventKind.SESSION_RETIRED, 1n, { revision: 1, time: 7n }),
      session(NatEventKind.SESSION_CHANGED, 1n, { revision: 2, time: 8n }),
    ];
    const seen = records.map((_, i) => {
      batch.read(ringBatch(records.slice(0, i + 1)));
      const [{ kind, timeBootNs, session: of }, ...others] = changes(batch) as [
        NatEvent & { readonly session: { readonly revision: number } },
      ];
      expect(others).toEqual([]);
      return [kind, timeBootNs, of.revision];
    });
    expect(seen).toEqual([
      [NatEventKind.SESSION_CHANGED, 5n, 0xffff_ffff],
      [NatEventKind.SESSION_CHANGED, 5n, 0],
      [NatEventKind.SESSION_RETIRED, 5n, 1],
      [NatEventKind.SESSION_RETIRED, 5n, 1],
    ]);
  });

  it('keeps sessions apart by all of their ticket, in batches of any size', () => {
    const batch = new KernelNatBatch();
    for (const count of [1, 500, 3, 2_000]) {
      const tickets = Array.from({ length: count }, (_, i) => BigInt(i % 7) + (BigInt(i) << 32n));
      batch.read(
        ringBatch(
          tickets.flatMap((ticket) => [
            session(NatEventKind.SESSION_ADDED, ticket),
            session(NatEventKind.SESSION_CHANGED, ticket, { revision: 1 }),
          ]),
        ),
      );
      expect(batch.count).toBe(2 * count);
      expect(changes(batch).map((event) => ('session' in event ? event.session.ticket : undefined))).toEqual(tickets);
    }
  });

  it('makes events that stay when the memory of the batch is used again', () => {
    const batch = new KernelNatBatch();
    const records = ringBatch([session(NatEventKind.SESSION_ADDED, 1n)]);
    batch.read(records);
    const [kept] = changes(batch);
    records.bytes.fill(255);
    expect(kept).toMatchObject({ session: { ca: new Uint8Array(16), ticket: 1n }, key: { remote: new Uint8Array(16) } });
  });

  it('writes its records as the events made of them are written', () => {
    let merged = 0;
    fc.assert(
      fc.property(fc.array(record, { maxLength: 12 }), (records) => {
        const batch = new KernelNatBatch();
        batch.read(ringBatch(records));
        const events = records.map((_, i) => batch.eventAt(i));
        const [own, expected] = [batch, new NatEventList(events)].map(changesOf) as [NatChange[], NatChange[]];
        merged += records.length - own.length;
        expect(own.map(facts)).toEqual(expected.map(facts));
        expect(message(own)).toEqual(message(expected));
        expect(message(own.map((change) => new EventChange(change.event())))).toEqual(message(own));
      }),
    );
    expect(merged).toBeGreaterThan(10);
  });

  it('makes one change of two that other batches told, as of their events', () => {
    const merges = { same: 0, other: 0 };
    fc.assert(
      fc.property(sessionRecord, sessionRecord, fc.boolean(), (first, next, isSame) => {
        if (isSame) next.set(first.subarray(NAT_EVENT_SESSION.key, NAT_EVENT_SESSION.session), NAT_EVENT_SESSION.key);
        const own = (one: Uint8Array): NatChange => changesOf(batchOf(one))[0]!;
        const made = (one: Uint8Array): NatChange => new EventChange(batchOf(one).eventAt(0));
        const wanted = made(first).mergedWith(made(next));
        const merged = own(first).mergedWith(own(next));
        merges[wanted === undefined ? 'other' : 'same']++;
        expect(merged === undefined).toBe(wanted === undefined);
        if (merged !== undefined && wanted !== undefined) {
          expect(facts(merged)).toEqual(facts(wanted));
          expect(message([merged])).toEqual(message([wanted]));
        }
      }),
    );
    expect(merges.same).toBeGreaterThan(10);
    expect(merges.other).toBeGreaterThan(10);
  });

  it('has a change of one session and one of another thing apart', () => {
    const batch = new KernelNatBatch();
    batch.read(ringBatch([session(NatEventKind.SESSION_ADDED, 1n), mapping()]));
    const [one, other] = changesOf(batch) as [NatChange, NatChange];
    expect(one.mergedWith(other)).toBeUndefined();
    expect(other.mergedWith(one)).toBeUndefined();
    expect([one.ticket, other.ticket]).toEqual([1, undefined]);
  });
});

function batchOf(one: Uint8Array): KernelNatBatch {
  const batch = new KernelNatBatch();
  batch.read(ringBatch([one]));
  return batch;
}

function changesOf(batch: { forEachChange: KernelNatBatch['forEachChange'] }): NatChange[] {
  const all: NatChange[] = [];
  batch.forEachChange(
    () => true,
    (change) => all.push(change),
  );
  return all;
}

function message(changes: readonly NatChange[]): string {
  return Buffer.from(writeChanges({ from: 'g1', to: 'g2', stream: 1, sequence: 2, sentBootNs: 3n }, changes)).toString('hex');
}

function facts({ networkId, timeMs, ticket }: NatChange): unknown {
  return { networkId, timeMs, ticket };
}

const MAPPING_BYTES = 200;
const BLOCK_BYTES = 152;

function mapping(): Uint8Array {
  const bytes = new Uint8Array(MAPPING_BYTES);
  bytes[NAT_EVENT_BLOCK.kind] = NatEventKind.MAPPING_ADDED;
  return bytes;
}

function recordOf(kinds: readonly number[], length: number): fc.Arbitrary<Uint8Array> {
  // Zeros are left out of messages, and small and large numbers are written in another way.
  const byte = fc.oneof(fc.constant(0), fc.nat({ max: 255 }));
  return fc
    .tuple(fc.constantFrom(...kinds), fc.uint8Array({ minLength: length, maxLength: length }), fc.array(byte))
    .map(([kind, random, thin]) => {
      const bytes = random.map((one, i) => (thin.length === 0 ? one : thin[i % thin.length]! && one));
      new DataView(bytes.buffer).setUint32(NAT_EVENT_BLOCK.kind, kind, true);
      return bytes;
    });
}

const { SESSION_ADDED, SESSION_CHANGED, SESSION_RETIRED, MAPPING_ADDED, MAPPING_RETIRED, PORT_RETURNED, BLOCK_GRANTED, BLOCK_RELEASED } =
  NatEventKind;
const fewTickets = (bytes: Uint8Array): Uint8Array => {
  const view = new DataView(bytes.buffer);
  view.setBigUint64(NAT_EVENT_SESSION.session + NAT_SESSION.ticket, BigInt(bytes[20]! % 2), true);
  return bytes;
};
const sessionRecord = recordOf([SESSION_ADDED, SESSION_CHANGED, SESSION_RETIRED], SESSION_BYTES).map(fewTickets);
/** Of few sessions, so that some of a batch are of one. */
const fewSessions = (bytes: Uint8Array): Uint8Array => {
  const which = bytes[21]! % 2;
  bytes.fill(which, NAT_EVENT_SESSION.key, NAT_EVENT_SESSION.session);
  new DataView(bytes.buffer).setUint32(NAT_EVENT_SESSION.session + NAT_SESSION.networkId, which, true);
  return bytes;
};
const record = fc.oneof(
  sessionRecord,
  sessionRecord.map(fewSessions),
  recordOf([MAPPING_ADDED, MAPPING_RETIRED, PORT_RETURNED], MAPPING_BYTES),
  recordOf([BLOCK_GRANTED, BLOCK_RELEASED], BLOCK_BYTES),
);
