import { createHash } from 'node:crypto';
import { configKey, configPrefix, TrustStore, type VirtualNetwork } from '@weft/model';
import { NetworkView } from '@weft/tables';
import { FakeClock, waitFor } from '@weft/testkit';
import { afterEach, describe, expect, it } from 'vitest';
import { DigestExchange } from '../src/digest-exchange.ts';
import type { HostAgentInit } from '../src/index.ts';
import { type Host, Lab, network, portId } from './harness.ts';

// What is done for each network must not be done once more for each of the others.

const rdidOf = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;

describe('an agent with many networks', () => {
  let lab: Lab;
  afterEach(() => lab.close());

  function networkAt(i: number): VirtualNetwork {
    const one = network();
    const subnets = one.subnets.map((subnet, s) => ({ ...subnet, vsid: 6_000 + 2 * i + s }));
    return { ...one, id: rdidOf(i), name: `n${i}`, networkId: 100 + i, subnets };
  }

  async function putPort(n: number, i: number): Promise<void> {
    const one = networkAt(i);
    await lab.putPort(n, {
      routingDomainId: one.id,
      network: one.name,
      vsid: one.subnets[0]!.vsid,
      addresses: [`192.0.2.${20 + (n % 40)}`],
    });
  }

  async function hostWith(count: number, init: Partial<HostAgentInit> = {}): Promise<Host> {
    lab = new Lab();
    const networks = Array.from({ length: count }, (_, i) => networkAt(i));
    await lab.init(networks);
    const host = await lab.host('host-a', { init });
    for (const [i, one] of networks.entries()) {
      await putPort(i + 1, i);
      expect((await lab.bind(host, i + 1, { rdid: one.id })).problems).toEqual([]);
    }
    await lab.settle(1_000);
    return host;
  }

  it('reads the packet path twice at a restart, not for each network that is read again', async () => {
    const host = await hostWith(30);
    const rows = host.datapath.entries().length;
    lab.kill(host);
    host.datapath.rowsRead = 0;
    host.datapath.history.length = 0;
    await lab.startAgent(host);
    await lab.settle(2_000);
    expect(host.agent.ready).toBe(true);
    expect(host.datapath.history).toEqual([]);
    // What the last run left, and once more when all is complete.
    expect(host.datapath.rowsRead).toBe(2 * rows);
  }, 60_000);

  async function untilReady(host: Host): Promise<void> {
    await waitFor(
      async () => {
        await lab.settle(100);
        return host.agent.ready;
      },
      { what: 'the agent to have read its networks', deadlineMs: 20_000, intervalMs: 1 },
    );
  }

  it('reads them out of one copy of the store after a restart, and misses nothing that changed meanwhile', async () => {
    const count = 80;
    const host = await hostWith(count);
    const { config, mapping } = lab.store.buckets;
    lab.kill(host);
    // While it is away: a network gets a port, one loses its own without a trace.
    await putPort(201, 7);
    config.values.delete(configKey.port(rdidOf(3), portId(4)));
    // After the copy was read, and before any network is read out of it, another port comes, which an event tells of.
    config.onSnapshot = async (prefix) => {
      if (prefix !== configPrefix.networks) return;
      config.onSnapshot = async () => {};
      await putPort(202, 9);
      await lab.settle();
    };
    config.snapshots = 0;
    config.reads = 0;
    mapping.snapshots = 0;
    await lab.startAgent(host);
    await untilReady(host);
    // Principals, gateways, claims, … are read, too: what matters is that it does not grow with the networks.
    expect(config.snapshots + mapping.snapshots).toBeLessThan(count / 4);
    expect(config.reads).toBeLessThan(count / 4);
    lab.store.digests.length = 0;
    await lab.settle(10_000);
    // Its document, ports and bindings.
    const records = (i: number) => lab.store.digests.findLast(({ digest }) => digest.routingDomainId === rdidOf(i))?.digest.recordCount;
    expect([0, 3, 7, 9].map(records)).toEqual([3, 2, 4, 4]);
    for (let i = 0; i < count; i++) expect(host.agent.networkCounters()[rdidOf(i)]!.refused, `network ${i}`).toBe(0);
  }, 60_000);

  it('looks at the store for all of them at once, now and then', async () => {
    const count = 80;
    const host = await hostWith(count, { resyncMs: { min: 60_000, max: 120_000 } });
    const { config, mapping } = lab.store.buckets;
    const resyncs = () => Object.values(host.agent.networkCounters()).map((counters) => counters.resyncs);
    const before = resyncs();
    config.snapshots = 0;
    mapping.snapshots = 0;
    await waitFor(
      async () => {
        await lab.settle(5_000);
        return resyncs().every((now, i) => now >= before[i]! + 3);
      },
      { what: 'each network to have been read three times', deadlineMs: 20_000, intervalMs: 1 },
    );
    expect(config.snapshots + mapping.snapshots).toBeLessThan(count / 2);
  }, 60_000);

  it('reads few one by one, though the store has many', async () => {
    const host = await hostWith(2);
    const { config } = lab.store.buckets;
    for (let i = 2; i < 70; i++) await lab.putNetwork(networkAt(i));
    lab.kill(host);
    const prefixes: string[] = [];
    config.onSnapshot = async (prefix) => void prefixes.push(prefix);
    await lab.startAgent(host);
    await untilReady(host);
    expect(prefixes).not.toContain(configPrefix.networks);
    expect(prefixes).toContain(configPrefix.ports(rdidOf(0)));
  }, 60_000);
});

describe('DigestExchange', () => {
  /** Digests that one network of `followed` sends in 2,000 s, an hour after the start, when nobody else is heard. */
  function sent(followed: number): number {
    const clock = new FakeClock(1_000);
    let count = 0;
    let seed = 7;
    const random = (): number => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    const view = new NetworkView({
      routingDomainId: rdidOf(1),
      hostId: 'host-a',
      pa: new Uint8Array(16),
      mtuBytes: 1_450,
      sha256: (data) => createHash('sha256').update(data).digest(),
    });
    const digests = new DigestExchange({
      ...{ rdid: rdidOf(1), hostId: 'host-a', view, trust: new TrustStore([]), random, followed: () => followed },
      clock: {
        now: () => clock.now(),
        unixMs: () => 0,
        setTimeout: (callback, ms) => clock.setTimeout(callback, ms),
        clearTimeout: (handle) => clock.clearTimeout(handle),
      },
      counters: { digestsSent: 0, digestsHeard: 0, digestsDifferent: 0 },
      publish: () => {},
      ...{ onRefused: () => {}, onResync: () => {}, onResyncAt: () => {}, onRearm: () => {} },
    });
    for (let now = 1_000; now < 5_601_000; now += 500) if (digests.tick(now) && now >= 3_601_000) count++;
    return count;
  }

  it('are sent every 4 s by a host with few networks, and 50 a second in all by one with many', () => {
    expect(Math.abs(sent(1) - 500)).toBeLessThan(5);
    expect(Math.abs(sent(200) - 500)).toBeLessThan(5);
    // Every 200 s.
    expect(Math.abs(sent(10_000) - 10)).toBeLessThan(2);
  });
});
