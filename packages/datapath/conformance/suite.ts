import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { answersTests } from './answers.ts';
import { forgeryTests } from './forgery.ts';
import { forwardingTests } from './forwarding.ts';
import { isolationTests } from './isolation.ts';
import { ConformanceLab, type ConformanceSetup } from './lab.ts';
import { lifecycleTests } from './lifecycle.ts';
import { malformedTests } from './malformed.ts';
import { moveTests } from './move.ts';
import { offloadTests } from './offload.ts';

/**
 * The datapath contract as tests: two hosts in network namespaces, an underlay between them, TAPs and veths with real frames. Runs for any pair
 * of engines; see world.ts for who is where.
 */
export function datapathConformance(name: string, setup: ConformanceSetup): void {
  describe(`${name}: datapath conformance`, () => {
    let lab: ConformanceLab;
    beforeAll(async () => {
      lab = await ConformanceLab.create(setup);
      lab.begin();
      await lab.flush();
    });
    afterAll(() => lab?.close());
    beforeEach(() => lab.begin());

    const current = (): ConformanceLab => lab;
    forwardingTests(current);
    answersTests(current);
    isolationTests(current);
    malformedTests(current);
    offloadTests(current);
    forgeryTests(current);
    moveTests(current);
    lifecycleTests(current);
  });
}
