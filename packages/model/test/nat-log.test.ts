import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type NatLogRecord, natLogRecordCodec, natTenures, whoHad } from '../src/index.ts';

const ADDRESS = '203.0.113.1';

function record(kind: NatLogRecord['kind'], timeMs: number, epoch: number, ca: string, more: Partial<NatLogRecord> = {}): NatLogRecord {
  return {
    kind,
    timeUnixMs: timeMs,
    group: 'edge',
    member: 'gw1',
    epoch: BigInt(epoch),
    segment: 7,
    address: ADDRESS,
    firstPort: 1024,
    portCount: 64,
    networkId: 11,
    ca,
    version: 4,
    grantedBootNs: BigInt(timeMs) * 1_000_000n,
    isInterim: false,
    ...more,
  };
}

const ask = (records: readonly NatLogRecord[], timeMs: number, port = 1030, toleranceMs = 0): string[] => {
  const { holder, candidates } = whoHad(natTenures(records), { address: ADDRESS, port, timeMs, toleranceMs });
  return [holder?.ca ?? 'nobody', ...candidates.map(({ ca }) => ca)];
};

describe('the NAT log', () => {
  it('says who had a port, and only within block and time', () => {
    const records = [
      record('granted', 1000, 5, '10.0.0.1'),
      record('released', 2000, 5, '10.0.0.1'),
      record('granted', 2500, 5, '10.0.0.2'),
    ];
    expect(ask(records, 999)).toEqual(['nobody']);
    expect(ask(records, 1000)).toEqual(['10.0.0.1', '10.0.0.1']);
    expect(ask(records, 1999, 1087)).toEqual(['10.0.0.1', '10.0.0.1']);
    expect(ask(records, 1999, 1088)).toEqual(['nobody']);
    expect(ask(records, 2000)).toEqual(['nobody']);
    expect(ask(records, 9999)).toEqual(['10.0.0.2', '10.0.0.2']);
    expect(whoHad(natTenures(records), { address: ADDRESS, port: 1030, timeMs: 1500, segment: 8 }).holder).toBeUndefined();
  });

  it('goes on over a takeover: the block keeps its holder, and the new owner gives it back', () => {
    const records = [
      record('granted', 1000, 5, '10.0.0.1', { member: 'gw1' }),
      // Inherited, so granted under epoch 5, by whoever owns it later.
      record('released', 8000, 5, '10.0.0.1', { member: 'gw2' }),
      record('granted', 9000, 7, '10.0.0.9', { member: 'gw1', networkId: 12 }),
    ];
    expect(ask(records, 7999)).toEqual(['10.0.0.1', '10.0.0.1']);
    expect(ask(records, 8500)).toEqual(['nobody']);
    expect(ask(records, 9500)).toEqual(['10.0.0.9', '10.0.0.9']);
  });

  it('a later epoch ends what came before, where the release was lost or told by a slow clock', () => {
    const lost = [record('granted', 1000, 5, '10.0.0.1'), record('granted', 3000, 6, '10.0.0.2', { member: 'gw2' })];
    expect(natTenures(lost)[0]).toMatchObject({ untilMs: 3000, end: 'superseded' });
    // gw1's clock goes 500 ms behind gw2's: its release seems to come after the next grant.
    const late = [record('granted', 1000, 5, '10.0.0.1'), record('granted', 3000, 6, '10.0.0.2'), record('released', 3400, 5, '10.0.0.1')];
    expect(ask(late, 3200)).toEqual(['nobody', '10.0.0.2', '10.0.0.1']);
    expect(ask(late, 3500)).toEqual(['10.0.0.2', '10.0.0.2']);
    expect(ask(late, 3500, 1030, 1000)).toEqual(['10.0.0.2', '10.0.0.2', '10.0.0.1']);
  });

  it('a release without its grant tells of a holder whose beginning is not known', () => {
    const records = [record('released', 2000, 5, '10.0.0.1'), record('granted', 3000, 5, '10.0.0.2')];
    expect(ask(records, 10)).toEqual(['10.0.0.1', '10.0.0.1']);
    expect(ask(records, 3000)).toEqual(['10.0.0.2', '10.0.0.2']);
  });

  it('does not mind the order of records, nor records that are there twice', () => {
    // Holders one after the other, each with its own epoch or under the one before.
    const history = fc
      .array(
        fc.record({
          ca: fc.nat(3),
          lasts: fc.integer({ min: 1, max: 50 }),
          pause: fc.integer({ min: 1, max: 50 }),
          nextEpoch: fc.boolean(),
        }),
        {
          maxLength: 12,
        },
      )
      .map((steps) => {
        const records: NatLogRecord[] = [];
        let [time, epoch] = [0, 5];
        for (const { ca, lasts, pause, nextEpoch } of steps) {
          if (nextEpoch) epoch++;
          const grant = { version: records.length, grantedBootNs: BigInt(time) * 1_000_000n };
          records.push(
            record('granted', time, epoch, `10.0.0.${ca}`, grant),
            record('released', time + lasts, epoch, `10.0.0.${ca}`, grant),
          );
          time += lasts + pause;
        }
        return records;
      });
    fc.assert(
      fc.property(history, fc.infiniteStream(fc.nat()), fc.nat(600), (records, order, timeMs) => {
        const shuffled = [...records, ...records]
          .map((one) => [order.next().value as number, one] as const)
          .sort(([a], [b]) => a - b)
          .map(([, one]) => one);
        const expected = records.findLast(({ kind, timeUnixMs: at }) => kind === 'granted' && at <= timeMs);
        const end = expected && records[records.indexOf(expected) + 1]!.timeUnixMs;
        expect(ask(shuffled, timeMs)[0]).toBe(expected !== undefined && timeMs < end! ? expected.ca : 'nobody');
      }),
    );
  });

  it('counts a grant that is told again once, and keeps to the first telling', () => {
    const first = record('granted', 1000, 5, '10.0.0.1');
    // After a restart of the agent, a loss, a day: worked out from the boot clock, some milliseconds off.
    const again = { ...first, timeUnixMs: 1007, isInterim: true };
    expect(natTenures([again, first, again])).toEqual([
      expect.objectContaining({ fromMs: 1000, untilMs: undefined, spreadMs: 7, member: 'gw1' }),
    ]);
    // By the standby that has taken over, and had booted after the grant.
    const taken: NatLogRecord = { ...first, member: 'gw2', timeUnixMs: 700_000, grantedBootNs: 1n, isInterim: true };
    expect(natTenures([taken, first])).toEqual([expect.objectContaining({ fromMs: 1000, spreadMs: 0 })]);
    // The owner died before it had told anybody: the beginning is not known, the holder is.
    expect(natTenures([taken])).toEqual([expect.objectContaining({ fromMs: undefined, untilMs: undefined, ca: '10.0.0.1' })]);
    expect(ask([taken], 800_000)).toEqual(['10.0.0.1', '10.0.0.1']);
  });

  it('orders grants of one epoch by the boot clock when the wall clock steps back between them', () => {
    const minutes = 60_000;
    const boot = (atMinute: number) => ({ grantedBootNs: BigInt(atMinute * minutes) * 1_000_000n });
    const a = { version: 4, ...boot(10) };
    const b = { version: 8, ...boot(20) };
    // 10:00 to 10:05 by a clock that is an hour fast; set right at 10:10, which is 9:10: A has given back, B comes at 9:20.
    const records = [
      record('granted', 600 * minutes, 5, '10.0.0.1', a),
      record('released', 605 * minutes, 5, '10.0.0.1', a),
      record('granted', 560 * minutes, 5, '10.0.0.2', b),
    ];
    const [first, second] = natTenures(records);
    expect(first).toMatchObject({ ca: '10.0.0.1', end: 'released' });
    expect(second).toMatchObject({ ca: '10.0.0.2', end: 'open', untilMs: undefined });
    expect(ask(records, 570 * minutes)).toEqual(['10.0.0.2', '10.0.0.2']);
    // Both, as the log says so: an hour that the clock had twice.
    expect(ask(records, 602 * minutes)).toEqual(['nobody', '10.0.0.1', '10.0.0.2']);
  });

  it('knows both times of a grant during which the clock was stepped', () => {
    const minutes = 60_000;
    const held = { version: 4, grantedBootNs: BigInt(10 * minutes) * 1_000_000n };
    const granted = record('granted', 600 * minutes, 5, '10.0.0.1', held);
    // The clock was an hour fast; the agent has seen the step and tells what is held now again.
    const again = record('granted', 540 * minutes, 5, '10.0.0.1', { ...held, isInterim: true });
    const released = record('released', 545 * minutes, 5, '10.0.0.1', held);
    const next = record('granted', 550 * minutes, 5, '10.0.0.2', { version: 8, grantedBootNs: BigInt(20 * minutes) * 1_000_000n });
    const records = [granted, again, released, next];
    expect(natTenures(records)[0]).toMatchObject({ fromMs: 540 * minutes, untilMs: 545 * minutes, spreadMs: 60 * minutes });
    // By a right clock.
    expect(ask(records, 543 * minutes)).toEqual(['10.0.0.1', '10.0.0.1']);
    // By the clock as it was: B has it then, and A may be meant.
    expect(ask(records, 603 * minutes)).toEqual(['10.0.0.2', '10.0.0.2', '10.0.0.1']);
    // Without the second telling the end comes before the beginning: between the two, and beyond them by as much, the holder may be meant.
    const untold = [granted, released];
    expect(natTenures(untold)[0]).toMatchObject({ fromMs: 600 * minutes, untilMs: 545 * minutes, spreadMs: 55 * minutes });
    for (const at of [545, 570, 599]) expect(ask(untold, at * minutes)).toEqual(['nobody', '10.0.0.1']);
    expect(ask(untold, 544 * minutes)).toEqual(['nobody']);
  });

  it('a successor that steps back in time ends what came before', () => {
    const open = record('granted', 3000, 5, '10.0.0.1', { version: 4, grantedBootNs: 1_000_000_000n });
    const next = record('granted', 1000, 5, '10.0.0.2', { version: 8, grantedBootNs: 2_000_000_000n });
    expect(natTenures([open, next])[0]).toMatchObject({ ca: '10.0.0.1', end: 'superseded', untilMs: 1000, spreadMs: 2000 });
    expect(ask([open, next], 2500)).toEqual(['10.0.0.2', '10.0.0.1', '10.0.0.2']);
  });

  it('travels as protobuf', () => {
    const one = record('granted', 1_700_000_000_000, 2 ** 40, '2001:db8::1', {
      epoch: 2n ** 63n + 1n,
      isInterim: true,
      grantedBootNs: 2n ** 62n,
    });
    expect(natLogRecordCodec.decode(natLogRecordCodec.encode(one))).toEqual(one);
    expect(() => natLogRecordCodec.encode({ ...one, ca: 'vm1' })).toThrow(/ca/);
    expect(() => natLogRecordCodec.decode(new Uint8Array([8, 0]))).toThrow();
  });
});
