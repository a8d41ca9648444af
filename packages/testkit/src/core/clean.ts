import { existsSync, rmSync } from 'node:fs';
import { CommandScope } from './command-scope.ts';
import { CommandError, TestkitError, TestkitErrorCode } from './errors.ts';
import { findProcessesByEnvironment, isProcessAlive, type ProcessIdentity, signalProcess } from './process-identity.ts';
import { closeLab, LAB_TOKEN_VARIABLE, type LabRecord, labFile, labNames, readLabRecords } from './registry.ts';
import { run } from './run.ts';
import { sleep } from './wait.ts';

export interface CleanResult {
  /** False when no lab of that name was recorded. */
  readonly found: boolean;
  /** Counts of what was still there and has been removed. */
  readonly processes: number;
  readonly namespaces: number;
  readonly devices: number;
  readonly tables: number;
  readonly paths: number;
}

export interface LabSummary {
  readonly name: string;
  readonly createdAtMs: number;
  /** The process that made the lab, and whether it still runs. */
  readonly owner: ProcessIdentity;
  readonly ownerAlive: boolean;
  /** Meant to outlive its maker. */
  readonly kept: boolean;
  readonly namespaces: readonly string[];
  readonly processes: readonly { readonly pid: number; readonly what: string; readonly alive: boolean }[];
}

/** The labs recorded on this machine, by name. Records that can't be read are left out. */
export function listLabs(): LabSummary[] {
  const labs: LabSummary[] = [];
  for (const name of labNames()) {
    const records = readLabRecords(name) ?? [];
    const head = records.find((record) => record.kind === 'lab');
    if (head === undefined) continue;
    labs.push({
      name,
      createdAtMs: head.createdAtMs,
      owner: head.owner,
      ownerAlive: isProcessAlive(head.owner),
      kept: records.some((record) => record.kind === 'keep'),
      namespaces: records.filter((record) => record.kind === 'netns').map((record) => record.name),
      processes: records
        .filter((record) => record.kind === 'process')
        .map((record) => ({ pid: record.pid, what: record.what, alive: isProcessAlive(record) })),
    });
  }
  return labs;
}

/**
 * Removes all that a lab made: its processes (only those whose pid *and* start time are the recorded ones, or which carry its token),
 * then nftables tables, devices, namespaces, pins and directories, and last its journal.
 *
 * First the lab is closed: nothing more is made in it. A command that is making something right now is waited for, or ended, and its work
 * removed with the rest. Of two that clean the same lab at once in one process the second waits for the first.
 *
 * What is absent is passed over, so it may be called for a lab that was half made, half removed, or never was.
 *
 * @param options.graceMs Time between SIGTERM and SIGKILL. Default 1,500.
 * @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when something that is there could not be removed; all else has been, and the journal stays.
 */
export async function cleanLab(name: string, options: { readonly graceMs?: number } = {}): Promise<CleanResult> {
  const before = underWay.get(name);
  // The caller may itself be part of what is closed: a maker that removes what it has half made.
  const cleaning = CommandScope.outside(async () => {
    await before?.catch(() => {});
    return await cleanAlone(name, options.graceMs ?? 1_500);
  });
  underWay.set(name, cleaning);
  try {
    return await cleaning;
  } finally {
    if (underWay.get(name) === cleaning) underWay.delete(name);
  }
}

/** The clean-ups of this process that run, by the lab's name. */
const underWay = new Map<string, Promise<CleanResult>>();

async function cleanAlone(name: string, graceMs: number): Promise<CleanResult> {
  const counts = { processes: 0, namespaces: 0, devices: 0, tables: 0, paths: 0 };
  const first = readLabRecords(name);
  if (first === undefined) return { found: false, ...counts };
  for (const record of first) if (record.kind === 'lab') await closeLab(name, record.token).settle();

  // Another process may have written a record in the same moment, and have made the thing a little later: so look until nothing is new.
  for (let seen = -1, round = 0; round < 5; round++) {
    const records = readLabRecords(name) ?? [];
    if (records.length === seen) break;
    seen = records.length;
    counts.processes += await endProcesses(records, graceMs);
    const removed = await removeAll(name, records);
    for (const key of ['namespaces', 'devices', 'tables', 'paths'] as const) counts[key] += removed[key];
  }
  rmSync(labFile(name), { force: true });
  return { found: true, ...counts };
}

