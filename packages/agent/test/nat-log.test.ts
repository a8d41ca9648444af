import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createIdentity, openEnvelope } from '@weft/bus';
import {
  BLOCK_PORTS,
  emptyPort,
  type NatBlock,
  type NatEvent,
  NatEventKind,
  NatEventList,
  type NatSourceState,
  NatState,
} from '@weft/forwarding';
import { type NatLogRecord, natLogRecordCodec, natTenures, whoHad } from '@weft/model';
import { formatIp, parseIp } from '@weft/packet';
import { waitFor } from '@weft/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Conditions } from '../src/conditions.ts';
import { NatLog } from '../src/gateway/nat-log.ts';
import { NatLogSpool } from '../src/gateway/nat-log-spool.ts';

const GROUP = '22222222-2222-4222-8222-222222222222';
const ADDRESS = parseIp('203.0.113.7');
const SECOND = 1_000;
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

/** The stream as NATS has it: one message an id. */
class MemoryLog {
  readonly messages = new Map<string, { subject: string; value: Uint8Array }>();
  appended = 0;
  away = false;

  async append(subject: string, id: string, value: Uint8Array): Promise<{ sequence: number; duplicate: boolean }> {
    this.appended++;
    if (this.away) throw new Error('NATS is away');
    const duplicate = this.messages.has(id);
    if (!duplicate) this.messages.set(id, { subject, value });
    return { sequence: this.messages.size, duplicate };
  }

  records(): NatLogRecord[] {
    return [...this.messages.values()].map(({ value }) => natLogRecordCodec.decode(openEnvelope(value, 'natLog').payload));
  }
}

let directory: string;
let log: MemoryLog;
const running: Member[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'weft-nat-log-'));
  log = new MemoryLog();
});
afterEach(async () => {
  for (const member of running.splice(0)) await member.log.stop();
  rmSync(directory, { recursive: true });
});

/** A member with its kernel's tables, its clocks and its disk. */
class Member {
  readonly id: string;
  readonly state = new NatState();
  readonly conditions: Conditions;
  /** Unix time at boot. */
  bootUnixMs: number;
  bootMs = 100 * SECOND;
  shards = new Set<number>();
  log!: NatLog;
  spool!: NatLogSpool;

  constructor(id: string, bootUnixMs = 1_000_000 * SECOND) {
    this.id = id;
    this.bootUnixMs = bootUnixMs;
    this.conditions = new Conditions(this.clock(), quiet);
  }

  clock() {
    return {
      now: () => this.bootMs,
      unixMs: () => this.bootUnixMs + this.bootMs,
      setTimeout: () => 0,
      clearTimeout: () => {},
    };
  }

  /** The agent's process, with what the last one left. */
  async start(maxBytes = 1 << 20): Promise<void> {
    this.spool = new NatLogSpool({ path: join(directory, `${this.id}.spool`), maxBytes, onProblem: () => {} });
    this.log = new NatLog({
      hostId: this.id,
      identity: createIdentity('host'),
      clock: this.clock(),
      logger: quiet,
      conditions: this.conditions,
      spool: this.spool,
      store: this.state,
      shards: () => this.shards,
      networks: () => new Set(this.shards.size > 0 ? [7] : []),
      groupOf: (segment, address) => (segment === 1 && address === '203.0.113.7' ? GROUP : ''),
      slices: { now: () => 0, pause: async () => {} },
    });
    running.push(this);
    await this.log.start();
  }

  /** The kernel's part: a block is granted. @param told Whether the event comes through. */
  grant(block: number, ca: string, version: number, { epoch = 5n, told = true } = {}): void {
    const value: NatBlock = {
      ...{
        networkId: 7,
        pool: 1,
        ca: parseIp(ca),
        epoch,
        grantedBootNs: BigInt(this.bootMs) * 1_000_000n,
        next: 0,
        addressIndex: 0,
        version,
      },
      ports: Array.from({ length: BLOCK_PORTS }, emptyPort),
    };
    const key = { segment: 1, address: ADDRESS, block };
    this.state.set('block', key, value);
    if (told) this.#event(NatEventKind.BLOCK_GRANTED, block, value);
  }

