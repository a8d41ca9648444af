import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '@weft/testkit';
import type { TapDevice } from '@weft/tuntap';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { port } from './harness.ts';
import { AgentLab, MAIN } from './support/agent-lab.ts';
import { endFlow, type FlowEnd, holdTap, startFlow } from './support/flow.ts';

// From the kernel engine to the user-space engine and back, with VMs that talk. Two packet paths on one host would hand each frame over twice.

const RATE = 500;
const ALL_ONCE = { sent: expect.any(Number), lost: 0, duplicates: 0 };
let lab: AgentLab;
const taps: TapDevice[] = [];
let ends: readonly [FlowEnd, FlowEnd];
beforeAll(async () => {
  lab = await AgentLab.create();
  await Promise.all(['a', 'b'].map((host) => lab.start(host)));
  for (const [n, host] of [
    [1, 'a'],
    [2, 'b'],
  ] as const) {
    expect((await lab.bind(host, n, `vm${n}`)).problems).toEqual([]);
    taps.push(await holdTap(lab.net.host(host), `vm${n}`));
  }
  await lab.converged();
  ends = [
    { tap: taps[0]!, port: port(1) },
    { tap: taps[1]!, port: port(2) },
  ];
});
afterAll(async () => {
  for (const tap of taps) tap.close();
  await lab?.close();
});

/** Pins of attached programs at host b. */
const links = (): string[] =>
  existsSync(lab.pins('b'))
    ? readdirSync(lab.pins('b')).flatMap((layout) => readdirSync(join(lab.pins('b'), layout)).filter((pin) => pin.startsWith('link_')))
    : [];

it('engine: user is refused while the kernel engine is at work, which goes on', async () => {
  const flow = startFlow(ends[0], ends[1], RATE);
  await waitFor(() => flow.sink.stats().matched > 100, { what: 'the first frames' });
  await lab.agents.get('b')!.stop();
  const before = links();
  const agent = await lab.spawn('b', MAIN, { engine: 'user' });
  const { code } = await agent.exited;
  expect(code).toBe(1);
  expect(agent.lastLines().join(' ')).toMatch(
    /Cannot start the user-space engine.*\/sys\/fs\/bpf\/weft\/.*link_from_port_\d+ and 2 more.*--remove-kernel-engine/,
  );
  expect(links()).toEqual(before);
  const seen = flow.sink.stats().matched;
  await waitFor(() => flow.sink.stats().matched > seen + 100, { what: 'more frames' });
  expect(await endFlow(flow)).toEqual(ALL_ONCE);
});

it('with --remove-kernel-engine the kernel engine goes first; each frame comes once', async () => {
  await lab.start('b', MAIN, { engine: 'user', flags: ['--remove-kernel-engine'] });
  expect((await lab.status('b')).engine).toBe('user');
  expect(links()).toEqual([]);
  expect(existsSync(lab.pins('b'))).toBe(false);
  const flows = [startFlow(ends[0], ends[1], RATE), startFlow(ends[1], ends[0], RATE)];
  await waitFor(() => flows.every(({ sink }) => sink.stats().matched > RATE), { what: 'frames both ways' });
  for (const flow of flows) expect(await endFlow(flow)).toEqual(ALL_ONCE);
  expect(await lab.differences('b')).toEqual([]);
});

it('and back to the kernel engine by a start', async () => {
  await lab.agents.get('b')!.stop();
  await lab.start('b', MAIN, { engine: 'auto' });
  expect((await lab.status('b')).engine).toBe('kernel');
  const flow = startFlow(ends[0], ends[1], RATE);
  await waitFor(() => flow.sink.stats().matched > RATE, { what: 'frames' });
  expect(await endFlow(flow)).toEqual(ALL_ONCE);
  expect(links()).toHaveLength(3);
});
