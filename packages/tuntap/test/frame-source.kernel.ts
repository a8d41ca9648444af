import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FrameSource, openPacketSocket, openTap, type TapDevice, type TunTapError } from '../src/index.ts';
import { numberedFrame, numberOf, Sandbox, soon, turns } from './sandbox.ts';

let sandbox: Sandbox;
let tap: TapDevice;
let wire: FrameSource;
beforeEach(() => {
  sandbox = new Sandbox();
  [tap, wire] = sandbox.run(() => [openTap({ name: 'tap0' }), openPacketSocket({ interfaceName: 'tap0' })]);
  sandbox.ip('link', 'set', 'tap0', 'up');
});
afterEach(() => {
  tap.close();
  wire.close();
  sandbox.remove();
});

const send = (from: number, count: number): void => {
  for (let i = 0; i < count; i++) wire.write(numberedFrame(from + i));
};

describe('FrameSource.start()', () => {
  test('delivers waiting frames in batches, in order', async () => {
    send(0, 10);
    const batches: number[][] = [];
    tap.start((batch) => batches.push([...batch].map(numberOf)), { batchSize: 4 });
    await soon(() => expect(batches.flat()).toHaveLength(10));
    expect(batches).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
  });

  test('ends a batch when no largest frame fits the buffer any more', async () => {
    send(0, 200);
    const counts: number[] = [];
    // 67,584 bytes hold one frame for sure; a second begins only if another 67,584 bytes are left.
    tap.start((batch) => counts.push(batch.count), { bufferBytes: 67_584 + 64, batchSize: 64 });
    await soon(() => expect(counts.reduce((sum, count) => sum + count, 0)).toBe(200));
    expect(Math.max(...counts)).toBe(2);
  });

  test('reuses its buffer: views are valid until the callback returns', async () => {
    const kept: Uint8Array[] = [];
    let batchKept: { frame(index: number): Uint8Array } | undefined;
    tap.start((batch) => {
      kept.push(batch.frame(0));
      batchKept = batch;
    });
    send(1, 1);
    await soon(() => expect(kept).toHaveLength(1));
    expect(numberOf(kept[0]!)).toBe(1);
    send(2, 1);
    await soon(() => expect(kept).toHaveLength(2));
    expect(numberOf(kept[0]!)).toBe(2);
    expect(() => batchKept!.frame(0)).toThrow(RangeError);
  });

  test('holds frames back while paused', async () => {
    const seen: number[] = [];
    tap.start((batch) => seen.push(...[...batch].map(numberOf)));
    send(0, 1);
    await soon(() => expect(seen).toEqual([0]));
    tap.pause();
    send(1, 20);
    await turns();
    expect(seen).toEqual([0]);
    tap.resume();
    await soon(() => expect(seen).toEqual(Array.from({ length: 21 }, (_, i) => i)));
  });

  test('lets the callback pause in the middle', async () => {
    send(0, 10);
    const seen: number[] = [];
    tap.start(
      (batch) => {
        seen.push(...[...batch].map(numberOf));
        tap.pause();
      },
      { batchSize: 3 },
    );
    await soon(() => expect(seen).toEqual([0, 1, 2]));
    await turns();
    expect(seen).toEqual([0, 1, 2]);
    tap.resume();
    await soon(() => expect(seen).toEqual([0, 1, 2, 3, 4, 5]));
  });

  test('drops in the kernel, not in memory, when paused for long', async () => {
    const seen: number[] = [];
    tap.start((batch) => seen.push(...[...batch].map(numberOf)));
    tap.pause();
    send(0, 5000);
    tap.resume();
    const dropped = (): number => JSON.parse(sandbox.ip('-j', '-s', 'link', 'show', 'tap0'))[0].stats64.tx.dropped;
    await soon(() => expect(seen.length + dropped()).toBe(5000));
    expect(dropped()).toBeGreaterThan(0);
    // The queue keeps the oldest.
    expect(seen).toEqual(seen.map((_, i) => i));
  });

  test('lets the callback close it', async () => {
    send(0, 10);
    const seen: number[] = [];
    tap.start((batch) => {
      seen.push(numberOf(batch.frame(0)));
      tap.close();
    });
    await soon(() => expect(seen).toEqual([0]));
    await turns();
    expect(seen).toEqual([0]);
    expect(tap.closed).toBe(true);
  });

  test('tells onError that the interface was removed', async () => {
    const errors: TunTapError[] = [];
    tap.start(() => {}, { onError: (error) => errors.push(error) });
    sandbox.ip('link', 'del', 'tap0');
    await soon(() => expect(errors).toHaveLength(1));
    expect(errors[0]).toMatchObject({ name: 'TunTapError', code: 'WEFT_ERR_TUNTAP_GONE' });
    await turns();
    expect(errors).toHaveLength(1);
  });

  test('refuses a second start and bad sizes', () => {
    expect(() => tap.start(() => {}, { batchSize: 0 })).toThrow(/batchSize 0: must be an integer from 1 to 4096/);
    expect(() => tap.start(() => {}, { bufferBytes: 1000 })).toThrow(/bufferBytes 1000/);
    tap.start(() => {});
    expect(() => tap.start(() => {})).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_ALREADY_STARTED' }));
  });
});

