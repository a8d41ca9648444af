import { readFileSync } from 'node:fs';

const RENEW_AFTER_NS = 1_000_000_000n;

/**
 * A reader of the boot clock (CLOCK_BOOTTIME) in nanoseconds. Node.js has the monotonic clock alone, which stands still while the machine is
 * suspended; the difference comes from /proc/uptime, at most once a second, and so is right to 10 ms.
 */
export function bootClock(): () => bigint {
  let offset = 0n;
  let renewedAt: bigint | undefined;
  return () => {
    const monotonic = process.hrtime.bigint();
    if (renewedAt === undefined || monotonic - renewedAt > RENEW_AFTER_NS) {
      const found = uptimeNs() - monotonic;
      // Two readings differ by the file's resolution; only a suspension is more. Small differences would make the clock jump back.
      if (renewedAt === undefined || found - offset > 20_000_000n) offset = found;
      renewedAt = monotonic;
    }
    return monotonic + offset;
  };
}

/** `/proc/uptime`: seconds with two decimals, of the boot clock. */
function uptimeNs(): bigint {
  const text = readFileSync('/proc/uptime', 'latin1').split(' ')[0]!;
  return BigInt(text.replace('.', '')) * 10_000_000n;
}
