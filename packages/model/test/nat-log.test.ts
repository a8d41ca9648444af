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
          records.push(record('granted', time, epoch, `10.0.0.${ca}`), record('released', time + lasts, epoch, `10.0.0.${ca}`));
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

  it('travels as protobuf', () => {
    const one = record('granted', 1_700_000_000_000, 2 ** 40, '2001:db8::1', { epoch: 2n ** 63n + 1n });
    expect(natLogRecordCodec.decode(natLogRecordCodec.encode(one))).toEqual(one);
    expect(() => natLogRecordCodec.encode({ ...one, ca: 'vm1' })).toThrow(/ca/);
    expect(() => natLogRecordCodec.decode(new Uint8Array([8, 0]))).toThrow();
  });
});
