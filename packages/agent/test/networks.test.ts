import { beforeEach, describe, expect, it } from 'vitest';
import type { NetworkSession } from '../src/network-session.ts';
import { Networks, type NetworksComponents } from '../src/networks.ts';

const rdid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;

describe('Networks', () => {
  const all = Array.from({ length: 3_000 }, (_, n) => rdid(n));
  const told: string[] = [];
  let listening = 0;
  let networks: Networks;
  beforeEach(() => {
    told.length = 0;
    listening = 0;
    const listen = () => {
      listening++;
      return { stop: async () => void listening-- };
    };
    networks = new Networks({
      init: { hostId: 'host-a', providerAddress: '10.9.0.1', underlayMtu: 1_500 },
      clock: { now: () => performance.now(), unixMs: () => 0, setTimeout: () => 0, clearTimeout: () => {} },
      logger: { debug() {}, info() {}, warn() {}, error() {} },
      session: {
        clock: { now: () => 0, unixMs: () => 0, setTimeout: () => 0, clearTimeout: () => {} },
        random: () => 0.5,
        followed: () => 0,
        bus: { onEvents: listen, onDigest: listen },
      },
      onJoin: (sessions: readonly NetworkSession[]) => told.push(...sessions.map((session) => session.rdid)),
      onLeave: () => {},
    } as unknown as NetworksComponents);
  });

  it('tells of a network before anything is claimed in it, also when it is being taken up with many others', async () => {
    const joining = networks.joinAll(all);
    expect(networks.size).toBeGreaterThan(0);
    expect(networks.size).toBeLessThan(all.length);
    expect(told).toEqual([]);
    networks.join(rdid(0));
    expect(told).toEqual([rdid(0)]);
    networks.join(rdid(0));
    await joining;
    // Each once.
    expect([...told].sort()).toEqual(all);
    networks.join(rdid(1));
    expect(told).toHaveLength(all.length);
  });

  it('listens in none after it was stopped, also if that was while many were taken up', async () => {
    const joining = networks.joinAll(all);
    expect(listening).toBe(2 * networks.size);
    expect(networks.size).toBeLessThan(all.length);
    await networks.stop();
    await joining;
    expect(listening).toBe(0);
    expect(networks.size).toBeLessThan(all.length);
  });
});
