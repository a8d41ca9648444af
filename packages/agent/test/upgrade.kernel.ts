import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink, BpfMap } from '@weft/bpf';
import { run, waitFor } from '@weft/testkit';
import type { TapDevice } from '@weft/tuntap';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { port } from './harness.ts';
import { AgentLab, MAIN } from './support/agent-lab.ts';
import { endFlow, type FlowEnd, holdTap, startFlow } from './support/flow.ts';
import { makeNextVersion, type OtherVersion } from './support/other-version.ts';

// One agent after the other is stopped, and another version of it starts on its pins, while 5,000 frames a second pass both hosts each way:
//
//   generator ─┐                                                                        ┌─ generator
//              TAP vm1 [ host a: version N or N+1 ] ══ underlay ══ [ host b: N or N+1 ] vm2 TAP
//        sink ─┘                                                                        └─ sink

const RATE = 5_000;
const HOSTS = ['a', 'b'] as const;

let lab: AgentLab;
let next: OtherVersion;
const taps = new Map<string, TapDevice>();
beforeAll(async () => {
  next = makeNextVersion('99.0.0');
  lab = await AgentLab.create();
  await Promise.all(HOSTS.map((host) => lab.start(host)));
  for (const [i, host] of HOSTS.entries()) {
    expect((await lab.bind(host, i + 1, `vm${i + 1}`)).problems).toEqual([]);
    taps.set(host, await holdTap(lab.net.host(host), `vm${i + 1}`));
  }
  await lab.converged();
});
afterAll(async () => {
  for (const tap of taps.values()) tap.close();
  await lab?.close();
  next?.remove();
});

/** Tags of the programs that are attached, by the name of their pin. The kernel makes them of the instructions. */
function tags(host: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const version of readdirSync(lab.pins(host))) {
    for (const pin of readdirSync(join(lab.pins(host), version))) {
      if (!pin.startsWith('link_')) continue;
      const link = BpfLink.fromPin(join(lab.pins(host), version, pin));
      found[pin] = /^prog_tag:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${link.fd}`, 'utf8'))?.[1] ?? '';
      link.close();
    }
  }
  return found;
}

/** Frames that the later version's programs have counted; undefined while the map is not there. */
function counted(host: string): number | undefined {
  const [version] = readdirSync(lab.pins(host));
  const path = join(lab.pins(host), version!, 'map_next');
  if (!readdirSync(join(lab.pins(host), version!)).includes('map_next')) return undefined;
  const map = BpfMap.fromPin(path);
  const value = map.lookup(new Uint8Array(4))!;
  map.close();
  return Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
}

async function replaceAgent(host: 'a' | 'b', main: string, version: string): Promise<void> {
  const [before, frames] = [tags(host), await forwarded(host)];
  await lab.agents.get(host)!.stop();
  // Without any agent the kernel goes on.
  await waitFor(async () => (await forwarded(host)) > frames + 500, { what: `host ${host} to forward without its agent` });
  await lab.start(host, main);
  expect((await lab.status(host)).version).toBe(version);
  const after = tags(host);
  expect(Object.keys(after).sort()).toEqual(Object.keys(before).sort());
  for (const [pin, tag] of Object.entries(after)) expect([pin, tag]).not.toEqual([pin, before[pin]]);
  for (const each of HOSTS) expect(await lab.differences(each)).toEqual([]);
}

/** Frames that the underlay device has sent. */
async function forwarded(host: string): Promise<number> {
  const { netns } = lab.net.host(host);
  const { stdout } = await run('ip', ['-json', '-s', 'link', 'show', 'dev', 'underlay0'], { netns });
  return (JSON.parse(stdout) as { stats64: { tx: { packets: number } } }[])[0]!.stats64.tx.packets;
}

describe('an upgrade under load, one agent after the other', () => {
  const whileTraffic = async (work: () => Promise<void>): Promise<void> => {
    const ends = HOSTS.map((host, i) => ({ tap: taps.get(host)!, port: port(i + 1) })) as [FlowEnd, FlowEnd];
    const flows = [startFlow(ends[0], ends[1], RATE), startFlow(ends[1], ends[0], RATE)];
    try {
      await waitFor(() => flows.every(({ sink }) => sink.stats().matched > 100), { what: 'the first frames' });
      await work();
      await waitFor(() => flows.every(({ generator }) => generator.sent > RATE), { what: 'a second of frames' });
    } finally {
      for (const { generator } of flows) generator.stop();
    }
    for (const flow of flows) {
      const { sent: _, ...rest } = await endFlow(flow);
      expect([flow.name, rest]).toEqual([flow.name, { lost: 0, duplicates: 0 }]);
    }
  };

  it('to a later version loses no frame, replaces the programs, and makes the map that the pins lack', async () => {
    const ours = (await lab.status('a')).version;
    expect(HOSTS.map(counted)).toEqual([undefined, undefined]);
    await whileTraffic(async () => {
      await replaceAgent('a', next.main, next.version);
      expect([await lab.status('a'), await lab.status('b')].map(({ version }) => version)).toEqual([next.version, ours]);
      await replaceAgent('b', next.main, next.version);
      for (const host of HOSTS) {
        const before = counted(host)!;
        await waitFor(() => counted(host)! > before + 1_000, { what: `host ${host} to use the later version's map` });
      }
    });
  });

  it('and back loses no frame, and leaves the map that the earlier version does not know', async () => {
    const version = /AGENT_VERSION = '([^']+)'/.exec(readFileSync(join(MAIN, '../run-agent.js'), 'utf8'))![1]!;
    await whileTraffic(async () => {
      for (const host of HOSTS) await replaceAgent(host, MAIN, version);
    });
    const before = HOSTS.map(counted);
    expect(before.every((count) => count! > 1_000)).toBe(true);
    await whileTraffic(() => Promise.resolve());
    expect(HOSTS.map(counted)).toEqual(before);
  });

  it('and once more forward takes the map up again', async () => {
    const before = HOSTS.map((host) => counted(host)!);
    await whileTraffic(async () => {
      await replaceAgent('a', next.main, next.version);
      await waitFor(() => counted('a')! > before[0]! + 1_000, { what: 'host a to use its map again' });
      await replaceAgent('a', MAIN, (await lab.status('b')).version);
    });
  });
});
