import { join } from 'node:path';
import { BpfMap } from '@weft/bpf';
import { Action, actionName } from '@weft/forwarding';
import { REMOTE4 } from '@weft/forwarding/testing';
import { DropReason } from '@weft/model';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { GATEWAY_MAPS } from '../src/kernel/gateway-layout.ts';
import { GatewayLife, plainTrials, withTcpFlags } from './support/gateway-life.ts';
import { GatewayBench, type GatewayTrial } from './support/gateway-oracle.ts';
import { sh } from './support/lab.ts';

// What a gateway's programs remember must not show: not in a frame, not in a session's end, not when a session or a row behind a decision changes.

const WORLDS = Number(process.env['WEFT_LIFE_WORLDS'] ?? 10);
const STEPS = 600;
/** Frames of one flow. */
const COUNTED = 6400;
const SECOND = 1_000_000_000n;

/** Decisions are remembered by each CPU for itself: this process stays on one. */
const allowed = sh(`taskset -p ${process.pid}`).replace(/.*: /, '').trim();
beforeAll(() => {
  sh(`taskset -acp 0 ${process.pid}`);
});
afterAll(() => {
  sh(`taskset -ap ${allowed} ${process.pid}`);
});

let bench: GatewayBench;
afterEach(() => bench?.close());

describe("a gateway's decision that is remembered", () => {
  it.each([
    ['', undefined, {}],
    [', with one place for all flows', undefined, { flowSlots: 1 }],
    [', without what came after kernel 6.1', true, {}],
  ] as const)(
    'is the one of the oracle: packets both ways, time, sweeps, rows and ownership%s',
    { timeout: 600_000 },
    (_, kernel61, options) => {
      bench = new GatewayBench(kernel61, options);
      const seen = new Map<string, number>();
      for (let seed = 1; seed <= WORLDS; seed++) {
        const difference = bench.in(() => new GatewayLife(bench, seed).run(STEPS, seen));
        if (difference) expect.fail(`seed ${seed}, step ${difference.index} (${difference.label}):\n${difference.text}`);
      }
      for (const kind of [
        'from_port EXTERNAL 0',
        'from_underlay EXTERNAL 0',
        'to_gateway EXTERNAL 0',
        'from_external TUNNEL 0',
        'from_external LOCAL 0',
      ])
        expect([kind, (seen.get(kind) ?? 0) > 50]).toEqual([kind, true]);
    },
  );

  it('is used: it holds when the rows are gone behind its back, both ways', () => {
    bench = new GatewayBench();
    const kept = new Map<string, number>();
    for (let seed = 1; seed <= 6; seed++) {
      bench.in(() => {
        const life = new GatewayLife(bench, seed);
        const remembered: GatewayTrial[] = [];
        for (const trial of plainTrials(life.world)) {
          for (let i = 0; i < 3; i++) expect(life.try(trial), trial.label).toBeUndefined();
          const { action, reason } = life.judge(trial);
          if (reason === 0 && (action === Action.EXTERNAL || (trial.program === 'from_external' && action !== Action.PASS)))
            remembered.push(trial);
        }
        emptyBehindItsBack(bench);
        for (const trial of remembered) {
          const verdict = life.judge(trial);
          if (bench.compare(trial, verdict) !== undefined) continue;
          const kind = `${trial.program} ${actionName(verdict.action)}`;
          kept.set(kind, (kept.get(kind) ?? 0) + 1);
        }
      });
    }
    for (const kind of ['from_port EXTERNAL', 'from_underlay EXTERNAL', 'from_external TUNNEL', 'from_external LOCAL'])
      expect([kind, (kept.get(kind) ?? 0) > 5], JSON.stringify([...kept])).toEqual([kind, true]);
    // Nothing calls it with what it remembers: those who do look there themselves.
    expect(kept.get('to_gateway EXTERNAL')).toBeUndefined();
  });
});

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16] as const;

