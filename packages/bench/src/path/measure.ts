import { startGenerator, startSink, type TapDevice } from '@weft/tuntap';
import { VNET_HEADER_BYTES } from './frames.ts';

/** What one run of frames from a TAP to another showed. */
export interface Run {
  readonly framesPerSecond: number;
  /** Of the bytes read at the far TAP, from the Ethernet header on. */
  readonly gigabitsPerSecond: number;
  /** Mean length in bytes of a frame read, from the Ethernet header on. */
  readonly meanFrameRead: number;
  /** Sent and never read, of all sent; queues overflow where the reader is slower than the writer. */
  readonly lossShare: number;
}

/**
 * Sends frames into one TAP for `durationMs`, from a thread pinned to CPU 0, and counts what a thread pinned to CPU 1 reads from the other. The reader never
 * sleeps, as a polling vhost thread would not: else the sender pays for waking it, on slow paths only.
 *
 * @throws {Error} When nothing arrives: a path that carries nothing has no figure.
 */
export async function measure(from: TapDevice, to: TapDevice, frames: readonly Uint8Array[], durationMs: number): Promise<Run> {
  const sink = startSink({ fd: to.fd, cpu: 1, vnetHdr: true, spin: true });
  const generator = startGenerator({ fd: from.fd, frames, durationMs, cpu: 0, vnetHeaderBytes: VNET_HEADER_BYTES });
  const sent = await generator.result();
  const before = sink.stats();
  // Let the last frames through the queues: until a reading brings nothing new.
  for (let last = before.frames, quiet = 0; quiet < 3; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = sink.stats().frames;
    quiet = now === last ? quiet + 1 : 0;
    last = now;
  }
  const read = await sink.stop();
  if (read.frames === 0) throw new Error(`Nothing arrived at ${to.name}: ${sent.sent} frames sent, errors ${JSON.stringify(sent.errors)}`);
  const seconds = sent.elapsedNs / 1e9;
  const meanFrameRead = read.bytes / read.frames;
  const offered = (sent.bytes - sent.sent * VNET_HEADER_BYTES) / sent.sent;
  return {
    framesPerSecond: read.frames / seconds,
    gigabitsPerSecond: (read.bytes * 8) / seconds / 1e9,
    meanFrameRead,
    lossShare: Math.max(0, 1 - (read.frames * meanFrameRead) / (sent.sent * offered)),
  };
}
