import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createExternalNetwork,
  createLabNet,
  type ExternalNetwork,
  type LabNet,
  type NetnsEndpoint,
  openExternalNetwork,
  ping,
  run,
  uniqueName,
  waitFor,
} from '../src/index.ts';

/** A way that was closed comes back when the neighbours are asked for again: not by the first ping, always. */
const untilReached = (from: NetnsEndpoint, to: string): Promise<true> =>
  waitFor(async () => (await ping(from, to)).received === 1, { what: `${from.name} to reach ${to}`, deadlineMs: 15_000 });

describe('an external network', () => {
  let lab: LabNet;
  let internet: ExternalNetwork;
  beforeAll(async () => {
    lab = await createLabNet({ name: uniqueName('tk-'), hosts: [{ name: 'g1' }, { name: 'g2' }, { name: 'h1' }] });
    internet = await createExternalNetwork(lab.registry, { name: 'internet', members: [lab.host('g1'), lab.host('g2')] });
  });
  afterAll(async () => {
    await lab.close();
    const { stdout } = await run('ip', ['netns', 'list']);
    expect(stdout).not.toContain(`weft-${lab.name}-`);
  });

  it('joins its members with the router, and with the servers behind it', async () => {
    for (const name of ['g1', 'g2']) {
      for (const to of [internet.nextHops.v4, internet.nextHops.v6, ...internet.servers]) {
        expect(await ping(lab.host(name), to), `${name} ${to}`).toMatchObject({ received: 1 });
      }
    }
    expect(await ping(internet.outside, internet.address(3))).toMatchObject({ received: 1 });
    expect(internet.address(16)).toBe('203.0.113.16');
    expect(internet.address(16, 6)).toBe('2001:db8:ffff::10');
  });

  it('is not reached by a host that is no member', async () => {
    expect(await ping(lab.host('h1'), internet.address(2))).toMatchObject({ received: 0 });
  });

  it('can be partitioned one way, both ways, and mended', async () => {
    const [g1, g2] = [lab.host('g1'), lab.host('g2')];
    await internet.faults.block('g1', 'g2');
    expect(await ping(g1, internet.address(3))).toMatchObject({ received: 0 });
    expect(await ping(g1, internet.nextHops.v4)).toMatchObject({ received: 1 });
    await internet.faults.join('g1', 'g2');
    await untilReached(g1, internet.address(3));
    await internet.faults.separate('g1', 'g2');
    expect(await ping(g2, internet.address(2))).toMatchObject({ received: 0 });
    await internet.faults.join('g2', 'g1');
    await internet.faults.cut('router');
    expect(await ping(g2, internet.nextHops.v4)).toMatchObject({ received: 0 });
    await internet.faults.restore('router');
    await untilReached(g2, internet.nextHops.v4);
  });

  it('lets the underlay be partitioned one way as well', async () => {
    const [g1, g2, h1] = [lab.host('g1'), lab.host('g2'), lab.host('h1')];
    await lab.faults.block('g2', 'g1');
    expect(await ping(g1, g2.address)).toMatchObject({ received: 0 });
    expect(await ping(h1, g2.address)).toMatchObject({ received: 1 });
    await lab.faults.join('g1', 'g2');
    await untilReached(g1, g2.address);
  });

  it('can be opened by another process', async () => {
    const opened = openExternalNetwork(lab.name, 'internet');
    expect(opened?.outside.netns).toBe(internet.outside.netns);
    expect(openExternalNetwork(lab.name, 'none')).toBeUndefined();
  });
});
