import { Worker } from 'node:worker_threads';
import { applyNatEvent, type NatEvent, NatEventKind, type NatFlow, type NatRow, NatState, SourceFlag } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  checkHolders,
  compareStores,
  EXTERNAL,
  FORWARD_ADDRESS,
  flowOf,
  NatBench,
  NETWORKS,
  onSegment,
  text,
} from './support/nat-bench.ts';
import { compileHarness, encodeFlow } from './support/nat-harness.ts';

// Several threads in the packet path at once, on as many processors as there are: first packets of the same flows against each other, and against
// the sweep.

const THREADS = 2;
const FLOWS = 3000;
const REMOTE = parseIp('198.51.100.1');
const SESSION_KINDS = [NatEventKind.SESSION_ADDED, NatEventKind.SESSION_CHANGED, NatEventKind.SESSION_RETIRED] as const;

let harness: ReturnType<typeof compileHarness>;
beforeAll(() => {
  harness = compileHarness('NAT_RACES');
});
afterAll(() => harness?.remove());

interface Job {
  readonly program: string;
  readonly frames: readonly Uint8Array[];
  readonly cb: readonly number[];
  readonly rounds: number;
  /** So many threads do the same, frame by frame together. */
  readonly threads: number;
}

/** Runs the jobs at once. @returns Per job and run: reason, port, last byte of the address. */
async function race(bench: NatBench, jobs: readonly Job[]): Promise<[number, number, number][][]> {
  const gate = new SharedArrayBuffer(12);
  const flags = new Int32Array(gate);
  const workers = jobs.map(({ program, ...job }) => {
    const { fd } = bench.kernel.object.program(program);
    return new Worker(new URL('support/nat-stress-worker.mjs', import.meta.url), { workerData: { fd, gate, ...job } });
  });
  const answers = workers.map(
    (worker) =>
      new Promise<[number, number, number][]>((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      }),
  );
  const failed = Promise.race(answers.map((answer) => answer.then(() => new Promise<never>(() => {}))));
  const ready = (async () => {
    while (Atomics.load(flags, 1) < jobs.length) await new Promise((resolve) => setTimeout(resolve, 5));
    Atomics.store(flags, 0, 1);
  })();
  await Promise.race([ready, failed]);
  const result = await Promise.all(answers);
  await Promise.all(workers.map((worker) => worker.terminate()));
  return result;
}

function bench(): NatBench {
  return new NatBench(harness.path, {
    blocksPerAddress: 1008,
    quota: { blocks: 3000, blocksPerSource: 3000, sessions: 1_000_000, newFlowsPerSecond: 0 },
  });
}

function udp(index: number, remotePort = 53): NatFlow {
  const ca = parseIp(`10.0.0.${1 + (index % 3)}`);
  return flowOf({ networkId: NETWORKS[0]!, near: ca, remote: REMOTE, nearPort: 1024 + Math.floor(index / 3), remotePort });
}

/** Whatever the order in which processors told: a standby that applies it has the same tables. */
class Standby {
  readonly #state = new NatState();
  /** What was told last of each session and mapping, by ticket. */
  readonly #last = new Map<bigint, NatEvent>();
  readonly #counts = new Map<NatEvent['kind'], number>();

