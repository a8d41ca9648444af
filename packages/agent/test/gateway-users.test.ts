import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GatewayUsers } from '../src/gateway/gateway-users.ts';

describe('GatewayUsers', () => {
  it('says which gateways are used, and whether that has changed, after any history', () => {
    const step = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.option(fc.constantFrom('x', 'y'), { nil: undefined }));
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const users = new GatewayUsers();
        const known = new Map<string, string | undefined>();
        for (const [rdid, gateway] of steps) {
          const before = users.used;
          known.set(rdid, gateway);
          const isOther = users.note(rdid, gateway);
          const now = new Set([...known.values()].filter((id) => id !== undefined));
          expect(users.used).toEqual(now);
          if (!isOther) expect(users.used).toEqual(before);
          // One network that goes from a gateway of its own to another of its own: two changes.
          else expect(users.used).not.toEqual(before);
        }
      }),
    );
  });
});
