import { configKey } from '@weft/model';
import { NatsCluster, tempDir } from '@weft/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bus, connectBus, type Store } from '../src/index.ts';

// Three servers, replicas 3. A member is killed without warning; what was acknowledged must be there, read after write must hold.

const dir = tempDir('weft-cluster-');
const key = (n: number): string => configKey.tenant(`0b8f5e0a-0000-4000-8000-${String(n).padStart(12, '0')}`);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
let cluster: NatsCluster;
let bus: Bus;
let store: Store;

beforeAll(async () => {
  cluster = await NatsCluster.start({ dir: dir.path });
  bus = connectBus({ servers: cluster.urls, name: 'test', reconnectWaitMs: 50 });
  store = await bus.open({ replicas: 3 });
});
afterAll(async () => {
  await bus?.close();
  await cluster?.close();
  dir.remove();
});

describe('a cluster of three', () => {
  it('reads what was just acknowledged, every time', async () => {
    const revisions = new Map<number, number>();
    for (let i = 0; i < 200; i++) {
      const n = i % 10;
      const outcome = await store.config.put(key(n), bytes(String(i)), revisions.get(n) ?? 0);
      expect(outcome.status).toBe('committed');
      const { revision } = outcome as { revision: number };
      revisions.set(n, revision);
      expect((await store.config.get(key(n)))?.revision).toBe(revision);
    }
    expect((await store.config.snapshot('')).entries).toHaveLength(10);
  });

  it('loses the member that leads, and no acknowledged write; each write is there once, or not', async () => {
    const leader = await cluster.leader();
    const committed = new Map<number, number>();
    const unclear = new Set<number>();
    let stop = false;
    let after = 0;
    const writer = (async () => {
      for (let n = 100; !stop; n++) {
        try {
          const outcome = await store.config.create(key(n), bytes(`w${n}`), { timeoutMs: 20_000 });
          if (outcome.status === 'committed') {
            committed.set(n, outcome.revision);
            if (!leader.running) after++;
          } else unclear.add(n);
          if (after >= 20) stop = true;
        } catch {
          // Not connected at that moment: certainly not written.
          await bus.whenConnected();
        }
      }
    })();
    while (committed.size < 20) await new Promise((resolve) => setTimeout(resolve, 5));
    await leader.kill();
    await writer;
    for (const [n, revision] of committed) expect((await store.config.get(key(n)))?.revision, key(n)).toBe(revision);
    const { entries } = await store.config.snapshot('', { timeoutMs: 20_000 });
    const there = entries.filter((entry) => new TextDecoder().decode(entry.value).startsWith('w')).map((entry) => entry.key);
    const unexplained = there.filter((found) => ![...committed.keys(), ...unclear].some((n) => key(n) === found));
    expect(unexplained).toEqual([]);
    expect(there.length).toBeGreaterThanOrEqual(committed.size);
  });
});
