import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cpioArchive, PcapStream, SequenceRecord, shellQuote } from '../src/index.ts';

describe('SequenceRecord', () => {
  it('counts loss, runs, duplicates and the longest gap', () => {
    const record = new SequenceRecord(1_000);
    for (const [sequence, atMs] of [
      [1, 1_010],
      [2, 1_020],
      [2, 1_021],
      [6, 1_060],
      [7, 1_070],
      [9, 1_090],
    ] as const) {
      record.add(sequence, atMs);
    }
    expect(record.summary()).toEqual({
      sent: 9,
      received: 5,
      lost: 4,
      duplicates: 1,
      longestGapMs: 40,
      lostRuns: [
        { first: 3, count: 3 },
        { first: 8, count: 1 },
      ],
    });
    expect(record.summary({ sentUpTo: 20, atMs: 1_200 })).toMatchObject({ sent: 20, lost: 15, longestGapMs: 110 });
  });

  it('follows the sequence over its wrap, late answers included', () => {
    const record = new SequenceRecord(0);
    for (let sequence = 1; sequence <= 70_000; sequence++)
      if (sequence !== 65_536 && sequence !== 3) record.add(sequence & 0xffff, sequence);
    record.add(65_536 & 0xffff, 70_001);
    expect(record.summary()).toMatchObject({ sent: 70_000, received: 69_999, lostRuns: [{ first: 3, count: 1 }] });
  });

  it('counts each window for itself and leaves out what came before the first answer', () => {
    const record = new SequenceRecord(0);
    record.add(5, 500);
    record.startAtFirst();
    record.add(6, 510);
    record.add(8, 530);
    expect(record.takeWindow()).toMatchObject({ sent: 4, received: 3, lost: 1, longestGapMs: 20 });
    record.add(7, 535);
    record.add(8, 536);
    record.add(9, 560);
    expect(record.summary()).toMatchObject({ sent: 1, received: 1, lost: 0, duplicates: 1, longestGapMs: 30 });
  });
});

describe('PcapStream', () => {
  it('finds the same frames however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (frames, cuts) => {
          const header = Buffer.alloc(24);
          header.writeUInt32LE(0xa1b2c3d4, 0);
          const file = Buffer.concat([
            header,
            ...frames.flatMap((frame) => {
              const record = Buffer.alloc(16);
              record.writeUInt32LE(frame.length, 8);
              record.writeUInt32LE(frame.length + 1, 12);
              return [record, Buffer.from(frame)];
            }),
          ]);
          const seen: Buffer[] = [];
          const stream = new PcapStream((frame, size) => {
            expect(size).toBe(frame.length + 1);
            seen.push(Buffer.from(frame));
          });
          for (let at = 0, turn = 0; at < file.length; turn++) {
            const next = at + cuts[turn % cuts.length]!;
            stream.push(file.subarray(at, next));
            at = next;
          }
          expect(seen).toEqual(frames.map((frame) => Buffer.from(frame)));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('refuses what is no pcap', () => {
    expect(() => new PcapStream(() => {}).push(Buffer.alloc(24))).toThrow(RangeError);
  });
});

describe('cpioArchive()', () => {
  it('writes the newc form: magic, fields of 8 digits, names and data padded to 4, a trailer, whole blocks', () => {
    const archive = Buffer.from(
      cpioArchive([
        { kind: 'dir', path: 'd' },
        { kind: 'file', path: 'd/f', data: Buffer.from('abc'), executable: true },
        { kind: 'symlink', path: 'l', target: 'd/f' },
        { kind: 'chardev', path: 'c', major: 5, minor: 1 },
      ]),
    );
    const seen: { name: string; mode: string; data: string; device: string }[] = [];
    for (let at = 0; ; ) {
      expect(archive.toString('latin1', at, at + 6)).toBe('070701');
      const field = (index: number): number => Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
      const name = archive.toString('latin1', at + 110, at + 110 + field(11) - 1);
      const start = (at + 110 + field(11) + 3) & ~3;
      if (name === 'TRAILER!!!') break;
      seen.push({
        name,
        mode: field(1).toString(8),
        data: archive.toString('latin1', start, start + field(6)),
        device: `${field(9)}:${field(10)}`,
      });
      at = (start + field(6) + 3) & ~3;
    }
    expect(seen).toEqual([
      { name: 'd', mode: '40755', data: '', device: '0:0' },
      { name: 'd/f', mode: '100755', data: 'abc', device: '0:0' },
      { name: 'l', mode: '120777', data: 'd/f', device: '0:0' },
      { name: 'c', mode: '20600', data: '', device: '5:1' },
    ]);
    expect(archive.length % 512).toBe(0);
  });
});

describe('shellQuote()', () => {
  it('leaves plain words and quotes the rest', () => {
    expect(shellQuote('a-b/c.d:80')).toBe('a-b/c.d:80');
    expect(shellQuote("it's")).toBe(`'it'\\''s'`);
    expect(shellQuote('')).toBe("''");
    expect(shellQuote('$(reboot)')).toBe("'$(reboot)'");
  });
});
