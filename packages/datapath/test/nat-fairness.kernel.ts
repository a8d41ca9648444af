import { poolShare, sessionsInUse, sessionsShare } from '@weft/forwarding';
import { DropReason } from '@weft/model';
import { parseIp } from '@weft/packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXTERNAL, flowOf, NatBench, NETWORKS, SEGMENT } from './support/nat-bench.ts';
import { compileHarness } from './support/nat-harness.ts';

// What one network does takes nothing from another's fragments: each step is the oracle's, too.

const [CULPRIT, OTHER] = NETWORKS as [number, number];
const REMOTE = parseIp('198.51.100.1');
/** More than the harness's cache holds (4,096): an order of age alone would throw the other's out. */
const FLOOD = 10_000;
const QUOTA = { blocks: 100, blocksPerSource: 100, sessions: 10_000, newFlowsPerSecond: 0 };

let harness: ReturnType<typeof compileHarness>;
let bench: NatBench;
beforeAll(() => {
  harness = compileHarness();
  bench = new NatBench(harness.path, { blocksPerAddress: 3, quota: QUOTA });
});
afterAll(() => {
  bench?.close();
  harness?.remove();
});

describe('a flood of first fragments', () => {
  it("of one network leaves another's fragments translated, on the way out", () => {
    const datagram = flowOf({ networkId: OTHER, near: parseIp('10.0.0.2'), remote: REMOTE, isFragment: true, fragmentId: 77 });
    const { address } = bench.outbound({ ...datagram, nearPort: 1_000, remotePort: 53 }, 1);
    const flood = flowOf({
      networkId: CULPRIT,
      near: parseIp('10.0.0.1'),
      remote: REMOTE,
      nearPort: 1_000,
      remotePort: 53,
      isFragment: true,
    });
    for (let id = 0; id < FLOOD; id++) bench.outbound({ ...flood, fragmentId: id }, 1);
    expect(bench.outbound({ ...datagram, hasL4Header: false }, 1)).toMatchObject({ reason: 0, address });
    // Of its own the last 256 are there.
    const own = { ...flood, hasL4Header: false, nearPort: 0, remotePort: 0 };
    expect(bench.outbound({ ...own, fragmentId: FLOOD - 256 }, 1).reason).toBe(0);
    expect(bench.outbound({ ...own, fragmentId: FLOOD - 257 }, 1).reason).not.toBe(0);
  });

  it("to one external address leaves another's fragments translated, on the way in", () => {
    const ports = { nearPort: 2_000, remotePort: 53 };
    const [to, otherTo] = [
      bench.outbound(flowOf({ networkId: CULPRIT, near: parseIp('10.0.0.1'), remote: REMOTE, ...ports }), 1),
      bench.outbound(flowOf({ networkId: OTHER, near: parseIp('10.0.0.2'), remote: REMOTE, ...ports }), 1),
    ];
    expect(to.address).not.toEqual(otherTo.address);
    const arrived = (of: typeof to, id: number) =>
      flowOf({ near: of.address, remote: REMOTE, nearPort: of.port, remotePort: 53, isFragment: true, fragmentId: id });
    bench.inbound(arrived(otherTo, 77));
    for (let id = 0; id < FLOOD; id++) bench.inbound(arrived(to, id));
    expect(bench.inbound({ ...arrived(otherTo, 77), nearPort: 0, remotePort: 0, hasL4Header: false })).toMatchObject({
      reason: 0,
      networkId: OTHER,
    });
  });

  it('gives a later fragment what its own first one told, be the slot the same', () => {
    const first = (id: number, ca: string) =>
      flowOf({ networkId: CULPRIT, near: parseIp(ca), remote: REMOTE, nearPort: 1_000, remotePort: 53, isFragment: true, fragmentId: id });
    for (let id = 0; id < 600; id++) {
      bench.outbound(first(id, '10.0.0.1'), 1);
      bench.outbound({ ...first(id + 256, '10.0.0.1'), hasL4Header: false, nearPort: 0, remotePort: 0 }, 1);
      bench.outbound({ ...first(id, '10.0.0.3'), hasL4Header: false, nearPort: 0, remotePort: 0 }, 1);
    }
  });
});

describe('a flood of flows', () => {
  const ROOM = 4_096;

  it("of one network whose quota is as large as the table leaves room for another's", () => {
    const bench = new NatBench(harness.path, {
      blocksPerAddress: 20,
      quota: { blocks: 100, blocksPerSource: 100, sessions: 65_536, newFlowsPerSecond: 0 },
      sizes: { map_nat_session: ROOM, map_nat_mapping: ROOM },
    });
    try {
      expect(bench.kernel.maps.sessionsMax).toBe(ROOM);
      const flood = flowOf({ networkId: CULPRIT, near: parseIp('10.0.0.1'), remote: REMOTE, nearPort: 1_000 });
      let refused = 0;
      for (let flows = 0; flows < 2 * ROOM; flows++) {
        // As the agent does each second: here every 500 flows.
        if (flows % 500 === 0) {
          const { used, networks } = sessionsInUse(bench.state);
          bench.shareSessions(sessionsShare(used, ROOM, networks));
        }
        const { reason } = bench.outbound({ ...flood, remotePort: 1 + flows }, 1);
        if (reason !== 0) refused++;
        if (reason !== 0) expect(reason).toBe(DropReason.NAT_FLOW_QUOTA);
      }
      expect(refused).toBeGreaterThan(ROOM);
      const other = flowOf({ networkId: OTHER, near: parseIp('10.0.0.2'), remote: REMOTE, remotePort: 53 });
      for (let port = 0; port < ROOM / 8; port++) expect(bench.outbound({ ...other, nearPort: 1_000 + port }, 1).reason).toBe(0);
      bench.compare();
    } finally {
      bench.close();
    }
  });
});

describe('a flood of ports', () => {
  it('of one network whose quota is all of the pool leaves another its share', () => {
    const OWN = [20, 20, 20];
    const quota = { blocks: 60, blocksPerSource: 60, sessions: 10_000, newFlowsPerSecond: 0 };
    const bench = new NatBench(harness.path, { blocksPerAddress: OWN[0]!, quota });
    try {
      const look = (): number => {
        const networks = NETWORKS.map((networkId) => ({ blocks: bench.state.usage(networkId).blocks, quota: quota.blocks }));
        const rings = OWN.map((own, i) => ({
          own,
          free: () => bench.state.get('free', { segment: SEGMENT, address: EXTERNAL[i]! })!.blocks.length,
        }));
        const share = poolShare({ rings, networks });
        bench.shareBlocks(1, share);
        return share!.blocks;
      };
      expect(look()).toBe(7);
      const flood = flowOf({ networkId: CULPRIT, near: parseIp('10.0.0.1'), remote: REMOTE, remotePort: 53 });
      for (let port = 0; port < 60 * 64; port++) {
        if (port % 300 === 0) look();
        const { reason } = bench.outbound({ ...flood, nearPort: 1_000 + port }, 1);
        if (reason !== 0) expect(reason).toBe(DropReason.NAT_BLOCK_QUOTA);
      }
      // All but a share for the other, rounded up for each of three addresses.
      expect(bench.state.usage(CULPRIT)).toMatchObject({ blocks: 51, exhausted: 0n });
      const other = flowOf({ networkId: OTHER, near: parseIp('10.0.0.2'), remote: REMOTE, remotePort: 53 });
      for (let port = 0; port < 7 * 64; port++) expect(bench.outbound({ ...other, nearPort: 1_000 + port }, 1).reason).toBe(0);
      bench.compare();
    } finally {
      bench.close();
    }
  });
});
