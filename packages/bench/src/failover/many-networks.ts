import type { Lab } from '@weft/lab';
import { network } from './failover-lab.ts';

/** Networks in one `weft apply`: a controller has to answer it within 10 s. */
const BATCH = 50;

/** Calls at once. */
const CALLERS = 2;

/** Applies networks that are connected to the gateway, without ports, until there are `count` in all. */
export async function applyNetworks(lab: Lab, count: number, progress: (done: number) => void): Promise<void> {
  let next = 1;
  let done = 1;
  const call = async (): Promise<void> => {
    while (next < count) {
      const first = next;
      next = Math.min(count, first + BATCH);
      const names = Array.from({ length: next - first }, (_, index) => `n${first + index}`);
      await lab.weft(['apply', '-f', '-'], { input: `${names.flatMap((name) => network(name, [])).join('\n')}\n`, timeoutMs: 300_000 });
      done += names.length;
      progress(done);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, call));
}