/** @throws {TestkitError} When some of it could not be removed. */
async function removeAll(name: string, records: readonly LabRecord[]): Promise<Omit<CleanResult, 'found' | 'processes'>> {
  const failures: string[] = [];
  const removed = { tables: 0, devices: 0, namespaces: 0, paths: 0 };
  for (const kind of ['nft', 'device', 'netns', 'pins', 'dir'] as const) {
    // Last made, first removed.
    for (const record of records.filter((candidate) => candidate.kind === kind).reverse()) {
      try {
        if (await remove(record)) removed[countedAs(kind)] += 1;
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
  }
  if (failures.length > 0) {
    throw new TestkitError(TestkitErrorCode.Lab, `Cannot remove all of lab "${name}": ${failures.join('; ')}`);
  }
  return removed;
}

/** Cleans every lab whose maker is gone and which was not meant to outlive it. Returns their names. */
export async function cleanDeadLabs(namePrefix = ''): Promise<string[]> {
  const dead = listLabs().filter((lab) => lab.name.startsWith(namePrefix) && !lab.ownerAlive && !lab.kept);
  for (const lab of dead) await cleanLab(lab.name);
  return dead.map((lab) => lab.name);
}

async function endProcesses(records: readonly LabRecord[], graceMs: number): Promise<number> {
  const ended = new Set<string>();
  const recorded = records.filter((record) => record.kind === 'process');
  const tokens = records.filter((record) => record.kind === 'lab').map((record) => record.token);
  const living = (): ProcessIdentity[] => {
    const all = [...recorded, ...tokens.flatMap((token) => findProcessesByEnvironment(LAB_TOKEN_VARIABLE, token))];
    const byPid = new Map(all.filter((one) => one.pid !== process.pid && isProcessAlive(one)).map((one) => [one.pid, one]));
    return [...byPid.values()];
  };
  const started = performance.now();
  for (let round = 0; ; round++) {
    const left = living();
    if (left.length === 0) return ended.size;
    const late = performance.now() - started >= graceMs;
    for (const one of left) {
      // SIGTERM once; a process that appears later (a child of one that is going) gets its own.
      const key = `${one.pid}/${one.startTime}`;
      if (late) signalProcess(one, 'SIGKILL');
      else if (!ended.has(key)) signalProcess(one, 'SIGTERM');
      ended.add(key);
    }
    // A killed process that stays (an uninterruptible wait) must not hang the clean-up.
    if (round > 0 && performance.now() - started >= graceMs + 5_000) return ended.size;
    await sleep(15);
  }
}

function countedAs(kind: 'nft' | 'device' | 'netns' | 'pins' | 'dir'): 'tables' | 'devices' | 'namespaces' | 'paths' {
  return kind === 'nft' ? 'tables' : kind === 'device' ? 'devices' : kind === 'netns' ? 'namespaces' : 'paths';
}

/** Removes one thing; false when it was not there. */
async function remove(record: LabRecord): Promise<boolean> {
  switch (record.kind) {
    case 'netns':
      return (
        existsSync(`/run/netns/${record.name}`) &&
        (await tolerate(run('ip', ['netns', 'del', record.name], { ownSession: true }), /No such file/))
      );
    case 'device': {
      if (record.netns !== undefined && !existsSync(`/run/netns/${record.netns}`)) return false;
      const where = record.netns === undefined ? [] : ['-n', record.netns];
      return tolerate(run('ip', [...where, 'link', 'del', record.name], { ownSession: true }), /Cannot find device|does not exist/);
    }
    case 'nft': {
      if (record.netns !== undefined && !existsSync(`/run/netns/${record.netns}`)) return false;
      const command = run('nft', ['delete', 'table', record.family, record.table], { netns: record.netns, ownSession: true });
      return tolerate(command, /No such file or directory/);
    }
    case 'dir':
    case 'pins':
      if (!existsSync(record.path)) return false;
      rmSync(record.path, { recursive: true, force: true });
      return true;
    default:
      return false;
  }
}

async function tolerate(command: Promise<unknown>, absent: RegExp): Promise<boolean> {
  try {
    await command;
    return true;
  } catch (error) {
    if (error instanceof CommandError && absent.test(error.stderr)) return false;
    throw error;
  }
}
