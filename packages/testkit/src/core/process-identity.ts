import { readdirSync, readFileSync } from 'node:fs';

/**
 * A process told apart from any later one with the same number: its pid and the time it started, in clock ticks since boot
 * (`proc(5)`, `/proc/PID/stat` field 22). A pid alone is reused.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: number;
}

interface ProcStat {
  readonly state: string;
  readonly startTime: number;
}

function readStat(pid: number): ProcStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // Field 2 is the command in parentheses and may itself hold spaces and parentheses, so count from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '', startTime: Number(fields[19]) };
}

/** Identity of a running (or not yet reaped) process, or undefined when there is none with this pid. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined ? undefined : { pid, startTime: stat.startTime };
}

/** Whether exactly this process still runs. A zombie counts as ended: nothing of it acts any more. */
export function isProcessAlive(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return stat !== undefined && stat.startTime === identity.startTime && stat.state !== 'Z' && stat.state !== 'X';
}

/** Sends a signal to exactly this process; does nothing when it has ended, even if its pid is used again. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isProcessAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Every process whose environment, as it was given at exec, holds `NAME=value`. Unreadable processes are passed over. */
export function findProcessesByEnvironment(name: string, value: string): ProcessIdentity[] {
  const wanted = `${name}=${value}`;
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    let environment: string;
    try {
      environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
    } catch {
      continue;
    }
    if (!environment.split('\0').includes(wanted)) continue;
    const identity = identifyProcess(pid);
    if (identity !== undefined) found.push(identity);
  }
  return found;
}
