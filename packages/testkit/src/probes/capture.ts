import { TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { type ManagedProcess, spawnIn } from '../core/managed-process.ts';
import type { Registry } from '../core/registry.ts';
import { sleep, waitFor } from '../core/wait.ts';
import { PcapStream } from './pcap-stream.ts';

export interface CaptureInit<Name extends string = string> {
  readonly netns: string | undefined;
  readonly device: string;
  /** What to look for in each frame, by name. */
  readonly needles: Readonly<Record<Name, string | Uint8Array>>;
  /** `in`: frames that the device receives; `out`: frames sent to it. Default both. */
  readonly direction?: 'in' | 'out';
  /** A filter in the language of pcap-filter(7), as words. */
  readonly filter?: readonly string[];
  readonly registry?: Registry;
}

export interface CaptureResult<Name extends string = string> {
  /** Frames seen. */
  readonly frames: number;
  /** Bytes of them. */
  readonly bytes: number;
  /** Size of the largest, in bytes, from the MAC header on: above the MTU + 14 only where frames pass whole that a wire would cut. */
  readonly largestFrame: number;
  /** Frames that hold each needle. */
  readonly matches: Readonly<Record<Name, number>>;
  /** Frames that came by and were not looked at: where it isn't 0, a count of 0 proves nothing. */
  readonly missed: number;
}

/** Frames at a device, counted by what they hold, while they pass. */
export class Capture<Name extends string = string> {
  readonly #process: ManagedProcess;
  readonly #matches: Record<Name, number>;
  readonly #oneWay: boolean;
  #frames = 0;
  #bytes = 0;
  #largestFrame = 0;
  #ended: Promise<void>;

  private constructor(child: ManagedProcess, needles: readonly (readonly [Name, Buffer])[], oneWay: boolean) {
    this.#process = child;
    this.#oneWay = oneWay;
    this.#matches = Object.fromEntries(needles.map(([name]) => [name, 0])) as Record<Name, number>;
    const pcap = new PcapStream((frame, size) => {
      this.#frames += 1;
      this.#bytes += size;
      this.#largestFrame = Math.max(this.#largestFrame, size);
      for (const [name, needle] of needles) if (frame.includes(needle)) this.#matches[name] += 1;
    });
    child.stdout!.on('data', (chunk: Buffer) => pcap.push(chunk));
    this.#ended = new Promise((resolve) => child.stdout!.once('close', resolve));
  }

  /**
   * Returns when the capture has begun: what is sent from now on is counted.
   *
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_PROCESS` when tcpdump can't capture there (no such device, bad filter).
   */
  static async start<const Name extends string>(init: CaptureInit<Name>): Promise<Capture<Name>> {
    const needles = Object.entries(init.needles).map(([name, needle]) => [name as Name, Buffer.from(needle as string)] as const);
    for (const [name, needle] of needles) if (needle.length === 0) throw new RangeError(`Cannot look for needle "${name}": it is empty`);
    const argv = ['tcpdump', '-i', init.device, '-n', '-s', `${SNAPSHOT_BYTES}`, '-B', `${BUFFER_KIB}`, '-U', '--immediate-mode'];
    argv.push('-Z', 'root', '-w', '-');
    // Not "inbound" in the filter: libpcap applies the filter itself to the first frames after it is set, and doesn't know directions there.
    if (init.direction !== undefined) argv.push('-Q', init.direction);
    const child = await spawnIn(init.netns, [...argv, ...(init.filter ?? [])], {
      rawStdout: true,
      what: `capture at ${init.device}`,
      ...(init.registry === undefined ? {} : { registry: init.registry }),
    });
    const capture = new Capture<Name>(child, needles, init.direction !== undefined);
    // Written after the socket is bound to the device.
    await child.waitForLine(/listening on/);
    return capture;
  }

  /** What has been counted so far; frames of the last milliseconds may not be in it. */
  read(): Omit<CaptureResult<Name>, 'missed'> {
    return { frames: this.#frames, bytes: this.#bytes, largestFrame: this.#largestFrame, matches: { ...this.#matches } };
  }

  /** Takes in what has come by until now, stops, and returns the counts. */
  async stop(): Promise<CaptureResult<Name>> {
    // tcpdump leaves at once when told to, even with frames waiting in its buffer, and may not have had the CPU for a while. It answers
    // SIGUSR1 with its counts: nothing waits once it has taken in what the kernel gave it. Of one direction alone the kernel counts the
    // other too: there, once the counts stay the same from one answer to the next. Under endless traffic the frames of the first answers
    // are all that was asked for.
    let before = -1;
    for (let look = 0; look < 10 && this.#process.alive; look++) {
      const { captured, received, dropped } = await this.#askCounts(look + 1);
      const atRest = this.#oneWay ? captured === before : captured + dropped >= received;
      if (atRest && captured === this.#frames) break;
      before = captured;
      await sleep(15);
    }
    this.#process.kill('SIGINT');
    const exit = await this.#process.exited;
    await this.#ended;
    const said = this.#process.lastLines().join('\n');
    const captured = /^(\d+) packets? captured$/m.exec(said);
    const dropped = /^(\d+) packets? dropped by kernel$/m.exec(said);
    if (captured === null || dropped === null) {
      throw new TestkitError(TestkitErrorCode.Process, `Capture ended (${exit.signal ?? exit.code}) without its counts: ${said}`);
    }
    return { ...this.read(), missed: Number(captured[1]) - this.#frames + Number(dropped[1]) };
  }

  /** Asks tcpdump for its counts and waits for the answer with this number. */
  async #askCounts(number: number): Promise<{ readonly captured: number; readonly received: number; readonly dropped: number }> {
    this.#process.kill('SIGUSR1');
    const answer = await waitFor(
      () => {
        const answers = this.#process.lastLines(1_000).filter((line) => COUNTS.test(line));
        return this.#process.alive ? answers[number - 1] : ENDED;
      },
      { what: 'tcpdump to tell its counts', intervalMs: 2 },
    );
    const [captured = 0, received = 0, dropped = 0] = COUNTS.exec(answer)?.slice(1).map(Number) ?? [];
    return { captured, received, dropped };
  }
}

/** One line, unlike the counts at the end. */
const COUNTS = /(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel/;
const ENDED = 'tcpdump: 0 packets captured, 0 packets received by filter, 0 packets dropped by kernel';
/**
 * A slot of the kernel's ring is as large as a snapshot may be, and at most 64 KiB where a device passes frames whole that a wire would cut.
 * One that is just below takes one block of memory, not two.
 */
const SNAPSHOT_BYTES = 65_000;
/** 1,024 slots, for what comes while tcpdump waits for a processor. */
const BUFFER_KIB = 65_536;

/** Starts to count the frames at a device that hold the needles. */
export function startCapture<const Name extends string>(init: CaptureInit<Name>): Promise<Capture<Name>> {
  return Capture.start(init);
}

/** As `startCapture`, for one needle; `stop` returns how many frames held it. */
export async function captureCount(
  netns: string | undefined,
  device: string,
  needle: string | Uint8Array,
  options: Pick<CaptureInit, 'direction' | 'filter' | 'registry'> = {},
): Promise<{ stop(): Promise<number> }> {
  const capture = await Capture.start({ ...options, netns, device, needles: { needle } });
  return {
    stop: async () => {
      const { matches, missed } = await capture.stop();
      if (missed > 0)
        throw new TestkitError(TestkitErrorCode.Process, `Capture at ${device} missed ${missed} frames: its count is not complete`);
      return matches.needle;
    },
  };
}
