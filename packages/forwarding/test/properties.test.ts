import { dropReasonName, dropReasonTexts } from '@weft/model';
import { flowHashOfFrame, ipEquals, ipKey, isIpv4Mapped, tunnelSourcePort } from '@weft/packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Action, fromPort, fromTunnel, fromUnderlay, MemoryTables, type TableChange, TargetKind, type Verdict } from '../src/index.ts';
import {
  arbitraryBytes,
  arbitraryFrame,
  createWorld,
  type GeneratedFrame,
  generateFrame,
  judge,
  Rng,
  tablesOf,
  validFrames,
  type World,
} from '../src/testing/index.ts';
import { expectSame } from './same.ts';

const DEVICES = { portIfindexes: [11, 12, 13, 14, 15, 16], underlayIfindex: 10 };
const WORLDS = Array.from({ length: 12 }, (_, seed) => createWorld(seed, DEVICES));

/** What every verdict must keep, whatever the frame. */
function expectSound(world: World, frame: GeneratedFrame, verdict: Verdict): void {
  const { action, reason, ifindex, vsid, pa } = verdict;
  const named = `${frame.label}: action ${action}, ${dropReasonName(reason)}`;
  if (!dropReasonTexts.has(reason)) throw new Error(`unnamed reason: ${named}`);
  if ((action === Action.DROP) !== (verdict.frame === undefined)) throw new Error(`frame: ${named}`);
  if (action === Action.DROP && reason === 0) throw new Error(`a drop without reason: ${named}`);
  if (action !== Action.DROP && action !== Action.REPLY && reason !== 0) throw new Error(`a reason without drop: ${named}`);
  if (action === Action.PASS && frame.program === 'from_port') throw new Error(`to the host's stack: ${named}`);
  if (action === Action.REPLY && ifindex !== frame.ifindex) throw new Error(`reply to another port: ${named}`);
  if (action === Action.TUNNEL && (vsid === 0 || ipEquals(pa, world.pa) || !isIpv4Mapped(pa))) throw new Error(`tunnel: ${named}`);
}

describe('every frame', () => {
  it('gets a sound verdict, be it any bytes at all', () => {
    for (const world of WORLDS.slice(0, 4)) {
      const tables = tablesOf(world);
      fc.assert(
        fc.property(arbitraryBytes(world), (frame) => {
          expectSound(world, frame, judge(tables, world, frame));
        }),
        { numRuns: 500 },
      );
    }
  });

  it('gets a sound verdict when a sound frame was bent, in worlds of any kind', () => {
    for (const world of WORLDS) {
      const tables = tablesOf(world);
      fc.assert(
        fc.property(arbitraryFrame(world), (frame) => {
          expectSound(world, frame, judge(tables, world, frame));
        }),
        { numRuns: 300 },
      );
      const rng = new Rng(world.seed);
      for (let i = 0; i < 10_000; i++) {
        const frame = generateFrame(rng, world);
        expectSound(world, frame, judge(tables, world, frame));
      }
    }
  });

  it('leaves the input as it was, and gets the same verdict again', () => {
    const world = WORLDS[0]!;
    const tables = tablesOf(world);
    const rng = new Rng(99);
    for (let i = 0; i < 5000; i++) {
      const frame = generateFrame(rng, world);
      const before = frame.frame.slice();
      const first = judge(tables, world, frame);
      expectSame(frame, judge(tables, world, frame), first);
      if (!Buffer.from(before).equals(frame.frame)) throw new Error(`the input was changed: ${frame.label}`);
    }
  });

  it('gets a named verdict when it is cut at any byte, and no cut one is delivered whole', () => {
    for (const world of WORLDS.slice(0, 3)) {
      const tables = tablesOf(world);
      for (const whole of validFrames(world)) {
        const uncut = judge(tables, world, whole);
        for (let length = 0; length < whole.frame.length; length += length < 130 ? 1 : 37) {
          const frame = { ...whole, frame: whole.frame.subarray(0, length) };
          const verdict = judge(tables, world, frame);
          expectSound(world, frame, verdict);
          const isCutShort = length < packetEnd(whole.frame);
          if (isCutShort && (verdict.action === Action.LOCAL || verdict.action === Action.TUNNEL)) {
            throw new Error(`${whole.label}, cut to ${length} of ${whole.frame.length}, goes on; uncut: action ${uncut.action}`);
          }
        }
      }
    }
  });

  it('gets a sound verdict on the tunnel device too, with or without GSO', () => {
    for (const world of WORLDS.slice(0, 4)) {
      const tables = tablesOf(world);
      const rng = new Rng(world.seed + 1);
      const context = { pa: world.pa, udpPort: world.udpPort, nowBootNs: world.nowBootNs };
      for (let i = 0; i < 5000; i++) {
        const generated = generateFrame(rng, world);
        const frame = generated.program === 'from_underlay' ? generated.frame.subarray(50) : generated.frame;
        const gso = rng.oneIn(2) ? { size: rng.below(2000) } : undefined;
        const input = { frame, gso, source: rng.pick(world.peers), vni: rng.pick(world.subnets).vsid, marked: !rng.oneIn(20) };
        expectSound(world, { ...generated, program: 'from_underlay' }, fromTunnel(tables, input, context));
        const port = rng.pick(world.ports).ifindex;
        expectSound(world, { ...generated, program: 'from_port', ifindex: port }, fromPort(tables, { ifindex: port, frame, gso }, context));
      }
    }
  });
});

