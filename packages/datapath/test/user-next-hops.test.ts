import { parseIp, parseMac } from '@weft/packet';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Neighbor, NeighborCommands } from '../src/user/neighbor-commands.ts';
import { NextHops } from '../src/user/next-hops.ts';

const PEER = parseIp('192.0.2.2');
const FAR = parseIp('203.0.113.9');
const MAC = parseMac('02:00:00:00:00:09');
const OTHER_MAC = parseMac('02:00:00:00:00:0a');

/** A host that knows some neighbours, and learns others when it asks. */
class FakeCommands implements NeighborCommands {
  readonly known = new Map<string, Neighbor>();
  readonly answering = new Map<string, Uint8Array>();
  readonly solicited: string[] = [];
  readonly routes = new Map([['203.0.113.9', '192.0.2.254']]);
  lists = 0;
  async nextHop(pa: string): Promise<string | undefined> {
    return pa.startsWith('192.0.2.') ? pa : this.routes.get(pa);
  }
  async neighbors(): Promise<ReadonlyMap<string, Neighbor>> {
    this.lists++;
    return new Map(this.known);
  }
  async solicit(addresses: readonly string[]): Promise<void> {
    this.solicited.push(...addresses);
    for (const address of addresses) {
      const mac = this.answering.get(address);
      if (mac !== undefined) this.known.set(address, { mac, isConfirmed: true });
    }
  }
}

let commands: FakeCommands;
let sent: [Uint8Array, number][];
let dropped: number[];
let hops: NextHops;
const frame = (number: number, length = 100): Uint8Array => new Uint8Array(length).fill(number);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  commands = new FakeCommands();
  sent = [];
  dropped = [];
  hops = new NextHops(commands, { send: (mac, one) => sent.push([mac, one[0]!]), drop: (one) => dropped.push(one[0]!) });
});
afterEach(() => {
  hops.close();
  vi.useRealTimers();
});

/** Lets look-ups run for a while. */
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

describe('NextHops', () => {
  test('holds frames until the kernel knows the address, and keeps their order', async () => {
    commands.answering.set('192.0.2.2', MAC);
    for (let i = 0; i < 5; i++) hops.send(PEER, frame(i));
    expect(sent).toEqual([]);
    await pass(50);
    expect(sent).toEqual([0, 1, 2, 3, 4].map((number) => [MAC, number]));
    expect(commands.solicited).toEqual(['192.0.2.2']);
    hops.send(PEER, frame(5));
    expect(sent.at(-1)).toEqual([MAC, 5]);
  });

  test('sends through a gateway', async () => {
    commands.known.set('192.0.2.254', { mac: MAC, isConfirmed: true });
    hops.send(FAR, frame(1));
    await pass(10);
    expect(sent).toEqual([[MAC, 1]]);
    expect(commands.solicited).toEqual([]);
  });

  test('drops what waits when nobody answers, and asks again later', async () => {
    hops.send(PEER, frame(1));
    await pass(2_500);
    expect(dropped).toEqual([]);
    await pass(1_000);
    expect(dropped).toEqual([1]);
    hops.send(PEER, frame(2));
    expect(dropped).toEqual([1, 2]);
    await pass(1_100);
    commands.answering.set('192.0.2.2', MAC);
    hops.send(PEER, frame(3));
    await pass(50);
    expect(sent).toEqual([[MAC, 3]]);
  });

  test('drops at once what has no route', async () => {
    hops.send(parseIp('198.51.100.1'), frame(1));
    await pass(10);
    expect(dropped).toEqual([1]);
  });

  test('holds a bounded number of frames and bytes', async () => {
    for (let i = 0; i < 1_060; i++) hops.send(PEER, frame(i & 0xff));
    expect(dropped).toHaveLength(36);
    for (let i = 0; i < 30; i++) hops.send(FAR, frame(i, 65_000));
    expect(dropped).toHaveLength(36 + 14);
    commands.answering.set('192.0.2.2', MAC);
    commands.answering.set('192.0.2.254', MAC);
    await pass(50);
    expect(sent).toHaveLength(1_024 + 16);
  });

  test('follows a neighbour that changes its address, while in use', async () => {
    commands.known.set('192.0.2.2', { mac: MAC, isConfirmed: true });
    hops.send(PEER, frame(1));
    await pass(10);
    commands.known.set('192.0.2.2', { mac: OTHER_MAC, isConfirmed: true });
    hops.send(PEER, frame(2));
    await pass(2_100);
    hops.send(PEER, frame(3));
    await pass(10);
    hops.send(PEER, frame(4));
    expect(sent.map(([mac]) => mac)).toEqual([MAC, MAC, MAC, OTHER_MAC]);
  });

  test('has the kernel confirm a neighbour not heard from lately', async () => {
    commands.known.set('192.0.2.2', { mac: MAC, isConfirmed: false });
    hops.send(PEER, frame(1));
    await pass(10);
    expect(sent).toHaveLength(1);
    expect(commands.solicited).toEqual(['192.0.2.2']);
  });

  test('looks many peers up together', async () => {
    for (let i = 1; i <= 200; i++) commands.answering.set(`192.0.2.${i}`, MAC);
    for (let i = 1; i <= 200; i++) hops.send(parseIp(`192.0.2.${i}`), frame(i & 0xff));
    await pass(100);
    expect(sent).toHaveLength(200);
    expect(commands.lists).toBeLessThanOrEqual(4);
  });

  test('is silent once closed', async () => {
    hops.send(PEER, frame(1));
    hops.close();
    commands.answering.set('192.0.2.2', MAC);
    await pass(5_000);
    hops.send(PEER, frame(2));
    expect(sent).toEqual([]);
    expect(dropped).toEqual([]);
  });
});
