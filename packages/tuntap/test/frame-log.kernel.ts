import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FrameSource, openPacketSocket, openTap, startFrameLog, startGenerator, startSink, type TapDevice } from '../src/index.ts';
import { numberedFrame, Sandbox, soon } from './sandbox.ts';

const SEQUENCE_OFFSET = 20;
const match = { bytes: Uint8Array.of(0x88, 0xb5), inOffset: 12, outOffset: 12 };

let sandbox: Sandbox;
let tap: TapDevice;
let wire: FrameSource;
beforeEach(() => {
  sandbox = new Sandbox();
  [tap, wire] = sandbox.run(() => [openTap({ name: 'tap0' }), openPacketSocket({ interfaceName: 'tap0' })]);
  sandbox.ip('link', 'set', 'tap0', 'up');
});
afterEach(() => {
  tap.close();
  wire.close();
  sandbox.remove();
});

/** Wall clock, ms. */
const now = (): number => performance.timeOrigin + performance.now();
const log = (options: object = {}): ReturnType<typeof startFrameLog> =>
  sandbox.run(() => startFrameLog({ interfaceName: 'tap0', match, sequenceOffset: SEQUENCE_OFFSET, ...options }));

test('notes frames both ways, in order, with the time at which they passed', async () => {
  const sink = startSink({ fd: tap.fd, vnetHdr: false });
  const recorder = log();
  const begun = now();
  // Out of the interface: into the TAP's descriptor. In: from it.
  await startGenerator({
    fd: wire.fd,
    frames: [numberedFrame(1)],
    count: 50,
    ratePerSecond: 5_000,
    sequenceOffset: SEQUENCE_OFFSET,
  }).result();
  await soon(() => expect(sink.stats().frames).toBe(50));
  await startGenerator({
    fd: tap.fd,
    frames: [numberedFrame(2)],
    count: 30,
    ratePerSecond: 5_000,
    sequenceOffset: SEQUENCE_OFFSET,
  }).result();
  const ended = now();
  const { sequences, timesMs, out, missed } = await recorder.stop();
  await sink.stop();
  expect([...out]).toEqual([...Array<number>(50).fill(1), ...Array<number>(30).fill(0)]);
  expect([...sequences]).toEqual([...Array(50).keys(), ...Array(30).keys()]);
  expect(missed).toBe(0);
  // The wall clock of Node is read at the start of the process, so it is compared with a margin; order and pace need none.
  expect(timesMs[0]!).toBeGreaterThan(begun - 1_000);
  expect(timesMs.at(-1)!).toBeLessThan(ended + 1_000);
  expect([...timesMs]).toEqual([...timesMs].sort((a, b) => a - b));
  expect(timesMs[49]! - timesMs[0]!).toBeGreaterThanOrEqual(49 / 5 - 1);
});

test('times are those of the frames, not of whoever reads: frames that wait for it keep theirs', async () => {
  const sink = startSink({ fd: tap.fd, vnetHdr: false });
  const recorder = log();
  const send = async (): Promise<unknown> =>
    await startGenerator({ fd: wire.fd, frames: [numberedFrame(1)], count: 1, sequenceOffset: SEQUENCE_OFFSET }).result();
  await send();
  const from = now();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const until = now();
  await send();
  await soon(() => expect(sink.stats().frames).toBe(2));
  const { timesMs } = await recorder.stop();
  await sink.stop();
  expect(timesMs[1]! - timesMs[0]!).toBeGreaterThanOrEqual(until - from - 1);
});

test('leaves out what does not match, by direction', async () => {
  const sink = startSink({ fd: tap.fd, vnetHdr: false });
  const recorder = log({ match: { ...match, inOffset: 14 } });
  for (const fd of [wire.fd, tap.fd])
    await startGenerator({ fd, frames: [numberedFrame(1)], count: 3, sequenceOffset: SEQUENCE_OFFSET }).result();
  await soon(() => expect(sink.stats().frames).toBe(3));
  const { out } = await recorder.stop();
  await sink.stop();
  expect([...out]).toEqual([1, 1, 1]);
});

test('refuses an interface that is not there, and what can not be an offset', () => {
  expect(() => log({ interfaceName: 'tap9' })).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_NOT_FOUND' }));
  expect(() => log({ sequenceOffset: 250 })).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_BAD_OPTION' }));
});
