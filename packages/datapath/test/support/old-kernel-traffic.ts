import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { queryClsact } from '@weft/bpf';
import { dropReasonName } from '@weft/model';
import { parseIp } from '@weft/packet';
import { createKernelDatapath, type KernelDatapath } from '../../src/index.ts';
import { inNetnsOf, type Lab, type LabPort, sh } from './lab.ts';
import { RecordedPings } from './recorded-pings.ts';

// Traffic between two hosts on an old kernel, over a restart of the engine. Runs inside a guest, by old-kernel-guest.ts.

const TCP_BYTES = 300_000;
const PLACE = { handle: 0x5746, priority: 1 } as const;

/** What came of it; the test in the guest's host says what it must be. */
export interface TrafficReport {
  readonly pings: readonly string[];
  readonly tcpBytes: readonly number[];
  readonly isReplaced: boolean;
  readonly attached: boolean;
  /** Pings. */
  readonly overRestart: { readonly answered: number; readonly gaps: readonly string[] };
  /** If some are missing: what was dropped, and which neighbours are known. */
  readonly lost?: object;
  /** GSO frames that went by the VXLAN device. */
  readonly climbed: number;
}

/** @param lab Two hosts without ports. */
export async function traffic(lab: Lab): Promise<TrafficReport> {
  const subnet = { vsid: 5001, networkId: 7, prefix: '10.1.1' };
  const here = lab.addPort(lab.a, { kind: 'veth', subnet, number: 1 });
  const there = lab.addPort(lab.b, { kind: 'veth', subnet, number: 2 });
  const pings = [ping(here, `-c 1 ${there.ca}`), ping(here, `-6 -c 1 ${there.ca6}`)];
  const tcpBytes = [await tcp(here, there, there.ca), await tcp(here, there, there.ca6)];

  const id = (): number | undefined => lab.a.in(() => queryClsact(here.ifindex, 'ingress', PLACE));
  const before = id();
  const pingsOn = new RecordedPings(here.vmNetns!, there.ca, 50);
  await pingsOn.untilAnswered(5);
  lab.a.datapath.close();
  const next = lab.a.in(() => createKernelDatapath({ instance: lab.a.netns, pa: parseIp(lab.a.pa), underlayInterface: 'under0' }));
  const attached = lab.a.in(() => next.attachedDevices().includes(here.ifindex));
  await pingsOn.untilAnswered(5);
  const overRestart = await pingsOn.stop();
  const drops = { a: next, b: lab.b.datapath };
  const lost = overRestart.gaps.length === 0 ? undefined : whatWasLost(drops, [lab.a.netns, lab.b.netns, here.vmNetns!]);
  next.close();
  const climbed = lab.b.in(() => Number(/weft-tun0: *\d+ +(\d+)/.exec(readFileSync('/proc/thread-self/net/dev', 'utf8'))?.[1]));
  const after = id();
  return {
    pings,
    tcpBytes,
    isReplaced: before !== undefined && after !== undefined && before !== after,
    attached,
    overRestart,
    ...(lost && { lost }),
    climbed,
  };
}

function whatWasLost(at: Readonly<Record<string, KernelDatapath>>, namespaces: readonly string[]): object {
  const drops = Object.entries(at).flatMap(([host, datapath]) =>
    datapath.drops().map(({ reason, ifindex, packets }) => `${host} ${ifindex}: ${packets} ${dropReasonName(reason)}`),
  );
  return { drops, neighbours: namespaces.map((netns) => sh(`ip -s -n ${netns} neigh`)) };
}

function ping(from: LabPort, words: string): string {
  return received(sh(`nsenter ${inNetnsOf(from)} ping ${words} || true`));
}

function received(text: string): string {
  return /\d+ packets transmitted, \d+ packets received/.exec(text)?.[0] ?? text;
}

/** Unfinished checksums and super-frames, as stacks of VMs make them. @returns Bytes that arrived. */
async function tcp(from: LabPort, to: LabPort, address: string): Promise<number> {
  const port = address.includes(':') ? 5006 : 5004;
  const server = spawn('sh', ['-c', `nsenter ${inNetnsOf(to)} timeout 50 nc -l -p ${port} | wc -c`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  }); // an nc whose input ends makes the other one end
  let text = '';
  server.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const ended = once(server, 'close');
  sh(`for i in $(seq 100); do nsenter ${inNetnsOf(to)} netstat -ltn | grep -q :${port} && break; usleep 200000; done`);
  sh(`head -c ${TCP_BYTES} /dev/zero | nsenter ${inNetnsOf(from)} timeout 50 nc ${address} ${port} || true`);
  await ended;
  return Number(text);
}