describe('a session behind a decision', () => {
  interface Connection {
    readonly life: GatewayLife;
    /** Its SYN, and what comes in by it. */
    readonly from: GatewayTrial;
    readonly answer: GatewayTrial;
    send(way: 'out' | 'in', flags: number): void;
  }

  /** A connection through port mapping that both sides have acknowledged, and each side's segments. `opened` is called when each side has sent its SYN. */
  function connection(opened = (): void => {}): Connection {
    for (let seed = 1; seed <= 60; seed++) {
      const life = new GatewayLife(bench, seed);
      for (const from of plainTrials(life.world).filter(({ program, frame }) => program === 'from_underlay' && isToRemote4(frame))) {
        const syn = withTcpFlags(from, SYN);
        if (syn === undefined || life.judge(syn).action !== Action.EXTERNAL || !hasSession(life, from.frame)) continue;
        // The oracle's own state has seen it now, the kernel's not.
        const again = new GatewayLife(bench, seed);
        again.try(syn);
        const { answer } = again;
        if (answer === undefined || withTcpFlags(answer, ACK) === undefined) continue;
        const send = (way: 'out' | 'in', flags: number): void => {
          expect(again.try(withTcpFlags(way === 'out' ? from : answer, flags)!)).toBeUndefined();
          expect(again.compareRows(['session', 'mapping'])).toBeUndefined();
        };
        send('in', SYN | ACK);
        opened();
        send('out', ACK);
        return { life: again, from, answer, send };
      }
    }
    return expect.fail('no world maps ports of TCP');
  }

  it('is as the oracle has it after each segment, whatever comes between those that leave it as it is', () => {
    bench = new GatewayBench();
    bench.in(() => {
      const { life, send } = connection();
      const steady = (): void => {
        for (const way of ['out', 'out', 'in', 'in', 'out', 'in'] as const) send(way, ACK);
      };
      steady();
      for (const flags of [RST, RST | ACK, SYN, SYN | ACK, 0, FIN, FIN | ACK, SYN]) {
        for (const way of ['in', 'out'] as const) {
          send(way, flags);
          steady();
          send(way, flags);
          send(way === 'in' ? 'out' : 'in', ACK);
          send(way, ACK);
        }
      }
      for (const ns of [1n << 29n, 1n << 30n, 1n, 1n << 28n, (1n << 30n) - 1n]) {
        life.advance(ns);
        steady();
      }
    });
  });

  it('is touched by what is remembered, from the second segment of each side on, whatever that says and whenever', () => {
    bench = new GatewayBench();
    bench.in(() => {
      const { life, send } = connection(() => emptyBehindItsBack(bench));
      for (const flags of [ACK, RST, ACK, FIN | ACK, RST | ACK, SYN, SYN | ACK, ACK, 0]) {
        for (const way of ['in', 'out', 'out', 'in'] as const) send(way, flags);
      }
      for (const ns of [1n << 30n, 1n, 100n * SECOND, 239n * SECOND]) {
        life.advance(ns);
        for (const way of ['out', 'in'] as const) send(way, ACK);
      }
    });
  });

  it('is not taken for another of the same key: when its port has been given to the next flow', () => {
    bench = new GatewayBench();
    bench.in(() => {
      const { life, from, answer, send } = connection();
      const { nowBootNs } = life.context;
      // Brought forward, a generation begins; then the decisions of the next segments outlive the connection.
      for (const ahead of [5000n, 1n << 50n]) for (const shard of [1, 2]) life.setDeadline(shard, nowBootNs + ahead);
      for (const way of ['out', 'out', 'in', 'in'] as const) send(way, ACK);
      const key = (): string[] => [...life.context.state.rows('session')].map((row) => JSON.stringify(Object.values(row.key)));
      const before = key();
      life.advance(7_442n * SECOND);
      life.sweep();
      expect(key()).toEqual([]);
      life.advance(121n * SECOND);
      expect(life.try(withTcpFlags(withNextPort(from), SYN)!)).toBeUndefined();
      expect(key()).toHaveLength(1);
      expect(before).toContain(key()[0]);
      for (const trial of [answer, from, answer, withNextPort(from)]) {
        expect(life.try(withTcpFlags(trial, ACK)!)).toBeUndefined();
        expect(life.compareRows(['session', 'mapping'])).toBeUndefined();
      }
      expect(life.judge(withTcpFlags(from, ACK)!).reason).toBe(DropReason.NAT_TCP_NOT_SYN);
    });
  });

  it('is not outlived: a decision ends with the deadline it was made under, and with one that is brought forward', () => {
    bench = new GatewayBench();
    bench.in(() => {
      const { life, send } = connection();
      for (const way of ['out', 'out', 'in', 'in'] as const) send(way, ACK);
      const { nowBootNs } = life.context;
      for (const ahead of [1000n, -1n, 5000n, 0n, 1n << 40n]) {
        for (const shard of [1, 2]) life.setDeadline(shard, nowBootNs + ahead);
        for (const way of ['out', 'out', 'in', 'in'] as const) send(way, ACK);
      }
      for (const shard of [1, 2]) life.setDeadline(shard, nowBootNs + 1000n);
      for (const way of ['out', 'out', 'in', 'in'] as const) send(way, ACK);
      life.advance(1000n);
      for (const way of ['out', 'out', 'in', 'in'] as const) send(way, ACK);
    });
  });
});

