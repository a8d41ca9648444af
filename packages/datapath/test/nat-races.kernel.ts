import { Worker } from 'node:worker_threads';
import { applyNatEvent, type NatEvent, NatEventKind, type NatFlow, type NatRow, NatState } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkHolders, compareStores, EXTERNAL, flowOf, NatBench, NETWORKS, onSegment } from './support/nat-bench.ts';
import { compileHarness, encodeFlow } from './support/nat-harness.ts';

// Several threads in the packet path at once, on as many processors as there are: first packets of the same flows against each other, and against
// the sweep.

const THREADS = 2;
const FLOWS = 3000;
const REMOTE = parseIp('198.51.100.1');

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
  return new NatBench(harness.path, { blocksPerAddress: 1008, quota: { blocks: 3000, blocksPerSource: 3000, sessions: 1_000_000 } });
}

function udp(index: number, remotePort = 53): NatFlow {
  const ca = parseIp(`10.0.0.${1 + (index % 3)}`);
  return flowOf({ networkId: NETWORKS[0]!, near: ca, remote: REMOTE, nearPort: 1024 + Math.floor(index / 3), remotePort });
}

/** Whatever the order in which processors told: a standby that applies it has the same tables. */
function expectStandby({ kernel }: NatBench, events: readonly NatEvent[]): void {
  const standby = new NatState();
  for (const event of events) applyNatEvent(standby, event, 0n);
  compareStores(kernel.maps, standby, ['block', 'source', 'mapping', 'session'], (row) => {
    const { table, key, value } = row as NatRow;
    if (table === 'source') return { key, value: { ...value, flags: 0 } };
    return table === 'session' ? { key, value: { ...value, expiresBootNs: 0n, toldBootNs: 0n } } : row;
  });
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
      const { contended, eventsLost } = kernel.kernel.maps.counters();
      expect(eventsLost).toBe(0n);
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
      const events = kernel.kernel.takeEvents();
      expectStandby(kernel, events);
      const returned = events.filter(({ kind }) => kind === NatEventKind.PORT_RETURNED).length;
      console.log(`races for one flow: ${returned} ports went back unused, ${contended} packets gave up, of ${THREADS * FLOWS}`);
      return returned;
    } finally {
      kernel.close();
    }
  }

  // An open fault, docs/limits.md (Gateways): once in some dozen runs on a busy machine the standby lacks a session that the owner has. WEFT_NAT_RACES=1 runs
  // it; it comes back into `npm test` with the fix.
  it.runIf(process.env['WEFT_NAT_RACES'] === '1')('makes and retires the same flows at once, and loses nothing', async () => {
    const kernel = bench();
    try {
      const events: NatEvent[] = [];
      const frames = Array.from({ length: 300 }, (_, i) => encodeFlow(udp(i % 100, 53 + Math.floor(i / 100))));
      for (let round = 0; round < 12; round++) {
        // Everything of the last round is over now, and is retired while the same flows come again.
        kernel.advance(301);
        const sweep = {
          program: 'nat_sweep',
          frames: Array.from({ length: 600 }, () => new Uint8Array(64)),
          cb: [1],
          rounds: 1,
          threads: 1,
        };
        const out = { program: 'harness_out', frames, cb: [0, 1], rounds: 1, threads: 2 };
        await race(kernel, [out, out, sweep]);
        checkHolders(kernel.kernel.maps);
        events.push(...kernel.kernel.takeEvents());
        // First: a standby that was not told of something can't know it.
        expect(kernel.kernel.maps.counters().eventsLost).toBe(0n);
        expectStandby(kernel, events);
      }
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
});
