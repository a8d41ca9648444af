import { cleanDeadTestRuns } from '@weft/testkit';

/** Before the kernel tests and after them: what tests that were killed have left, of these runs or former ones. */
export default async function sweep(): Promise<() => Promise<void>> {
  await cleanDeadTestRuns();
  return async () => void (await cleanDeadTestRuns());
}
