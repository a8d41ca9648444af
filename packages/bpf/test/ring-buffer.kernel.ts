import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { BpfObject, type RingBatch, RingBuffer } from '../src/index.ts';
import { configured, reporting } from './programs.ts';
import { Sandbox } from './sandbox.ts';

const SOON = { timeout: 20_000, interval: 5 };

let sandbox: Sandbox;
let object: BpfObject;
beforeAll(() => {
  sandbox = new Sandbox();
  object = BpfObject.open(sandbox.compile('reporting', reporting)).load();
});
afterAll(() => {
  object.close();
  sandbox.remove();
});

const report = (mark: number): number => object.program('report').testRun({ data: new Uint8Array(64), ctx: { mark } }).retval;
const words = (record: Uint8Array): number[] => {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return [0, 4, 8].map((offset) => view.getUint32(offset, true));
};

test('records arrive in order and may be kept', async () => {
  const records: Uint8Array[] = [];
  const ring = new RingBuffer(object.map('ring'), (record) => records.push(record));
  for (let mark = 0; mark < 1000; mark++) expect(report(mark)).toBe(0);
  await vi.waitFor(() => expect(records).toHaveLength(1000), SOON);
  expect(records.map((record) => words(record))).toEqual(Array.from({ length: 1000 }, (_, mark) => [mark, 64, 0xfeedface]));
  ring.close();
});

test('a reader that rests gets what comes meanwhile at once, and all of it', async () => {
  const records: Uint8Array[] = [];
  const ring = new RingBuffer(object.map('ring'), (record) => records.push(record), { restMs: 3_000 });
  report(0);
  await vi.waitFor(() => expect(records).toHaveLength(1), SOON);
  for (let mark = 1; mark <= 300; mark++) {
    report(mark);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(records).toHaveLength(1);
  await vi.waitFor(() => expect(records).toHaveLength(301), SOON);
  expect(records.map((record) => words(record)[0])).toEqual(Array.from({ length: 301 }, (_, mark) => mark));
  // A batch is one buffer, of 256 at most: what is left after a full one follows without a rest.
  expect(new Set(records.map(({ buffer }) => buffer)).size).toBe(3);
  ring.close();
});

test('batches are handed over whole, in memory that the next one uses again, each record where a word may begin', async () => {
  const batches: { readonly bytes: Uint8Array; readonly marks: number[] }[] = [];
  const onBatch = ({ count, bytes, places }: RingBatch): void => {
    const at = Array.from({ length: count }, (_, i) => [places[2 * i]!, places[2 * i + 1]!] as const);
    expect(at).toEqual(Array.from({ length: count }, (_, i) => [16 * i, 12]));
    batches.push({ bytes, marks: at.map(([start, length]) => words(bytes.subarray(start, start + length))[0]!) });
  };
  const ring = new RingBuffer(object.map('ring'), { onBatch }, { batchRecords: 300, restMs: 10 });
  for (let mark = 0; mark < 700; mark++) report(mark);
  expect([ring.consume(), ring.consume(), ring.consume(), ring.consume()]).toEqual([300, 300, 100, 0]);
  for (let mark = 700; mark < 710; mark++) {
    report(mark);
    await vi.waitFor(() => expect(batches.at(-1)!.marks.at(-1)).toBe(mark), SOON);
  }
  expect(batches.flatMap(({ marks }) => marks)).toEqual(Array.from({ length: 710 }, (_, mark) => mark));
  expect(new Set(batches.map(({ bytes }) => bytes)).size).toBe(1);
  ring.close();
});

test('a reader that throws after a rest is told of what comes then', async () => {
  const marks: number[] = [];
  const errors: unknown[] = [];
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => errors.push(error));
  const onBatch = ({ bytes }: RingBatch): void => {
    const [mark] = words(bytes);
    if (mark === 1) throw new Error('refused');
    marks.push(mark!);
  };
  const ring = new RingBuffer(object.map('ring'), { onBatch }, { restMs: 10 });
  try {
    for (let mark = 0; mark < 4; mark++) {
      report(mark);
      await vi.waitFor(() => expect(marks.length + errors.length).toBe(mark + 1), SOON);
    }
  } finally {
    ring.close();
    process.removeAllListeners('uncaughtException');
    for (const listener of others) process.on('uncaughtException', listener);
  }
  expect(marks).toEqual([0, 2, 3]);
  expect(errors).toEqual([new Error('refused')]);
});

test('a reader that is closed while it rests stays closed', async () => {
  const elsewhere = BpfObject.open(sandbox.compile('reporting', reporting)).load();
  const reportElsewhere = (): number => elsewhere.program('report').testRun({ data: new Uint8Array(64) }).retval;
  let later = 0;
  const resting = new RingBuffer(elsewhere.map('ring'), () => later++, { restMs: 20 });
  let count = 0;
  await new Promise<void>((resolve) => {
    const ring = new RingBuffer(
      object.map('ring'),
      () => {
        count++;
        // Not in the callback, but before its rest, which has begun, can be over.
        queueMicrotask(() => {
          ring.close();
          resolve();
        });
      },
      { restMs: 20 },
    );
    report(0);
  });
  report(1);
  // Of two rests of one length, the one that began first ends first: what comes to another reader after its own would come to this one, too.
  reportElsewhere();
  await vi.waitFor(() => expect(later).toBe(1), SOON);
  reportElsewhere();
  await vi.waitFor(() => expect(later).toBe(2), SOON);
  resting.close();
  elsewhere.close();
  expect(count).toBe(1);
  const another = new RingBuffer(object.map('ring'), () => count++);
  another.consume();
  another.close();
  expect(count).toBe(2);
});

test('nothing comes after close(), also when closed in the callback', async () => {
  const marks: number[] = [];
  for (let mark = 0; mark < 10; mark++) report(mark);
  const ring = new RingBuffer(object.map('ring'), (record) => {
    marks.push(words(record)[0]!);
    if (marks.length === 3) ring.close();
  });
  await vi.waitFor(() => expect(marks).toEqual([0, 1, 2]), SOON);
  report(99);
  ring.close();
  expect(ring.consume()).toBe(0);
  expect(marks).toEqual([0, 1, 2]);
});

test('consume() hands over at most 256 records at once', () => {
  let count = 0;
  const ring = new RingBuffer(object.map('ring'), () => count++);
  while (ring.consume() > 0);
  count = 0;
  for (let mark = 0; mark < 300; mark++) report(mark);
  expect(ring.consume()).toBe(256);
  expect(ring.consume()).toBe(44);
  expect(ring.consume()).toBe(0);
  expect(count).toBe(300);
  ring.close();
});

test('a full ring refuses the program, not the reader', () => {
  const ring = new RingBuffer(object.map('ring'), () => {});
  let stored = 0;
  while (report(stored) === 0) stored++;
  let read = 0;
  for (let got = ring.consume(); got > 0; got = ring.consume()) read += got;
  expect(read).toBe(stored);
  expect(report(1)).toBe(0);
  ring.close();
});

test('a map of another type is refused', () => {
  const other = BpfObject.open(sandbox.compile('configured', configured)).load();
  expect(() => new RingBuffer(other.map('table'), () => {})).toThrow(expect.objectContaining({ name: 'BpfError', errnoName: 'EINVAL' }));
  other.close();
});
