import { FakeClock } from '@weft/testkit';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { type FollowedNetwork, FollowedNetworks } from '../src/followed-networks.ts';

const rdid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;

describe('FollowedNetworks', () => {
  let disk: Uint8Array | undefined;
  let fault: Error | undefined;
  let writes = 0;
  /** Writes wait until it is called. */
  let release: () => void = () => {};
  let isHeld = false;
  let networks: FollowedNetwork[];
  let errors: unknown[];
  const clock = new FakeClock(1_000);

  const open = (bootId = 'boot-1'): FollowedNetworks =>
    new FollowedNetworks({
      file: {
        read: async () => disk,
        write: async (content) => {
          writes++;
          if (isHeld) await new Promise<void>((resolve) => (release = resolve));
          if (fault !== undefined) throw fault;
          disk = content;
        },
      },
      bootId,
      now: () => clock.now(),
      list: () => networks,
      onSaved: (error) => void errors.push(error),
    });

  beforeEach(() => {
    disk = undefined;
    fault = undefined;
    writes = 0;
    isHeld = false;
    networks = [{ rdid: rdid(1), emptySinceMs: 0, vsids: [5_001, 5_002] }];
    errors = [];
  });

  it('reads what it has written, whatever that is', async () => {
    const one = fc.record({
      rdid: fc.nat(9_999_999).map(rdid),
      emptySinceMs: fc.double({ min: 0, max: 1e12, noNaN: true }).map((ms) => ms + 0),
      vsids: fc.array(fc.integer({ min: 4_096, max: 16_777_214 }), { maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(one, { maxLength: 20 }), async (some) => {
        networks = some;
        const memory = open();
        memory.touch();
        await memory.flush();
        expect(await open().read()).toEqual({ bootId: 'boot-1', networks });
      }),
    );
  });

  it('writes every 5 s at most, one at a time, and only what is other than before', async () => {
    const memory = open();
    const turn = async (): Promise<void> => {
      memory.touch();
      memory.poll();
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    };
    isHeld = true;
    await turn();
    clock.advance(6_000);
    await turn();
    // The first is still under way.
    expect(writes).toBe(1);
    release();
    isHeld = false;
    await memory.flush();
    expect(writes).toBe(1);
    networks = [...networks, { rdid: rdid(2), emptySinceMs: 7, vsids: [] }];
    await turn();
    clock.advance(4_000);
    await turn();
    const inTime = writes;
    clock.advance(2_000);
    await turn();
    expect([inTime, writes]).toEqual([1, 2]);
    clock.advance(10_000);
    memory.poll();
    await memory.flush();
    expect(writes).toBe(2);
  });

  it('tells why it could not write, and tries again', async () => {
    fault = new Error('no space left on device');
    const memory = open();
    memory.touch();
    await memory.flush();
    expect([errors, disk]).toEqual([[fault], undefined]);
    fault = undefined;
    await memory.flush();
    expect(errors.map((error) => error instanceof Error)).toEqual([true, false]);
    expect((await open().read())?.networks).toEqual(networks);
  });

  it('knows nothing before anything was written', async () => {
    expect(await open().read()).toBeUndefined();
  });
});
