import { readdirSync, readFileSync } from 'node:fs';

/** A process with an open descriptor of a TUN/TAP device. */
export interface InterfaceHolder {
  readonly pid: number;
  /** `/proc/<pid>/comm`. */
  readonly command: string;
}

/**
 * Finds who has a TUN/TAP device open, from the `iff:` line that the kernel puts into `/proc/<pid>/fdinfo`. Sees the processes that this
 * one may inspect; names of other network namespaces match too. O(all descriptors of the machine): for messages, not for a hot path.
 */
export function interfaceHolders(name: string): InterfaceHolder[] {
  const holders: InterfaceHolder[] = [];
  for (const entry of list('/proc')) {
    const pid = Number(entry);
    if (Number.isInteger(pid) && holds(pid, name)) holders.push({ pid, command: read(`/proc/${pid}/comm`).trim() });
  }
  return holders;
}

function holds(pid: number, name: string): boolean {
  const directory = `/proc/${pid}/fdinfo`;
  return list(directory).some((fd) => read(`${directory}/${fd}`).includes(`\niff:\t${name}\n`));
}

// Processes end while they are looked at, and some may not be looked at.
function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
