import type { ServerCapabilities } from './api.ts';

/** The oldest server Weft is tested with: Debian 12's. */
export const OLDEST_SERVER = '2.9.10';

/** What a nats-server of that version can do. An unreadable version counts as the oldest. */
export function serverCapabilities(version: string): ServerCapabilities {
  return {
    version,
    syncAlways: isAtLeast(version, '2.10.0'),
    multiFilterConsumers: isAtLeast(version, '2.10.0'),
    messageTtl: isAtLeast(version, '2.11.0'),
    atomicBatch: isAtLeast(version, '2.12.0'),
  };
}

/** Compares major.minor.patch; what follows a `-` is ignored. */
export function isAtLeast(version: string, floor: string): boolean {
  const have = numbers(version);
  const want = numbers(floor);
  for (let i = 0; i < 3; i++) {
    if (have[i] !== want[i]) return have[i]! > want[i]!;
  }
  return true;
}

function numbers(version: string): [number, number, number] {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version);
  return parts === null ? [0, 0, 0] : [Number(parts[1]), Number(parts[2]), Number(parts[3])];
}