describe('a packet socket', () => {
  test('reads batches, and goes on after its interface was down', async () => {
    const seen: number[] = [];
    const errors: unknown[] = [];
    wire.start((batch) => seen.push(...[...batch].map(numberOf)), { onError: (error) => errors.push(error) });
    expect(tap.writeBatch([1, 2, 3].map((number) => numberedFrame(number)))).toBe(3);
    await soon(() => expect(seen).toEqual([1, 2, 3]));
    sandbox.ip('link', 'set', 'tap0', 'down');
    await turns();
    sandbox.ip('link', 'set', 'tap0', 'up');
    tap.write(numberedFrame(4));
    await soon(() => expect(seen).toEqual([1, 2, 3, 4]));
    expect(errors).toEqual([]);
  });

  test('works on a veth pair', async () => {
    await sandbox.vethPair('va', 'vb');
    const [a, b] = sandbox.run(() => [openPacketSocket({ interfaceName: 'va' }), openPacketSocket({ interfaceName: 'vb' })]);
    const seen: number[] = [];
    b.start((batch) => seen.push(...[...batch].map(numberOf)));
    expect(a.writeBatch(Array.from({ length: 100 }, (_, i) => numberedFrame(i)))).toBe(100);
    await soon(() => expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i)));
    expect(a.read()).toBeNull();
    a.close();
    b.close();
  });

  test('shows VLAN tags where the wire had them, virtio-net header or not', async () => {
    await sandbox.vethPair('va', 'vb');
    const [sender, plain, withHeader] = sandbox.run(() => [
      openPacketSocket({ interfaceName: 'va' }),
      openPacketSocket({ interfaceName: 'vb' }),
      openPacketSocket({ interfaceName: 'vb', vnetHdr: true }),
    ]);
    const bare = numberedFrame(7);
    const tagged = Uint8Array.from([...bare.subarray(0, 12), 0x81, 0x00, 0x20, 0x64, ...bare.subarray(12)]);
    const seen: Uint8Array[][] = [[], []];
    plain.start((batch) => seen[0]!.push(...[...batch].map((frame) => frame.slice())));
    withHeader.start((batch) => seen[1]!.push(...[...batch].map((frame) => frame.slice(10))));
    sender.write(tagged);
    sender.write(bare);
    await soon(() =>
      expect(seen).toEqual([
        [tagged, bare],
        [tagged, bare],
      ]),
    );
    sender.write(tagged);
    plain.pause();
    await soon(() => expect(plain.read()).toEqual(tagged));
    for (const socket of [sender, plain, withHeader]) socket.close();
  });

  test('receives what its filter lets through, and keeps as much as asked', async () => {
    await sandbox.vethPair('va', 'vb');
    // The byte at 17 is the low one of the frame's number: ldb [17]; jeq #3; ret.
    const filter = [
      [0x30, 0, 0, 17],
      [0x15, 0, 1, 3],
      [0x06, 0, 0, 0x40000],
      [0x06, 0, 0, 0],
    ] as const;
    const [sender, some, all] = sandbox.run(() => [
      openPacketSocket({ interfaceName: 'va' }),
      openPacketSocket({ interfaceName: 'vb', filter }),
      openPacketSocket({ interfaceName: 'vb', receiveBufferBytes: 64 << 20 }),
    ]);
    const counts = { some: 0, all: 0 };
    const takeSome = (): void => {
      for (let frame = some.read(); frame !== null; frame = some.read()) {
        expect(numberOf(frame) & 0xff).toBe(3);
        counts.some++;
      }
    };
    for (let i = 0; i < 5000; i++) {
      sender.write(numberedFrame(i, 1500));
      // A veth hands frames over by a queue of 1,000 (net.core.netdev_max_backlog), which a busy machine may leave for later.
      if ((i & 0xff) === 3) {
        await soon(() => {
          takeSome();
          expect(counts.some).toBe((i >> 8) + 1);
        });
      }
    }
    await soon(() => {
      takeSome();
      while (all.read() !== null) counts.all++;
      expect(counts).toEqual({ some: 20, all: 5000 });
    });
    for (const socket of [sender, some, all]) socket.close();
  });
});
