import { readFileSync } from 'node:fs';
import type { Lab } from '@weft/lab';

/** Clock ticks a second that /proc counts in: a constant of the kernel's interface (USER_HZ). */
const TICKS = 100;
const REST_MS = 15_000;

/** What each agent of the lab takes of one processor while nothing happens, in percent, by host. */
export async function cpuAtRest(lab: Lab): Promise<ReadonlyMap<string, number>> {
  const hosts = [...lab.net.hosts.keys()];
  const before = new Map(hosts.map((host) => [host, cpuMs(lab.agent(host).pid)]));
  const startedMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  const elapsedMs = performance.now() - startedMs;
  return new Map(hosts.map((host) => [host, ((cpuMs(lab.agent(host).pid) - before.get(host)!) / elapsedMs) * 100]));
}

/** User and system time of a process; `stat` has them as fields 14 and 15, counted from behind its name, which may hold spaces. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / TICKS) * 1_000;
}