describe('isolation', () => {
  it("keeps a tenant's frames among its own ports and VSIDs, whatever they look like", () => {
    for (const world of WORLDS) {
      const tables = tablesOf(world);
      const rng = new Rng(world.seed + 2);
      for (let i = 0; i < 15_000; i++) {
        const frame = generateFrame(rng, world);
        expectIsolated(world, frame, judge(tables, world, frame));
      }
    }
  });

  it('lets nothing of one tenant be seen in what another gets', () => {
    // A tenant's verdicts are the same, byte for byte, when the other tenant does not exist.
    for (const world of WORLDS) {
      const tables = tablesOf(world);
      const alone = [0, 1].map((tenant) => new MemoryTables(world.changes.filter((change) => tenantOfRow(world, change) === tenant)));
      const rng = new Rng(world.seed + 3);
      for (let i = 0; i < 5000; i++) {
        const frame = generateFrame(rng, world);
        const tenant = tenantOf(world, frame);
        if (tenant === undefined) continue;
        expectSame(frame, judge(alone[tenant]!, world, frame), judge(tables, world, frame));
      }
    }
  });
});

describe('a frame that one host encapsulates', () => {
  it('is delivered by the other as the same inner frame', () => {
    let delivered = 0;
    for (const world of WORLDS) {
      const tables = tablesOf(world);
      const peers = new Map<string, MemoryTables>();
      for (const frame of validFrames(world)) {
        if (frame.program !== 'from_port') continue;
        const sent = judge(tables, world, frame);
        if (sent.action !== Action.TUNNEL || sent.frame === undefined) continue;
        const sourcePort = sent.frame[34]! * 256 + sent.frame[35]!;
        if (sourcePort !== tunnelSourcePort(flowHashOfFrame(sent.frame, 50))) throw new Error(`${frame.label}: source port ${sourcePort}`);
        const other = cached(peers, ipKey(sent.pa), () => peerTables(world, sent.pa));
        const context = { pa: sent.pa, udpPort: world.udpPort, nowBootNs: world.nowBootNs };
        const got = fromUnderlay(other, { frame: sent.frame }, context);
        const inner = sent.frame.subarray(50);
        const target = other.l2(sent.vsid, inner.subarray(0, 6));
        // Behind a shard there is a gateway, whose side is another contract's; a redirect is a port that has arrived there.
        if (target?.kind !== TargetKind.LOCAL) continue;
        const isSame = got.action === Action.LOCAL && got.ifindex === target.ifindexOrShard && Buffer.from(got.frame ?? []).equals(inner);
        if (!isSame) throw new Error(`${frame.label}: action ${got.action}, ${dropReasonName(got.reason)}, device ${got.ifindex}`);
        delivered++;
      }
    }
    expect(delivered).toBeGreaterThan(1000);
  });
});