  release(block: number, { told = true } = {}): void {
    const key = { segment: 1, address: ADDRESS, block };
    const value = this.state.get('block', key)!;
    this.state.delete('block', key);
    if (told) this.#event(NatEventKind.BLOCK_RELEASED, block, value);
  }

  #event(kind: 1 | 2, block: number, { ports: _, ...value }: NatBlock): void {
    const event = {
      kind,
      timeBootNs: BigInt(this.bootMs) * 1_000_000n,
      key: { segment: 1, address: ADDRESS, block },
      block: value,
      source: {} as NatSourceState,
    };
    this.log.onEvents(new NatEventList([event as NatEvent]));
  }

  /** A second goes by. */
  async second(count = 1): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.bootMs += SECOND;
      this.log.poll();
      await this.settle();
    }
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }
}

async function started(id = 'g1'): Promise<Member> {
  const member = new Member(id);
  await member.start();
  member.shards.add(3);
  member.log.setStore({ natLog: log as never });
  await member.second();
  return member;
}

const who = (port: number, atMs: number): string | undefined =>
  whoHad(natTenures(log.records()), { address: formatIp(ADDRESS), port, timeMs: atMs }).holder?.ca;

describe('NatLog', () => {
  it('writes one signed record for a block that is granted and one when it is given back, and nothing of flows', async () => {
    const member = await started();
    member.grant(16, '10.0.0.1', 4);
    member.log.onEvents(
      new NatEventList([{ kind: NatEventKind.SESSION_ADDED, timeBootNs: 0n, key: {}, session: {} } as unknown as NatEvent]),
    );
    const grantedMs = member.bootUnixMs + member.bootMs;
    await member.second(60);
    member.release(16);
    await member.second();
    expect(log.records()).toEqual([
      expect.objectContaining({
        kind: 'granted',
        member: 'g1',
        group: GROUP,
        firstPort: 1024,
        networkId: 7,
        ca: '10.0.0.1',
        epoch: 5n,
        timeUnixMs: grantedMs,
      }),
      expect.objectContaining({ kind: 'released', ca: '10.0.0.1', timeUnixMs: grantedMs + 60 * SECOND, isInterim: false }),
    ]);
    expect([...log.messages.values()].map(({ subject }) => subject)).toEqual(
      Array(2).fill('weft.v1.natlog.1.00000000000000000000ffffcb007107.1'),
    );
    expect(member.spool.size).toBe(0);
  });

  it('keeps what NATS does not take, over restarts of the agent too, and each stands once', async () => {
    const member = await started();
    log.away = true;
    member.grant(16, '10.0.0.1', 4);
    member.grant(17, '10.0.0.2', 4);
    await member.second(61);
    expect(member.conditions.list()).toMatchObject([{ code: 'NAT_LOG_BEHIND', severity: 'warning' }]);
    await member.log.stop();
    // Killed and started: the file has both.
    await member.start();
    expect(member.spool.size).toBe(2);
    log.away = false;
    member.log.setStore({ natLog: log as never });
    await waitFor(() => member.spool.size === 0, { what: 'the spool to be delivered', show: () => String(member.spool.size) });
    await member.second(2);
    expect(member.conditions.list()).toEqual([]);
    // What is held was told again at the start: the same two tenures.
    expect(natTenures(log.records()).map(({ ca, end }) => [ca, end])).toEqual([
      ['10.0.0.1', 'open'],
      ['10.0.0.2', 'open'],
    ]);
    await member.log.stop();
    const empty = new NatLogSpool({ path: join(directory, 'g1.spool'), maxBytes: 1 << 20, onProblem: () => {} });
    await empty.start();
    expect(empty.size).toBe(0);
  });

  it('after lost events tells what is held, and what is not held any more', async () => {
    const member = await started();
    member.grant(16, '10.0.0.1', 4);
    member.grant(17, '10.0.0.2', 4);
    await member.second(10);
    member.grant(18, '10.0.0.3', 4, { told: false });
    member.release(17, { told: false });
    await member.second();
    expect(who(18 * 64, member.bootUnixMs + member.bootMs)).toBeUndefined();
    member.log.onLost();
    await member.second();
    const now = member.bootUnixMs + member.bootMs;
    expect([16, 17, 18].map((block) => who(block * 64, now))).toEqual(['10.0.0.1', undefined, '10.0.0.3']);
    expect(natTenures(log.records()).find(({ ca }) => ca === '10.0.0.3')).toMatchObject({ fromMs: now - 2 * SECOND, spreadMs: 0 });
    expect(natTenures(log.records()).find(({ ca }) => ca === '10.0.0.2')).toMatchObject({ end: 'released', untilMs: now });
  });

  it('says what found no room, and tells what is still held once there is some', async () => {
    const member = await started();
    await member.log.stop();
    await member.start(400);
    log.away = true;
    for (let i = 0; i < 20; i++) member.grant(16 + i, '10.0.0.1', 4 + i);
    await member.second();
    const [lost] = member.conditions.list().filter(({ code }) => code === 'NAT_LOG_LOST');
    expect(lost).toMatchObject({ severity: 'critical' });
    expect(Number(/^(\d+) records/.exec(lost!.message)![1])).toBeGreaterThan(15);
    log.away = false;
    member.log.setStore({ natLog: log as never });
    await waitFor(
      async () => {
        await member.second();
        return natTenures(log.records()).length === 20;
      },
      { what: 'all that is held to be told', intervalMs: 1, show: () => String(natTenures(log.records()).length) },
    );
  });

  it('goes on over a failover: who takes over tells what the other had granted, and its end', async () => {
    const [g1, g2] = [await started('g1'), new Member('g2', 1_000_050 * SECOND)];
    await g2.start();
    g2.log.setStore({ natLog: log as never });
    g1.grant(16, '10.0.0.1', 4);
    const grantedMs = g1.bootUnixMs + g1.bootMs;
    // The last grant stays on g1's disk: it loses power before NATS has it.
    log.away = true;
    g1.grant(17, '10.0.0.2', 4);
    await g1.log.stop();
    log.away = false;
    // The standby has both, by the stream of state, in its own boot clock; nothing is told by that.
    const offsetMs = g1.bootUnixMs - g2.bootUnixMs;
    for (const block of [16, 17]) {
      const value = g1.state.get('block', { segment: 1, address: ADDRESS, block })!;
      const grantedBootNs = value.grantedBootNs + BigInt(offsetMs) * 1_000_000n;
      g2.state.set('block', { segment: 1, address: ADDRESS, block }, { ...value, grantedBootNs });
    }
    await g2.second();
    expect(log.records().map(({ member }) => member)).not.toContain('g2');
    g2.shards.add(3);
    await g2.second();
    expect(
      log
        .records()
        .filter(({ member }) => member === 'g2')
        .map(({ ca, isInterim, timeUnixMs }) => [ca, isInterim, timeUnixMs])
        .sort(),
    ).toEqual([
      ['10.0.0.1', true, grantedMs],
      ['10.0.0.2', true, grantedMs],
    ]);
    g2.bootMs += 300 * SECOND;
    g2.release(16);
    g2.grant(16, '10.0.0.9', 40, { epoch: 6n });
    await g2.second();
    const now = g2.bootUnixMs + g2.bootMs;
    expect([who(16 * 64, grantedMs), who(16 * 64, now), who(17 * 64, now)]).toEqual(['10.0.0.1', '10.0.0.9', '10.0.0.2']);
    expect(natTenures(log.records())).toHaveLength(3);
  });

  it('tells what is held again when the clock is stepped, so that both times are known', async () => {
    const member = await started();
    member.grant(16, '10.0.0.1', 4);
    const byOldClock = member.bootUnixMs + member.bootMs;
    await member.second(10);
    member.bootUnixMs -= 3_600 * SECOND;
    await member.second();
    await member.second(5);
    member.release(16);
    await member.second();
    const [tenure, ...others] = natTenures(log.records());
    expect(others).toEqual([]);
    expect(tenure).toMatchObject({ fromMs: byOldClock - 3_600 * SECOND, end: 'released', spreadMs: 3_600 * SECOND });
    const byNewClock = byOldClock - 3_600 * SECOND + 5 * SECOND;
    expect(who(1024, byNewClock)).toBe('10.0.0.1');
    const asked = whoHad(natTenures(log.records()), { address: '203.0.113.7', port: 1024, timeMs: byOldClock + 5 * SECOND });
    expect([asked.holder, asked.candidates.map(({ ca }) => ca)]).toEqual([undefined, ['10.0.0.1']]);
  });

  it('tells once a day what is held, before the stream forgets its grant', async () => {
    const member = await started();
    member.grant(16, '10.0.0.1', 4);
    await member.second(5);
    const count = log.appended;
    member.bootMs += 24 * 3_600 * SECOND;
    await member.second();
    expect(log.appended).toBe(count + 1);
    await member.second(5);
    expect(log.appended).toBe(count + 1);
  });
});

