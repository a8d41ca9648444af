import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressDefence, DEFENCE_MS, DEFENDED_AT_ONCE } from '../src/gateway/address-defence.ts';

const addresses = (count: number): string[] => Array.from({ length: count }, (_, i) => `203.0.113.${i}`);
const DEVICE = 7;

describe('AddressDefence', () => {
  it('answers for every address of the device, the one that is known first', () => {
    const defence = new AddressDefence();
    defence.claimed(DEVICE, '203.0.113.2', addresses(4));
    expect(defence.take(0)).toEqual(new Map([[DEVICE, ['203.0.113.2', '203.0.113.0', '203.0.113.1', '203.0.113.3']]]));
    expect(defence.take(DEFENCE_MS)).toEqual(new Map());
  });

  it('has the last word: a claim that comes too soon after an answer is answered for later', () => {
    const defence = new AddressDefence();
    defence.claimed(DEVICE, '203.0.113.0', addresses(2));
    defence.take(0);
    defence.claimed(DEVICE, '203.0.113.1', addresses(2));
    expect(defence.take(DEFENCE_MS - 1)).toEqual(new Map());
    expect(defence.take(DEFENCE_MS)).toEqual(new Map([[DEVICE, ['203.0.113.1', '203.0.113.0']]]));
  });

  it('says nothing for what is not owned any more, and nothing of what was never owned', () => {
    const defence = new AddressDefence();
    defence.claimed(DEVICE, '198.51.100.1', addresses(2));
    defence.claimed(DEVICE, undefined, addresses(1));
    expect(defence.take(0)).toEqual(new Map([[DEVICE, ['203.0.113.0']]]));
  });

  it('floods nobody and forgets no address, however often and of whatever somebody claims', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.array(fc.record({ waitMs: fc.integer({ min: 0, max: 1_500 }), claim: fc.option(fc.nat(299), { nil: undefined }) }), {
          maxLength: 60,
        }),
        (count, steps) => {
          const defence = new AddressDefence();
          const owned = addresses(count);
          /** Of each address, the last claim that it may have been, and the last answer. */
          const answered = new Map<string, number>();
          let [now, lastAnswer, lastClaim] = [0, -Infinity, -Infinity];
          const take = (): number => {
            const told = defence.take(now).get(DEVICE) ?? [];
            expect(told.length).toBeLessThanOrEqual(DEFENDED_AT_ONCE);
            expect(new Set(told).size).toBe(told.length);
            if (told.length > 0) {
              expect(now - lastAnswer).toBeGreaterThanOrEqual(DEFENCE_MS);
              lastAnswer = now;
            }
            for (const address of told) answered.set(address, now);
            return told.length;
          };
          for (const { waitMs, claim } of steps) {
            now += waitMs;
            if (claim !== undefined) {
              lastClaim = now;
              defence.claimed(DEVICE, owned[claim], owned);
            }
            take();
          }
          // Whoever claims has stopped: in as many seconds as there are batches, all are told again, after the last claim.
          for (let batch = 0; batch <= Math.ceil(count / DEFENDED_AT_ONCE); batch++) {
            now += DEFENCE_MS;
            take();
          }
          if (lastClaim > -Infinity) for (const address of owned) expect(answered.get(address)).toBeGreaterThanOrEqual(lastClaim);
          now += DEFENCE_MS;
          expect(take()).toBe(0);
        },
      ),
    );
  });
});
