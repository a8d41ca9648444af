import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FrameSource, openPacketSocket, openTap, startGenerator, startSink, type TapDevice } from '../src/index.ts';
import { numberedFrame, Sandbox, soon } from './sandbox.ts';

let sandbox: Sandbox;
let tap: TapDevice;
let wire: FrameSource;
beforeEach(() => {
  sandbox = new Sandbox();
  [tap, wire] = sandbox.run(() => [openTap({ name: 'tap0', vnetHdr: true }), openPacketSocket({ interfaceName: 'tap0' })]);
  sandbox.ip('link', 'set', 'tap0', 'up');
});
afterEach(() => {
  tap.close();
  wire.close();
  sandbox.remove();
});

describe('startGenerator()', () => {
  test('sends as many as asked, in turn', async () => {
    const sink = startSink({ fd: tap.fd, vnetHdr: true, match: { offset: 14, bytes: Uint8Array.of(0, 0, 0, 2) } });
    const result = await startGenerator({
      fd: wire.fd,
      frames: [numberedFrame(1, 100), numberedFrame(2, 200)],
      count: 100,
      ratePerSecond: 5000,
    }).result();
    expect(result).toMatchObject({ sent: 100, bytes: 50 * 300, errors: {} });
    // 100 frames at 5,000 a second: the last leaves 19.8 ms after the first.
    expect(result.elapsedNs).toBeGreaterThanOrEqual(19.8e6);
    await soon(() => expect(sink.stats().frames).toBe(100));
    expect(await sink.stop()).toMatchObject({
      frames: 100,
      bytes: 50 * 300,
      largestFrame: 200,
      matched: 50,
      matchedBytes: 50 * 200,
      shortFrames: 0,
    });
  });

  test('stops at its time, and when told', async () => {
    const timed = await startGenerator({ fd: wire.fd, frames: [numberedFrame(1)], durationMs: 30 }).result();
    expect(timed.elapsedNs).toBeGreaterThanOrEqual(30e6);
    expect(timed.sent).toBeGreaterThan(0);
    const endless = startGenerator({ fd: wire.fd, frames: [numberedFrame(1)], ratePerSecond: 0.001 });
    await soon(() => expect(endless.sent).toBe(1));
    endless.stop();
    endless.stop();
    expect((await endless.result()).sent).toBe(1);
  });

  test('counts refusals by errno', async () => {
    sandbox.ip('link', 'set', 'tap0', 'down');
    const frame = new Uint8Array(70);
    frame.set(numberedFrame(1), 10);
    const result = await startGenerator({ fd: tap.fd, frames: [frame], count: 25, cpu: 0 }).result();
    expect(result).toMatchObject({ sent: 0, errors: { EIO: 25 } });
  });

  test('refuses options that make no sense', () => {
    expect(() => startGenerator({ fd: wire.fd, frames: [] })).toThrow(/at least one/);
    expect(() => startGenerator({ fd: wire.fd, frames: [numberedFrame(1)], sequenceOffset: 50 })).toThrow(
      /sequenceOffset 50: must be an integer from 0 to 44/,
    );
    expect(() => startGenerator({ fd: wire.fd, frames: [numberedFrame(1)], count: Number.NaN })).toThrow(/count NaN/);
    expect(() => startGenerator({ fd: wire.fd, frames: [numberedFrame(1)], cpu: 1000 })).toThrow(
      /pthread_create on CPU 1000 failed with EINVAL/,
    );
  });
});

describe('startSink()', () => {
  test('finds lost, repeated and reordered sequence numbers', async () => {
    const sink = startSink({ fd: tap.fd, vnetHdr: true, sequenceOffset: 20 });
    const frames = [5, 6, 9, 9, 8, 12].map((sequence) => {
      const frame = numberedFrame(0);
      new DataView(frame.buffer).setBigUint64(20, BigInt(sequence));
      return frame;
    });
    for (const frame of frames) wire.write(frame);
    await soon(() => expect(sink.stats().frames).toBe(6));
    const { sequence } = await sink.stop();
    // 7, 10 and 11 never came.
    expect(sequence).toMatchObject({
      sequenced: 6,
      firstSequence: 5,
      lastSequence: 12,
      highestSequence: 12,
      lost: 3,
      duplicates: 1,
      reordered: 1,
    });
  });

  test('measures the way from a generator without loss', async () => {
    const sink = startSink({ fd: tap.fd, vnetHdr: true, sequenceOffset: 18, match: { offset: 12, bytes: Uint8Array.of(0x88, 0xb5) } });
    const { sent } = await startGenerator({
      fd: wire.fd,
      frames: [numberedFrame(1)],
      count: 200,
      ratePerSecond: 4000,
      sequenceOffset: 18,
    }).result();
    expect(sent).toBe(200);
    await soon(() => expect(sink.stats().matched).toBe(200));
    const { sequence, maxGapNs, spanNs } = await sink.stop();
    expect(sequence).toMatchObject({ sequenced: 200, firstSequence: 0, highestSequence: 199, lost: 0, duplicates: 0, reordered: 0 });
    expect(sequence!.latencyP50Ns).toBeGreaterThan(0);
    expect(sequence!.latencyP50Ns).toBeLessThanOrEqual(sequence!.latencyP99Ns);
    expect(sequence!.latencyP99Ns).toBeLessThanOrEqual(sequence!.latencyMaxNs);
    expect(maxGapNs).toBeLessThanOrEqual(spanNs);
  });

  test('ends with the reason when the interface is removed', async () => {
    const sink = startSink({ fd: tap.fd, vnetHdr: true });
    sandbox.ip('link', 'del', 'tap0');
    await soon(() => expect(sink.stats().error).toBe('EBADFD'));
    expect(await sink.stop()).toMatchObject({ frames: 0, error: 'EBADFD' });
  });
});
