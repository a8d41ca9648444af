import type { Lab } from '@weft/lab';
import { network } from './failover-lab.ts';

/** Networks in one `weft apply`. */
const BATCH = 250;

/** Applies networks that are connected to the gateway, without ports, until there are `count` in all. */
export async function applyNetworks(lab: Lab, count: number, progress: (done: number) => void): Promise<void> {
  for (let done = 1; done < count; done += BATCH) {
    const names = Array.from({ length: Math.min(BATCH, count - done) }, (_, index) => `n${done + index}`);
    await lab.weft(['apply', '-f', '-'], { input: `${names.flatMap((name) => network(name, [])).join('\n')}\n`, timeoutMs: 300_000 });
    progress(done + names.length);
  }
}
