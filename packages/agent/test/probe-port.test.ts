import { PROBE_SHARDS_MAX, type Probe, ProbeType } from '@weft/forwarding';
import { describe, expect, it } from 'vitest';
import { KernelProbes, type ProbeReply } from '../src/gateway/probe-port.ts';

function start() {
  const sent: { pa: string; bytes: Uint8Array }[] = [];
  let replies: ProbeReply[] = [];
  const probes = new KernelProbes({
    clock: { now: () => 42 },
    addressOf: (host) => (host === 'unknown' ? undefined : `192.0.2.${host.slice(1)}`),
    sendDatagram: async (pa, bytes) => {
      sent.push({ pa, bytes });
      return pa === '192.0.2.9' ? new Error('no route') : undefined;
    },
    readReplies: () => replies,
  });
  return { probes, sent, reply: (...next: ProbeReply[]) => (replies = next) };
}
const asked = (bytes: Uint8Array): number[] => {
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes[6]! }, (_, index) => view.getUint32(16 + 16 * index));
};

describe('KernelProbes', () => {
  it('sends what section 9 of the gateway contract draws', async () => {
    const { probes, sent } = start();
    await probes.send('g1', 0x1_0203_0405_0607, [7]);
    expect(Buffer.from(sent[0]!.bytes).toString('hex')).toBe(`57465052${'01010100'}${'0001020304050607'}${'00000007'}${'0'.repeat(24)}`);
  });

  it('tells when a probe left, and nothing of one that did not', async () => {
    const { probes, sent } = start();
    expect(await probes.send('g1', 5, [1, 2])).toBe(42);
    expect(await probes.send('g9', 5, [1])).toBeUndefined();
    expect(await probes.send('unknown', 5, [1])).toBeUndefined();
    expect(sent.map(({ pa }) => pa)).toEqual(['192.0.2.1', '192.0.2.9']);
    expect(asked(sent[0]!.bytes)).toEqual([1, 2]);
  });

  it('gives an answer once, of peers that were asked only', async () => {
    const { probes, reply } = start();
    await probes.send('g1', 5, [1]);
    const shards = [{ shard: 1, epoch: 3n, valid: true }];
    reply({ pa: '192.0.2.1', nonce: 5n, shards }, { pa: '192.0.2.2', nonce: 6n, shards });
    expect(probes.answers()).toEqual([{ peer: 'g1', nonce: 5, shards }]);
    expect(probes.answers()).toEqual([]);
    await probes.send('g1', 8, [1]);
    reply({ pa: '192.0.2.1', nonce: 8n, shards });
    expect(probes.answers()).toEqual([{ peer: 'g1', nonce: 8, shards }]);
  });

  it('misses no answer where two groups ask the same machine, and the kernel keeps the last one only', async () => {
    const [one, two] = [start(), start()];
    const answerTo = (nonce: bigint, shard: number): Probe => ({
      type: ProbeType.REPLY,
      nonce,
      shards: [{ shard, epoch: 3n, isForwarding: true }],
    });
    for (let nonce = 10; nonce < 20; nonce += 2) {
      await one.probes.send('g1', nonce, [1]);
      await two.probes.send('g1', nonce + 1, [2]);
      for (const { probes, reply } of [one, two]) {
        reply({ pa: '192.0.2.1', nonce: BigInt(nonce + 1), shards: [{ shard: 2, epoch: 3n, valid: true }] });
        probes.heard('192.0.2.1', answerTo(BigInt(nonce), 1));
        probes.heard('192.0.2.1', answerTo(BigInt(nonce + 1), 2));
      }
      const answer = (of: number, shard: number) => [{ peer: 'g1', nonce: of, shards: [{ shard, epoch: 3n, valid: true }] }];
      expect(one.probes.answers()).toEqual(answer(nonce, 1));
      expect(two.probes.answers()).toEqual(answer(nonce + 1, 2));
    }
    // Nor does it take what it has not asked for, what another says in the peer's place, or a question.
    await one.probes.send('g1', 30, [1]);
    one.probes.heard('192.0.2.1', answerTo(31n, 1));
    one.probes.heard('192.0.2.2', answerTo(30n, 1));
    one.probes.heard('192.0.2.1', { ...answerTo(30n, 1), type: ProbeType.REQUEST });
    expect(one.probes.answers()).toEqual([]);
  });

  it('asks about what the peer owns each time, and about the others in turn', async () => {
    const { probes, sent, reply } = start();
    const all = Array.from({ length: 20 }, (_, index) => index + 1);
    await probes.send('g1', 1, all);
    reply({ pa: '192.0.2.1', nonce: 1n, shards: [3, 17].map((shard) => ({ shard, epoch: 1n, valid: true })) });
    probes.answers();
    for (let nonce = 2; nonce < 6; nonce++) await probes.send('g1', nonce, all);
    const later = sent.slice(1).map(({ bytes }) => asked(bytes));
    for (const shards of later) expect(shards.slice(0, 2)).toEqual([3, 17]);
    expect(new Set(later.flat())).toEqual(new Set(all));
    expect(later.every((shards) => shards.length === PROBE_SHARDS_MAX)).toBe(true);
  });
});
