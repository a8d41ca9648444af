import { type Verdict, verdictCb } from '../src/index.ts';
import type { GeneratedFrame } from '../src/testing/index.ts';

/** Asserts that two verdicts are the same, bytes included. Much faster than `toEqual`, which matters for 100,000 frames. */
export function expectSame(frame: GeneratedFrame, a: Verdict, b: Verdict): void {
  const textOf = (verdict: Verdict): string =>
    [...verdictCb(verdict), verdict.countedVsid, verdict.gso?.size, verdict.frame?.length].join();
  const isSame = textOf(a) === textOf(b) && Buffer.from(a.frame ?? []).equals(b.frame ?? new Uint8Array(0));
  if (!isSame) throw new Error(`${frame.label}: ${textOf(a)} is not ${textOf(b)}, or the bytes differ`);
}