  /** Applies what was told. @throws If something was told before it began or after it ended. */
  take({ kernel }: NatBench): void {
    // First: a standby that was not told of something can't know it.
    expect(kernel.maps.counters().eventsLost).toBe(0n);
    for (const event of kernel.takeEvents()) {
      this.#counts.set(event.kind, this.count(event.kind) + 1);
      this.#checkOrder(event);
      applyNatEvent(this.#state, event, 0n);
    }
  }

  /** The same. @throws If its tables aren't the owner's then, too. */
  follow(bench: NatBench): void {
    this.take(bench);
    const { kernel } = bench;
    const comparable = (row: unknown): unknown => {
      const { table, key, value } = row as NatRow;
      if (table === 'source') return { key, value: { ...value, flags: 0 } };
      return table === 'session' ? { key, value: { ...value, expiresBootNs: 0n, toldBootNs: 0n } } : row;
    };
    const tables = ['session', 'reverse', 'mapping', 'source', 'block'] as const;
    compareStores(kernel.maps, this.#state, tables, comparable, ['owner', 'standby']);
  }

  count(kind: NatEvent['kind']): number {
    return this.#counts.get(kind) ?? 0;
  }

  #checkOrder(event: NatEvent): void {
    if ('block' in event || event.kind === NatEventKind.PORT_RETURNED) return;
    const { ticket } = 'session' in event ? event.session : event.mapping;
    const before = this.#last.get(ticket);
    this.#last.set(ticket, event);
    const begins = event.kind === NatEventKind.SESSION_ADDED || event.kind === NatEventKind.MAPPING_ADDED;
    const isOver = before?.kind === NatEventKind.SESSION_RETIRED || before?.kind === NatEventKind.MAPPING_RETIRED;
    if (begins !== (before === undefined) || isOver) expect.fail(`${text(event)}\n  was told after\n${text(before)}`);
  }
}

describe('port mapping on several processors', () => {
  it('gives each flow one mapping, whoever comes first; no port is held twice, none is lost', async () => {
    // On a busy machine the threads may happen not to run at once; without races the test would prove nothing.
    for (let attempt = 0; attempt < 10; attempt++) if ((await raceForFlows()) > 0) return;
    expect.fail('no race in ten attempts');
  });

  /** @returns Races that there were. */
  async function raceForFlows(): Promise<number> {
    const kernel = bench();
    try {
      const frames = Array.from({ length: FLOWS }, (_, i) => encodeFlow(udp(i)));
      const answers = await race(
        kernel,
        Array.from({ length: THREADS }, () => ({ program: 'harness_out', frames, cb: [0, 1], rounds: 1, threads: THREADS })),
      );
      const { contended } = kernel.kernel.maps.counters();
      const seen = new Set<string>();
      for (let i = 0; i < FLOWS; i++) {
        const ports = new Set(
          answers
            .map((of) => of[i]!)
            .filter(([reason]) => reason === 0)
            .map(([, port, address]) => `${address}:${port}`),
        );
        expect([...ports], `flow ${i}`).toHaveLength(1);
        seen.add([...ports][0]!);
      }
      expect(seen.size).toBe(FLOWS);
      expect(answers.flat().filter(([reason]) => reason !== 0)).toHaveLength(Number(contended));
      checkHolders(kernel.kernel.maps);
      expect([...kernel.kernel.maps.rows('session')]).toHaveLength(FLOWS);
      expect(kernel.kernel.maps.get('usage', { networkId: NETWORKS[0]! })!.sessions).toBe(FLOWS);
      const standby = new Standby();
      standby.follow(kernel);
      const returned = standby.count(NatEventKind.PORT_RETURNED);
      console.log(`races for one flow: ${returned} ports went back unused, ${contended} packets gave up, of ${THREADS * FLOWS}`);
      return returned;
    } finally {
      kernel.close();
    }
  }

  it('makes and retires the same flows at once, and loses nothing', async () => {
    const kernel = bench();
    try {
      const standby = new Standby();
      const frames = Array.from({ length: 300 }, (_, i) => encodeFlow(udp(i % 100, 53 + Math.floor(i / 100))));
      const contended = (): bigint => kernel.kernel.maps.counters().contended;
      for (let round = 0; round < 12 || (round < 60 && contended() === 0n); round++) {
        // Everything of the last round is over now, and is retired while the same flows come again.
        kernel.advance(301);
        // One thread that sends is in step with the sweep, which has the sessions in the same order: they meet at each. Two are against each other, too.
        const senders = 1 + (round % 2);
        const sweep = {
          program: 'nat_sweep',
          frames: Array.from({ length: 300 * senders }, () => new Uint8Array(64)),
          cb: [1],
          rounds: 1,
          threads: senders === 1 ? 2 : 1,
        };
        const out = { program: 'harness_out', frames, cb: [0, 1], rounds: 1, threads: 2 };
        await race(kernel, [...Array.from({ length: senders }, () => out), sweep]);
        checkHolders(kernel.kernel.maps);
        standby.follow(kernel);
      }
      const told = SESSION_KINDS.map((kind) => standby.count(kind));
      console.log(
        `sessions begun, revived, retired: ${told.join(', ')}; ${contended()} packets met the sweep at their session and gave up`,
      );
      // Without each of these the test would prove nothing.
      expect(Math.min(...told)).toBeGreaterThan(300);
      expect(contended()).toBeGreaterThan(0n);
      kernel.advance(301);
      for (const seconds of [0, 121, 1, 1]) {
        kernel.advance(seconds);
        kernel.kernel.sweep(5000);
      }
      // All of it has gone, and every block is back in its ring.
      for (const table of ['session', 'mapping', 'block', 'source'] as const)
        expect([...kernel.kernel.maps.rows(table)], table).toEqual([]);
      expect(kernel.kernel.maps.get('usage', { networkId: NETWORKS[0]! })).toMatchObject({ blocks: 0, sessions: 0 });
      for (const address of EXTERNAL) {
        const blocks = kernel.kernel.maps.get('free', onSegment(address))!.blocks.map(({ block }) => block);
        expect(new Set(blocks).size).toBe(1008);
      }
    } finally {
      kernel.close();
    }
  });

  it('takes holders back from the sweep, or finds them gone: each has all of its blocks, or is a new one', async () => {
    const kernel = bench();
    try {
      const standby = new Standby();
      const flows = Array.from({ length: 200 }, (_, i) =>
        flowOf({ networkId: NETWORKS[0]!, near: parseIp(`10.0.1.${i + 1}`), remote: REMOTE, nearPort: 5000, remotePort: 53 }),
      );
      const frames = flows.map(encodeFlow);
      const told = { kept: 0, released: 0, refused: 0 };
      for (let round = 0; round < 4 || (round < 40 && Math.min(told.kept, told.released) === 0); round++) {
        for (const flow of flows) expect(kernel.kernel.outbound(flow, 1).reason).toBe(0);
        for (const seconds of [302, 121]) {
          kernel.advance(seconds);
          kernel.kernel.sweep(5000);
        }
        const marked = [...kernel.kernel.maps.rows('source')];
        expect(marked).toHaveLength(flows.length);
        expect(marked.every(({ value }) => (value.flags & SourceFlag.RELEASING) !== 0 && value.blocks === 1)).toBe(true);
        standby.take(kernel);
        const released = standby.count(NatEventKind.BLOCK_RELEASED);
        kernel.advance(1);
        const out = { program: 'harness_out', frames, cb: [0, 1], rounds: 1, threads: 2 };
        const sweep = { program: 'nat_sweep', frames: frames.map(() => new Uint8Array(64)), cb: [1], rounds: 1, threads: 2 };
        const [answers] = await race(kernel, [out, sweep]);
        checkHolders(kernel.kernel.maps);
        standby.follow(kernel);
        const gone = standby.count(NatEventKind.BLOCK_RELEASED) - released;
        told.released += gone;
        told.kept += flows.length - gone;
        told.refused += answers!.filter(([reason]) => reason !== 0).length;
      }
      console.log(`holders kept, given back, met in the middle of that: ${Object.values(told).join(', ')}`);
      // Without both the test would prove nothing.
      expect(Math.min(told.kept, told.released)).toBeGreaterThan(0);
      for (const seconds of [302, 121, 1, 1]) {
        kernel.advance(seconds);
        kernel.kernel.sweep(5000);
      }
      for (const table of ['session', 'mapping', 'block', 'source'] as const)
        expect([...kernel.kernel.maps.rows(table)], table).toEqual([]);
      for (const address of EXTERNAL) {
        const blocks = kernel.kernel.maps.get('free', onSegment(address))!.blocks.map(({ block }) => block);
        expect(new Set(blocks).size).toBe(1008);
        expect(blocks).toHaveLength(1008);
      }
    } finally {
      kernel.close();
    }
  });

  it('takes a holder back for several packets at once: each has a port, as its blocks are all there', async () => {
    const kernel = bench();
    try {
      const standby = new Standby();
      const sources = Array.from({ length: 150 }, (_, i) => parseIp(`10.0.1.${i + 1}`));
      const framesOf = (nearPort: number): Uint8Array[] =>
        sources.map((near) => encodeFlow(flowOf({ networkId: NETWORKS[0]!, near, remote: REMOTE, nearPort, remotePort: 53 })));
      for (let round = 0; round < 10; round++) {
        for (const near of sources) {
          const flow = flowOf({ networkId: NETWORKS[0]!, near, remote: REMOTE, nearPort: 5000, remotePort: 53 });
          expect(kernel.kernel.outbound(flow, 1).reason).toBe(0);
        }
        for (const seconds of [302, 121]) {
          kernel.advance(seconds);
          kernel.kernel.sweep(5000);
        }
        const marked = [...kernel.kernel.maps.rows('source')].filter(({ value }) => value.flags & SourceFlag.RELEASING);
        expect(marked).toHaveLength(sources.length);
        const answers = await race(
          kernel,
          [6000, 7000].map((port) => ({ program: 'harness_out', frames: framesOf(port), cb: [0, 1], rounds: 1, threads: 2 })),
        );
        expect(answers.flat().filter(([reason]) => reason !== 0)).toEqual([]);
        checkHolders(kernel.kernel.maps);
        standby.follow(kernel);
        const holders = [...kernel.kernel.maps.rows('source')];
        expect(holders.every(({ value }) => value.blocks === 1 && value.mappings === 2)).toBe(true);
        for (const seconds of [302, 121, 1]) {
          kernel.advance(seconds);
          kernel.kernel.sweep(5000);
        }
      }
    } finally {
      kernel.close();
    }
  });

  it('ends sessions whose packets have looked at the clock before the sweep did; each has its way back', async () => {
    const kernel = bench();
    try {
      // Few, so that all are at one session often.
      const ports = [8000, 8001, 8002];
      for (const port of ports) kernel.forward(port, 6, { networkId: NETWORKS[0]!, port: 80, ca: parseIp(`10.0.0.${port - 7999}`) });
      // Each packet changes what is known of its connection, and so is told.
      const frames = Array.from({ length: 200 }, (_, i) => [0x02, 0x10, 0x04, 0x10][i % 4]!).flatMap((tcpFlags) =>
        ports.map((port) =>
          encodeFlow(flowOf({ near: FORWARD_ADDRESS, nearPort: port, remote: REMOTE, remotePort: 5000, protocol: 6, tcpFlags })),
        ),
      );
      const inbound = { program: 'harness_in', frames, cb: [], rounds: 2, threads: 1 };
      // Over to the sweep, live to the packets, always.
      const sweep = { program: 'harness_sweep_ahead', frames: frames.map(() => new Uint8Array(64)), cb: [3, 241], rounds: 4, threads: 1 };
      const standby = new Standby();
      for (let round = 0; round < 4; round++) {
        await race(kernel, [inbound, sweep]);
        standby.follow(kernel);
      }
      const told = SESSION_KINDS.map((kind) => standby.count(kind));
      console.log(`sessions begun, changed, retired: ${told.join(', ')}`);
      expect(Math.min(...told)).toBeGreaterThanOrEqual(100);
      kernel.advance(482);
      kernel.kernel.sweep(5000);
      for (const table of ['session', 'reverse'] as const) expect([...kernel.kernel.maps.rows(table)], table).toEqual([]);
      expect(kernel.kernel.maps.get('usage', { networkId: NETWORKS[0]! })).toMatchObject({ sessions: 0 });
    } finally {
      kernel.close();
    }
  });
});
