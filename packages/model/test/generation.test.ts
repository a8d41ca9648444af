import fc from 'fast-check';
import { expect, it } from 'vitest';
import { generationRefusal, type PortBinding } from '../src/index.ts';

const at = (generation: number): PortBinding => ({ portId: 'p', hostId: 'host-a', generation }) as PortBinding;

it('generationRefusal() lets every honest claim pass, after whatever it believed before', () => {
  // Writes to one bucket in turn; each claim goes one above the highest that was believed.
  const writes = fc.array(fc.record({ gap: fc.integer({ min: 1, max: 1_000 }), lie: fc.option(fc.maxSafeNat()) }), { maxLength: 50 });
  fc.assert(
    fc.property(writes, (all) => {
      let [revision, highest] = [0, 0];
      for (const { gap, lie } of all) {
        revision += gap;
        const generation = lie ?? highest + 1;
        const refused = generationRefusal(at(generation), revision) !== undefined;
        if (lie === null) expect(refused).toBe(false);
        if (!refused) highest = Math.max(highest, generation);
      }
    }),
  );
});

it('generationRefusal() names host, number and bound', () => {
  expect(generationRefusal(at(8), 8)).toBeUndefined();
  expect(generationRefusal(at(9), 8)).toMatchObject({
    code: 'WEFT_ERR_TRUST_GENERATION',
    message: expect.stringMatching(/host host-a: generation 9 is above its revision 8/),
  });
});
