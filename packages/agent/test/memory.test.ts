import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeClock, waitFor } from '@weft/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Conditions } from '../src/conditions.ts';
import { Memory, type MemoryComponents } from '../src/memory.ts';
import type { OwnPort } from '../src/state-store.ts';

const rdid = (n: number): string => `${String(n).padStart(8, '0')}-0000-4000-8000-000000000000`;

interface Session {
  readonly rdid: string;
  emptySinceMs: number | undefined;
  claimedVsids: ReadonlySet<number>;
}

describe('what an agent keeps of its networks', () => {
  let directory: string;
  let ports: OwnPort[];
  let sessions: Map<string, Session>;
  let clock: FakeClock;
  let conditions: Conditions;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'weft-memory-'));
    clock = new FakeClock(1_000);
    ports = [];
    sessions = new Map();
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  /** Another run of the agent, on what the last left on disk. */
  function open(bootId = 'boot-1'): Memory {
    const logger = { debug() {}, info() {}, warn() {}, error() {} };
    const time = {
      now: () => clock.now(),
      unixMs: () => 0,
      setTimeout: (callback: () => void, ms: number) => clock.setTimeout(callback, ms),
      clearTimeout: (handle: unknown) => clock.clearTimeout(handle),
    };
    conditions = new Conditions(time, logger);
    const networks = { all: () => [...sessions.values()], get: (id: string) => sessions.get(id), restore: begin };
    return new Memory({
      ...{ clock: time, logger, conditions, networks: () => networks, ofRoles: () => ({ ports }) },
      init: { stateDirectory: directory, bootId },
    } as unknown as MemoryComponents);
  }

  function begin(id: string): Session {
    const session = {
      ...{ rdid: id, emptySinceMs: undefined, claimedVsids: new Set<number>() },
      ...{ moves: () => ({}), restoreMoves: () => {}, keeper: { dirty: false, envelopes: new Map() } },
      restoreClaims: (vsids: readonly number[]) => {
        session.claimedVsids = new Set(vsids);
      },
    };
    sessions.set(id, session);
    return session;
  }

  function follow(count: number): void {
    for (let n = 0; n < count; n++) {
      const session = begin(rdid(n));
      session.claimedVsids = new Set([5_000 + 2 * n, 5_001 + 2 * n]);
      session.emptySinceMs = n % 2 === 0 ? undefined : 500 + n;
    }
  }

  const bind = (n: number): void => {
    const port = {
      portId: rdid(n),
      vsid: 5_000,
      device: 'tap0',
      deviceKind: 'tap',
      generation: 1,
      ownsDevice: true,
      state: 'bound',
    } as const;
    ports.push({ ...port, routingDomainId: rdid(n) });
  };
  const state = (): { networks: object; claims: object } => JSON.parse(readFileSync(join(directory, 'state.json'), 'utf8'));
  const known = () => [...sessions.values()].map(({ rdid: id, emptySinceMs, claimedVsids }) => [id, emptySinceMs, [...claimedVsids]]);

  async function restart(bootId?: string): Promise<void> {
    sessions = new Map();
    await open(bootId).restore();
  }

  it('is written at once where they are few, all of it', async () => {
    const memory = open();
    follow(60);
    const before = known();
    memory.saveState();
    expect(Object.keys(state().networks).length).toBe(60);
    await restart();
    expect(known()).toEqual(before);
  });

  it('is small at once where they are many: networks without a port of this host follow later', async () => {
    const memory = open();
    follow(2_000);
    bind(3);
    const before = known();
    memory.saveState();
    expect([Object.keys(state().networks), Object.keys(state().claims)]).toEqual([[rdid(3)], [rdid(3)]]);
    expect(statSync(join(directory, 'state.json')).size).toBeLessThan(1_000);
    await memory.poll();
    const isWritten = async (): Promise<boolean> => statSync(join(directory, 'networks.bin'), { throwIfNoEntry: false }) !== undefined;
    await waitFor(isWritten, { what: 'networks.bin to be written', deadlineMs: 10_000, intervalMs: 5 });
    await restart();
    expect(known().sort()).toEqual(before.sort());
    // After another boot, since when nobody uses them is not known.
    await restart('boot-2');
    expect(sessions.get(rdid(5))!.emptySinceMs).toBe(clock.now());
  });

  it('is written at once of a network that is joined by itself, also where they are many, until the others’ file has it', async () => {
    const memory = open();
    follow(2_000);
    await memory.flush();
    memory.joined([begin(rdid(5_000))]);
    // Power is cut.
    expect(Object.keys(state().networks)).toEqual([rdid(5_000)]);
    await restart();
    expect(sessions.size).toBe(2_001);
    memory.joined([begin(rdid(5_001))]);
    await memory.flush();
    memory.saveState();
    expect(Object.keys(state().networks)).toEqual([]);
    await restart();
    expect(sessions.size).toBe(2_002);
  });

  it('loses none of them when few have become many', async () => {
    const memory = open();
    follow(63);
    memory.joined([...sessions.values()]);
    await memory.poll();
    await restart();
    const next = open();
    sessions = new Map();
    await next.restore();
    next.joined([begin(rdid(5_000))]);
    await restart();
    expect(sessions.size).toBe(64);
  });

  it('has a network that loses its last port at once, though the others’ file does not yet', async () => {
    const memory = open();
    follow(200);
    memory.joined([begin(rdid(5_000))]);
    bind(5_000);
    await memory.flush();
    ports.pop();
    memory.saveState();
    await restart();
    expect(sessions.has(rdid(5_000))).toBe(true);
  });

  it('takes no word of former times when they are few again', async () => {
    const memory = open();
    follow(200);
    memory.saveState();
    await memory.flush();
    for (let n = 1; n < 200; n++) sessions.delete(rdid(n));
    const before = known();
    await memory.flush();
    await restart();
    expect(known()).toEqual(before);
  });

  it('goes on without what can not be read, and says so', async () => {
    const memory = open();
    follow(200);
    bind(3);
    await memory.flush();
    const path = join(directory, 'networks.bin');
    const bytes = readFileSync(path);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(path, bytes);
    await restart();
    expect([...sessions.keys()]).toEqual([rdid(3)]);
    expect(conditions.list().map(({ code }) => code)).toEqual(['STATE_NOT_SAVED']);
  });

  it('goes when it is to go', async () => {
    const memory = open();
    follow(200);
    await memory.flush();
    await memory.purge();
    await restart();
    expect(known()).toEqual([]);
  });
});
