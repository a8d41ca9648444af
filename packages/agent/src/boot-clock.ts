import { readFileSync } from 'node:fs';
import type { AgentClock } from './components.ts';

const RECALIBRATE_MS = 1_000;
/** /proc/uptime counts in 10 ms. */
const TOLERANCE_MS = 25;

/**
 * The machine's clocks. `now` follows CLOCK_BOOTTIME, which the packet path compares deadlines with and which goes on while the machine
 * sleeps; Node has only CLOCK_MONOTONIC, so the difference is looked up in /proc/uptime once a second.
 */
export function createSystemClock(): AgentClock {
  let offsetMs = uptimeMs() - performance.now();
  let calibratedMs = performance.now();
  return {
    now() {
      const monotonicMs = performance.now();
      if (monotonicMs - calibratedMs >= RECALIBRATE_MS) {
        calibratedMs = monotonicMs;
        const offset = uptimeMs() - monotonicMs;
        if (Math.abs(offset - offsetMs) > TOLERANCE_MS) offsetMs = offset;
      }
      return monotonicMs + offsetMs;
    },
    unixMs: () => Date.now(),
    setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
    clearTimeout: (handle) => clearTimeout(handle as NodeJS.Timeout | undefined),
  };
}

function uptimeMs(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1_000;
}
