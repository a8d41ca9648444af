import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { BpfObject, RingBuffer } from '../src/index.ts';
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
