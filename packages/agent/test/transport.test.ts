import { createIdentity } from '@weft/bus';
import { encodeProbe, ProbeType } from '@weft/forwarding';
import { FakeClock } from '@weft/testkit';
import { beforeEach, describe, expect, it } from 'vitest';
import { OwnershipTransport } from '../src/gateway/transport.ts';
import { MemoryStore } from './memory-bus.ts';

const GROUP = '22222222-2222-4222-8222-222222222222';
const release = { kind: 'release' as const, value: { epoch: 4_294_967_297n, shards: [1] } };
const logger = { debug() {}, info() {}, warn() {}, error() {} };

let clock: FakeClock;
let datagrams: { to: string; message: Uint8Array }[];
let heard: string[];

/** Two hosts, `a` and `b`, on one bus; datagrams are collected. */
function pair() {
  const store = new MemoryStore();
  const keys = { a: createIdentity('host'), b: createIdentity('host') };
  const make = (hostId: 'a' | 'b', identity = keys[hostId]) =>
    new OwnershipTransport({
      hostId,
      bus: store.connect(hostId),
      identity,
      clock,
      logger,
      sendDatagram: async (to, message) => {
        datagrams.push({ to, message });
        return undefined;
      },
      addressOf: (host) => `192.0.2.${host === 'a' ? 1 : 2}`,
      keyOf: (_, host) => (host === 'a' ? keys.a : keys.b).publicKey,
    });
  const [a, b] = [make('a'), make('b')];
  for (const one of [a, b]) one.setNodes(GROUP, new Set(['a', 'b']));
  b.listen(GROUP, true, ({ from, body }) => heard.push(`${body.kind} from ${from}`));
  return { a, b, impostor: make('a', createIdentity('host')) };
}
const settle = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  clock = new FakeClock(1_000);
  datagrams = [];
  heard = [];
});

describe('OwnershipTransport', () => {
  it('sends on both paths, and hands over what came by both once', async () => {
    const { a, b } = pair();
    a.send(GROUP, 'b', ['nats', 'underlay'], release);
    await settle();
    expect(datagrams.map(({ to }) => to)).toEqual(['192.0.2.2']);
    b.receive(datagrams[0]!.message);
    expect(heard).toEqual(['release from a']);
  });

  it('hands over the same words said again later: they are a question that nobody answered', async () => {
    const { a, b } = pair();
    a.send(GROUP, 'b', ['underlay'], release);
    await settle();
    b.receive(datagrams[0]!.message);
    clock.advance(80);
    a.send(GROUP, 'b', ['underlay'], release);
    await settle();
    expect(Buffer.compare(datagrams[0]!.message, datagrams[1]!.message)).toBe(0);
    b.receive(datagrams[1]!.message);
    expect(heard.length).toBe(2);
  });

  it('refuses what another key signed, and takes no probe for a message', async () => {
    const { b, impostor } = pair();
    impostor.send(GROUP, 'b', ['underlay'], release);
    await settle();
    b.receive(datagrams[0]!.message);
    expect(heard).toEqual([]);
    expect(b.counters.refused).toBe(1);
    b.receive(encodeProbe({ type: ProbeType.REPLY, nonce: 1n, shards: [] }));
    b.receive(new Uint8Array([1, 2, 3]));
    expect(b.counters.refused).toBe(2);
  });
});
