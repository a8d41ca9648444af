import { existsSync, rmSync } from 'node:fs';
import { cleanDeadLabs } from './clean.ts';
import { isProcessAlive } from './process-identity.ts';
import { type LabRecord, labFile, Registry, readLabRecords } from './registry.ts';
import { uniqueName } from './temp.ts';

// What a test makes by hand, without a lab, namespaces and pins above all: written down as a lab's is, by the process that runs the test, so that a later run
// finds what a killed one has left, and nothing of one that lives.

const PREFIX = 'test-run-';
let registry: Registry | undefined;

/** The journal of what this process makes; begun by the first call, and removed when the process ends and has taken away what it made. */
export function testRun(): Registry {
  if (registry !== undefined) return registry;
  const name = uniqueName(PREFIX);
  registry = Registry.create(name);
  process.once('exit', () => {
    if (!(readLabRecords(name) ?? []).some(isThere)) rmSync(labFile(name), { force: true });
  });
  return registry;
}

function isThere(record: LabRecord): boolean {
  switch (record.kind) {
    case 'netns':
      return existsSync(`/run/netns/${record.name}`);
    case 'pins':
      return existsSync(record.path);
    case 'process':
      return isProcessAlive(record);
    default:
      return false;
  }
}

/**
 * Writes down a network namespace, and directories of pins on a bpffs, that this process is about to make.
 *
 * @returns The namespace's name.
 */
export function rememberNetns(name: string, ...pins: readonly string[]): string {
  testRun().record({ kind: 'netns', name }, ...pins.map((path) => ({ kind: 'pins', path }) as const));
  return name;
}

/** Removes what is left of test processes that are gone. Returns the names of their journals. */
export async function cleanDeadTestRuns(): Promise<string[]> {
  return await cleanDeadLabs(PREFIX);
}