function cached<K, V>(known: Map<K, V>, key: K, make: () => V): V {
  const value = known.get(key) ?? make();
  known.set(key, value);
  return value;
}

/** First byte after the innermost IP packet of a sound frame: what is behind it is padding. */
function packetEnd(frame: Uint8Array): number {
  const base = isTunnel(frame) ? 50 : 0;
  const type = (frame[base + 12]! << 8) | frame[base + 13]!;
  if (type === 0x0806) return base + 42;
  const ip = base + 14;
  return type === 0x86dd ? ip + 40 + frame[ip + 4]! * 256 + frame[ip + 5]! : ip + frame[ip + 2]! * 256 + frame[ip + 3]!;
}

function isTunnel(frame: Uint8Array): boolean {
  return frame.length > 64 && frame[12] === 8 && frame[13] === 0 && frame[23] === 17 && frame[36] === 0x12 && frame[37] === 0xb5;
}

function tenantOf(world: World, { program, ifindex, frame }: GeneratedFrame): number | undefined {
  if (program === 'from_port') return world.ports.find((port) => port.ifindex === ifindex)?.subnet.tenant;
  if (frame.length < 50) return undefined;
  const vni = frame[46]! * 65536 + frame[47]! * 256 + frame[48]!;
  return world.subnets.find(({ vsid }) => vsid === vni)?.tenant;
}

function expectIsolated(world: World, frame: GeneratedFrame, verdict: Verdict): void {
  const tenant = tenantOf(world, frame);
  const isPort = verdict.action === Action.LOCAL || verdict.action === Action.REPLY;
  const reached = isPort
    ? world.ports.find((port) => port.ifindex === verdict.ifindex)?.subnet.tenant
    : world.subnets.find(({ vsid }) => vsid === verdict.vsid)?.tenant;
  if (!isPort && verdict.action !== Action.TUNNEL) return;
  if (tenant === undefined || reached !== tenant) throw new Error(`${frame.label}: of tenant ${tenant}, reached ${reached}`);
}

/** Rows of one tenant's network; shards belong to the tenant whose number they have. */
function tenantOfRow(world: World, change: TableChange): number | undefined {
  const { table, key } = change;
  const ofNetwork = (networkId: number): number | undefined => world.subnets.find((subnet) => subnet.networkId === networkId)?.tenant;
  switch (table) {
    case 'port':
      return world.ports.find((port) => port.ifindex === key.ifindex)?.subnet.tenant;
    case 'subnet':
    case 'l2':
      return world.subnets.find(({ vsid }) => vsid === key.vsid)?.tenant;
    case 'shard':
      return key.id - 1;
    default:
      return ofNetwork(key.networkId);
  }
}

/** The world as the host at `pa` has it: its own ports are local, those of the first host are peers. */
function peerTables(world: World, pa: Uint8Array): MemoryTables {
  let ifindex = 100;
  const seen = new Map<unknown, number>();
  return new MemoryTables(
    world.changes.flatMap((change): TableChange[] => {
      if (change.op === 'delete' || change.table === 'port') return [];
      if (change.table !== 'lookup' && change.table !== 'l2') return [change];
      const target = change.value;
      if (target.kind === TargetKind.LOCAL) return [{ ...change, value: { ...target, kind: TargetKind.PEER, ifindexOrShard: 0 } }];
      const isHere = (target.kind === TargetKind.PEER || target.kind === TargetKind.REDIRECT) && ipEquals(target.pa, pa);
      if (!isHere) return [change];
      if (!seen.has(target)) seen.set(target, ifindex++);
      return [{ ...change, value: { ...target, kind: TargetKind.LOCAL, ifindexOrShard: seen.get(target)! } }];
    }),
  );
}
