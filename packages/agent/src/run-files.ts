import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentError } from './errors.ts';

/** What the agent keeps in its run directory while it runs. */
export interface RunFiles {
  /** False: the last start of this instance in this boot did not come to its end. */
  readonly lastStarted: boolean;
  /** This start has come to its end. */
  started(): void;
  /** Removes them, and their directory if nothing else is in it: an instance that is gone leaves nothing. */
  remove(): void;
}

/**
 * Says that this instance runs, and where: `agent.pid` (pid and start time, so that a pid given away again misleads nobody) and `host-id`
 * (read by `weft` commands on the same machine). `agent.starting` is there from here to `started()`, and outlives a process that does not get so far.
 * @throws {AgentError} `WEFT_ERR_AGENT_CONFIG` if another agent of this instance runs: two would fight over devices and tables.
 */
export function claimRunDirectory(directory: string, hostId: string): RunFiles {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const pidFile = join(directory, 'agent.pid');
  const hostFile = join(directory, 'host-id');
  const [pid, startTime] = (readOr(pidFile, '') ?? '').trim().split(' ');
  if (pid !== undefined && pid !== '' && Number(pid) !== process.pid && startTimeOf(Number(pid)) === startTime) {
    throw new AgentError(
      'WEFT_ERR_AGENT_CONFIG',
      `Cannot start: process ${pid} is the agent of this instance (${directory}); stop it first, or set another "instance"`,
    );
  }
  writeFileSync(pidFile, `${process.pid} ${startTimeOf(process.pid)}\n`);
  writeFileSync(hostFile, `${hostId}\n`);
  const startingFile = join(directory, 'agent.starting');
  const lastStarted = !existsSync(startingFile);
  writeFileSync(startingFile, '');
  return {
    lastStarted,
    started: () => rmSync(startingFile, { force: true }),
    remove() {
      for (const [remove, path] of [[unlinkSync, pidFile] as const, [unlinkSync, hostFile] as const, [rmdirSync, directory] as const]) {
        try {
          remove(path);
        } catch {
          // Gone already, which was wanted; or the directory holds what tells the next start of this one.
        }
      }
    },
  };
}

/** Field 22 of /proc/PID/stat; undefined if there is no such process. */
function startTimeOf(pid: number): string | undefined {
  const stat = readOr(`/proc/${pid}/stat`, undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
}

function readOr<T>(path: string, otherwise: T): string | T {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}