describe('NatLogSpool', () => {
  const path = () => join(directory, 'spool');
  const made = async (maxBytes = 1 << 20, problems: (string | undefined)[] = []): Promise<NatLogSpool> => {
    const spool = new NatLogSpool({ path: path(), maxBytes, onProblem: (reason) => problems.push(reason) });
    await spool.start();
    return spool;
  };
  const text = (spool: NatLogSpool): string[] => spool.first(100).map((one) => Buffer.from(one).toString());

  it('keeps what was not delivered, in order, and leaves out a record cut short', async () => {
    const spool = await made();
    for (const word of ['one', 'two', 'three']) expect(spool.add(Buffer.from(word))).toBe(true);
    await spool.stop();
    spool.delivered(1);
    await spool.stop();
    const file = readFileSync(path());
    writeFileSync(path(), file.subarray(0, file.length - 2));
    const cut = new NatLogSpool({ path: path(), maxBytes: 100, onProblem: () => {} });
    // What was delivered may come again; what is cut may not.
    expect(await cut.start()).toBeGreaterThan(0);
    expect(text(cut)).toEqual(['one', 'two']);
    cut.add(Buffer.from('four'));
    await cut.stop();
    expect(text(await made())).toEqual(['one', 'two', 'four']);
  });

  it('is empty on disk when nothing waits, and takes no more than its bound', async () => {
    const spool = await made(40);
    expect([spool.add(new Uint8Array(20)), spool.add(new Uint8Array(20))]).toEqual([true, false]);
    spool.delivered(1);
    expect(spool.add(new Uint8Array(20))).toBe(true);
    spool.delivered(1);
    await spool.stop();
    expect(readFileSync(path()).length).toBe(8);
  });

  it('of a file that is something else nothing is taken, and it says when it can not write', async () => {
    writeFileSync(path(), 'something else entirely');
    const spool = new NatLogSpool({ path: path(), maxBytes: 100, onProblem: () => {} });
    expect(await spool.start()).toBe(23);
    spool.add(Buffer.from('one'));
    await spool.stop();
    expect(text(await made())).toEqual(['one']);
    const problems: (string | undefined)[] = [];
    const nowhere = new NatLogSpool({ path: join(directory, 'no', 'spool'), maxBytes: 100, onProblem: (reason) => problems.push(reason) });
    nowhere.add(Buffer.from('one'));
    await nowhere.stop();
    expect(problems).toEqual([expect.stringContaining('ENOENT')]);
    expect(text(nowhere)).toEqual(['one']);
  });
});
