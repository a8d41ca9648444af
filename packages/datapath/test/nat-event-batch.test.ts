import { type NatEvent, NatEventKind } from '@weft/forwarding';
import { describe, expect, it } from 'vitest';
import { KernelNatBatch } from '../src/kernel/nat/event-batch.ts';
import { NAT_EVENT_SESSION, NAT_SESSION } from '../src/kernel/nat/layout.ts';
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
    (event) => all.push(event),
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
});