describe('an external address whose shard comes to life', () => {
  it('is another destination from then on, and no source any more', { timeout: 240_000 }, () => {
    bench = new GatewayBench();
    const changed = new Map<string, number>();
    for (let seed = 1; seed <= WORLDS; seed++) {
      for (const shard of [1, 2]) {
        bench.in(() => {
          const life = new GatewayLife(bench, seed);
          const { nowBootNs } = life.context;
          life.setDeadline(3 - shard, nowBootNs + (1n << 50n));
          life.setDeadline(shard, nowBootNs);
          const trials = plainTrials(life.world)
            .filter(({ program }) => program === 'from_underlay' || program === 'from_external')
            .flatMap((trial) => (trial.program === 'from_external' ? [trial, fromExternalAddress(trial)] : [trial]));
          const before = trials.map((trial) => {
            const verdict = life.judge(trial);
            expect(bench.compare(trial, verdict), trial.label).toBeUndefined();
            expect(life.try(trial), trial.label).toBeUndefined();
            return verdict;
          });
          // Later than it was: no generation begins.
          life.setDeadline(shard, nowBootNs + (1n << 50n));
          trials.forEach((trial, i) => {
            const verdict = life.judge(trial);
            expect(bench.compare(trial, verdict), trial.label).toBeUndefined();
            if (verdict.reason === before[i]!.reason && verdict.action === before[i]!.action) return;
            const kind = `${trial.program} ${actionName(before[i]!.action)} ${before[i]!.reason}`;
            changed.set(kind, (changed.get(kind) ?? 0) + 1);
          });
        });
      }
    }
    for (const kind of ['from_underlay EXTERNAL 0', 'from_external TUNNEL 0'])
      expect([kind, (changed.get(kind) ?? 0) > 0], JSON.stringify([...changed])).toEqual([kind, true]);
  });
});

describe('frames that are decided by what is remembered', () => {
  it.each(['from_port', 'from_underlay', 'from_external'] as const)('are counted for their network as others are: %s', (program) => {
    bench = new GatewayBench();
    bench.in(() => {
      const trial = rememberedTrial(program);
      emptyBehindItsBack(bench);
      const total = (): bigint => [...bench.datapath.gateway.traffic().values()].reduce((sum, { packets }) => sum + packets, 0n);
      const before = total();
      for (let i = 0; i < COUNTED; i++) bench.testRun(trial);
      const counted = Number(total() - before);
      // 100 expected of 6,400, each counting for 64: six standard deviations of that.
      expect(counted).toBeGreaterThan(COUNTED - 64 * 60);
      expect(counted).toBeLessThan(COUNTED + 64 * 60);
    });
  });
});

/** The frame as if it came from 203.0.113.15, if it is IPv4: the address of the other shard. */
function fromExternalAddress(trial: GatewayTrial): GatewayTrial {
  const frame = trial.frame.slice();
  if (frame[12] === 0x08) frame.set([203, 0, 113, 15], 26);
  return { ...trial, frame };
}

/** Whether the inner packet is IPv4 for an address that is nobody's: what is decided of it is remembered. */
function isToRemote4(frame: Uint8Array): boolean {
  return frame[62] === 0x08 && Buffer.from(frame.subarray(80, 84)).equals(REMOTE4.subarray(12));
}

/** The same segment from the next port of its source. */
function withNextPort(trial: GatewayTrial): GatewayTrial {
  const frame = trial.frame.slice();
  const view = new DataView(frame.buffer);
  view.setUint16(84, view.getUint16(84) + 1);
  // One more in what is summed is one less in the sum.
  view.setUint16(100, view.getUint16(100) - 1);
  return { ...trial, frame };
}

/** Whether port mapping has a session of the inner packet's source address and port. */
function hasSession(life: GatewayLife, frame: Uint8Array): boolean {
  const port = frame[84]! * 256 + frame[85]!;
  const source = Buffer.from(frame.subarray(76, 80));
  return [...life.context.state.rows('session')].some(({ value }) => value.insidePort === port && source.equals(value.ca.subarray(12)));
}

/** A frame for a program that is sent on by what is remembered: of the first world that has one. */
function rememberedTrial(program: GatewayTrial['program']): GatewayTrial {
  for (let seed = 1; seed <= WORLDS; seed++) {
    const life = new GatewayLife(bench, seed);
    for (const trial of plainTrials(life.world).filter((one) => one.program === program)) {
      for (let i = 0; i < 2; i++) life.try(trial);
      const { action, reason } = life.judge(trial);
      if (reason === 0 && (action === Action.EXTERNAL || (program === 'from_external' && action === Action.TUNNEL))) return trial;
    }
  }
  return expect.fail(`no world has a frame for ${program} that is remembered`);
}

/** Takes all rows of the gateway away without a word to the programs. */
function emptyBehindItsBack(at: GatewayBench): void {
  for (const { map: name } of Object.values(GATEWAY_MAPS)) {
    const map = BpfMap.fromPin(join(at.datapath.pinDirectory, name));
    try {
      for (const [key] of [...map.entries()]) map.delete(key);
    } finally {
      map.close();
    }
  }
}
