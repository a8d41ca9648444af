import { readFileSync } from 'node:fs';

let count: number | undefined;

/** CPUs that this machine may ever have, which sizes the values of per-CPU maps. From /sys/devices/system/cpu/possible, such as `0-3,8`. */
export function possibleCpuCount(): number {
  count ??= countCpus(readFileSync('/sys/devices/system/cpu/possible', 'utf8'));
  return count;
}

/** Counts the CPUs of a kernel CPU list: `0-3,8` has 5. */
export function countCpus(list: string): number {
  let total = 0;
  for (const range of list.trim().split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    total += last! - first! + 1;
  }
  return total;
}
