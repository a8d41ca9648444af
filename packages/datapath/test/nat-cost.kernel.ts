import { readFileSync } from 'node:fs';
import { applyNatEvent, NAT_TABLES, NatState, restoreNat, snapshotNat } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NAT_MAP_LAYOUT } from '../src/kernel/nat/layout.ts';
import { compareStores, flowOf, freeRow, SEGMENT } from './support/nat-bench.ts';
import { compileHarness, NatHarness } from './support/nat-harness.ts';

// What a packet costs, and that a full pool costs no more. Figures are printed; WEFT_NAT_MAPPINGS makes the large one larger (1000000: 20 s, 1 GB).

const MAPPINGS = Number(process.env['WEFT_NAT_MAPPINGS'] ?? 60_000);
const REMOTE = parseIp('198.51.100.1');
const NETWORK = 11;
const POOL = 1;

let harness: ReturnType<typeof compileHarness>;
beforeAll(() => {
  harness = compileHarness();
});
afterAll(() => harness?.remove());

function open(addresses: number, sizes: Readonly<Record<string, number>> = {}): NatHarness {
  const kernel = new NatHarness(harness.path, sizes);
  kernel.setClock(1_000_000_000_000n);
  kernel.setNetwork(NETWORK, { shard: 1, segment: SEGMENT });
  kernel.setShard(1, { epoch: 5n, deadlineBootNs: 1n << 62n });
  kernel.maps.set('quota', { networkId: NETWORK }, { blocks: 1 << 30, blocksPerSource: 1 << 30, sessions: 1 << 30, newFlowsPerSecond: 0 });
  const pool = Array.from({ length: addresses }, (_, i) => ({ segment: SEGMENT, address: parseIp(`203.0.113.${i + 1}`) }));
  kernel.maps.set('pool', { pool: POOL }, { addresses: pool });
  for (const address of pool) kernel.maps.set('free', address, freeRow(1008));
  return kernel;
}

/** The i-th flow: 400 flows a CA. */
const flow = (i: number): ReturnType<typeof flowOf> =>
  flowOf({
    networkId: NETWORK,
    near: parseIp(`10.${(i / 400) >>> 16}.${((i / 400) >>> 8) & 255}.${Math.floor(i / 400) & 255}`),
    nearPort: 1024 + (i % 400),
    remote: REMOTE,
    remotePort: 53,
  });

/** Makes new flows. @returns Median nanoseconds of one. */
function addFlows(kernel: NatHarness, from: number, count: number): number {
  const costs: number[] = [];
  for (let i = from; i < from + count; i++) {
    const { reason, durationNs } = kernel.outbound(flow(i), POOL);
    if (reason !== 0) throw new Error(`flow ${i}: reason ${reason}`);
    costs.push(durationNs);
  }
  return costs.sort((a, b) => a - b)[costs.length >> 1]!;
}

/** Bytes of kernel memory by map, as its file descriptor says (kernel 6.4 or later). */
function mapBytes(kernel: NatHarness, name: string): number {
  const text = readFileSync(`/proc/self/fdinfo/${kernel.object.map(name).fd}`, 'utf8');
  return Number(/memlock:\s+(\d+)/.exec(text)?.[1] ?? 0);
}

describe('the cost of port mapping', () => {
  it('does not grow with use: a new flow at 99 % of all ports costs what it costs at 10 %', () => {
    const kernel = open(1);
    try {
      // Each CA has 7 blocks, the last of which it fills by a quarter only; so blocks run out first.
      const capacity = Math.floor(1008 / 7) * 400;
      addFlows(kernel, 0, Math.floor(capacity * 0.09));
      const at10 = addFlows(kernel, Math.floor(capacity * 0.09), 800);
      const before = Math.floor(capacity * 0.09) + 800;
      addFlows(kernel, before, capacity - 400 - before);
      const at99 = addFlows(kernel, capacity - 400, 400);
      expect([...kernel.maps.rows('block')].length).toBe(1008);
      console.log(`new flow: ${at10} ns at 10 % of the blocks, ${at99} ns at 99 %`);
      // Caches are colder; a search for a free port would cost a hundred times as much.
      expect(at99).toBeLessThan(at10 * 4);
      const established = kernel.outbound(flow(1), POOL, 200_000).durationNs;
      const back = flowOf({ near: parseIp('203.0.113.1'), nearPort: kernel.outbound(flow(1), POOL).port, remote: REMOTE, remotePort: 53 });
      const inbound = kernel.inbound(back, 200_000);
      expect(inbound.reason).toBe(0);
      const programs = ['harness_out', 'harness_in', 'nat_sweep'].map((name) => {
        const { verifiedInstructions, jitedBytes } = kernel.object.program(name).info();
        return `${name} ${verifiedInstructions} instructions verified, ${jitedBytes} bytes of machine code`;
      });
      console.log(`established flow: ${established} ns out, ${inbound.durationNs} ns in; ${programs.join('; ')}`);
    } finally {
      kernel.close();
    }
  });

  it(`holds ${MAPPINGS} mappings`, { timeout: 300_000 }, () => {
    const addresses = Math.ceil(MAPPINGS / 57_600);
    const room = {
      map_nat_mapping: MAPPINGS,
      map_nat_session: MAPPINGS,
      map_nat_queue: 2 * MAPPINGS,
      map_nat_block: MAPPINGS,
      map_nat_source: MAPPINGS,
    };
    const kernel = open(addresses, room);
    try {
      addFlows(kernel, 0, MAPPINGS);
      const mapNames = [...NAT_TABLES.map((table) => NAT_MAP_LAYOUT[table].map), 'map_nat_queue', 'map_nat_events'];
      const megabytes = Object.fromEntries(mapNames.map((name) => [name, Math.round(mapBytes(kernel, name) / 1e5) / 10]));
      const total = Object.values(megabytes).reduce((sum, one) => sum + one, 0);
      console.log(`${MAPPINGS} mappings, one session each: ${total.toFixed(1)} MB`, megabytes);
      const started = performance.now();
      const { steps, sessions } = kernel.sweep(65_536);
      console.log(`sweep of ${steps}: ${((performance.now() - started) * 1e6) / steps} ns a step`);
      expect(sessions).toBe(0);
    } finally {
      kernel.close();
    }
  });

  it('counts events that find the ring full; a snapshot makes it good', () => {
    const kernel = open(1, { map_nat_events: 65_536 });
    try {
      addFlows(kernel, 0, 1000);
      const { eventsLost } = kernel.maps.counters();
      expect(eventsLost).toBeGreaterThan(0n);
      const standby = new NatState();
      const events = kernel.takeEvents();
      for (const event of events) applyNatEvent(standby, event, 0n);
      expect(BigInt(events.length) + eventsLost).toBe(2018n);
      expect(standby.size('mapping')).toBeLessThan(1000);
      restoreNat(standby, snapshotNat(kernel.maps), new Set([NETWORK]), { nowBootNs: 1_000_000_000_000n, clockOffsetNs: 0n });
      compareStores(kernel.maps, standby, ['block', 'source', 'mapping', 'session', 'usage']);
    } finally {
      kernel.close();
    }
  });
});
