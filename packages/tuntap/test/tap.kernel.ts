import { release } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTap, inspectTap, openPacketSocket, openTap, removeTap, TunTapError } from '../src/index.ts';
import { numberedFrame, numberOf, Sandbox } from './sandbox.ts';

// What the tests send to a TAP they send through a packet socket on it, and the other way round:
//
//   test ── openTap ──▶ tap0 ◀── openPacketSocket ── test

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

const thrownBy = (call: () => unknown): TunTapError => {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(TunTapError);
    return error as TunTapError;
  }
  throw new Error('nothing was thrown');
};

describe('openTap()', () => {
  test('makes a TAP that is gone after close()', () => {
    const tap = sandbox.run(() => openTap({ name: 'tap0' }));
    expect(tap.ifindex).toBeGreaterThan(0);
    expect(sandbox.ip('-o', 'link', 'show', 'tap0')).toContain(`${tap.ifindex}: tap0`);
    expect(tap.read()).toBeNull();
    tap.close();
    tap.close();
    expect(tap.fd).toBe(-1);
    expect(sandbox.run(() => inspectTap('tap0'))).toBeUndefined();
    expect(thrownBy(() => tap.read()).code).toBe('WEFT_ERR_TUNTAP_CLOSED');
  });

  test('passes frames both ways, whole', () => {
    const [tap, wire] = sandbox.run(() => [openTap({ name: 'tap0' }), openPacketSocket({ interfaceName: 'tap0' })]);
    sandbox.ip('link', 'set', 'tap0', 'up');
    wire.write(numberedFrame(1, 1514));
    const outward = tap.read();
    expect(outward).toEqual(numberedFrame(1, 1514));
    expect(tap.read()).toBeNull();

    expect(tap.writeBatch([numberedFrame(2), numberedFrame(3, 1000)])).toBe(2);
    expect(numberOf(wire.read()!)).toBe(2);
    expect(wire.read()).toEqual(numberedFrame(3, 1000));
    // PACKET_IGNORE_OUTGOING: the frame that the socket sent itself is not read back.
    expect(wire.read()).toBeNull();
    wire.close();
    tap.close();
  });

  test('with sendOnly a packet socket writes, and receives nothing', () => {
    const [tap, wire] = sandbox.run(() => [openTap({ name: 'tap0' }), openPacketSocket({ interfaceName: 'tap0', sendOnly: true })]);
    sandbox.ip('link', 'set', 'tap0', 'up');
    wire.write(numberedFrame(1));
    expect(numberOf(tap.read()!)).toBe(1);
    tap.write(numberedFrame(2));
    expect(wire.read()).toBeNull();
    wire.close();
    tap.close();
  });

  test.each([10, 12] as const)('puts a virtio-net header of %i bytes in front of each frame', (vnetHeaderBytes) => {
    const [tap, wire] = sandbox.run(() => [
      openTap({ name: 'tap0', vnetHdr: true, vnetHeaderBytes, offloads: ['csum', 'tso4', 'tso6', 'ecn'] }),
      openPacketSocket({ interfaceName: 'tap0' }),
    ]);
    sandbox.ip('link', 'set', 'tap0', 'up');
    wire.write(numberedFrame(7));
    const read = tap.read()!;
    expect(read.byteLength).toBe(vnetHeaderBytes + 60);
    expect(read.subarray(vnetHeaderBytes)).toEqual(numberedFrame(7));
    const sent = new Uint8Array(vnetHeaderBytes + 60);
    sent.set(numberedFrame(8), vnetHeaderBytes);
    tap.write(sent);
    expect(wire.read()).toEqual(numberedFrame(8));
    wire.close();
    tap.close();
  });

  test('carries a 60,000-byte TCP frame uncut with vnet headers on both sides', () => {
    const [tap, wire] = sandbox.run(() => [
      openTap({ name: 'tap0', vnetHdr: true, offloads: ['csum', 'tso4'] }),
      openPacketSocket({ interfaceName: 'tap0', vnetHdr: true }),
    ]);
    sandbox.ip('link', 'set', 'tap0', 'up');
    const frame = gsoFrame(60_000);
    wire.write(frame);
    const read = tap.read()!;
    expect(read.byteLength).toBe(frame.byteLength);
    expect(read.subarray(10)).toEqual(frame.subarray(10));
    expect(new DataView(read.buffer).getUint16(4, true)).toBe(1448);
    wire.close();
    tap.close();
  });

  test('gives each opener of a multi-queue TAP a queue', () => {
    const queues = sandbox.run(() => [0, 1, 2].map(() => openTap({ name: 'tap0', multiQueue: true })));
    expect(new Set(queues.map((queue) => queue.ifindex)).size).toBe(1);
    expect(sandbox.run(() => inspectTap('tap0'))).toMatchObject({ multiQueue: true, mode: 'tap' });
    for (const queue of queues) queue.close();
  });

  // The kernel starts a queue some time after its carrier came, and drops frames until then; from Linux 6.8 on it can be asked to start it now.
  const [major, minor] = release().split('.').map(Number) as [number, number];
  test.skipIf(major < 6 || (major === 6 && minor < 8))('takes frames at once where the device is up already (Linux 6.8 or later)', () => {
    sandbox.run(() => createTap({ name: 'tap0' }));
    sandbox.ip('link', 'set', 'tap0', 'up');
    const wire = sandbox.run(() => openPacketSocket({ interfaceName: 'tap0' }));
    for (let n = 1; n <= 150; n++) {
      const tap = sandbox.run(() => openTap({ name: 'tap0' }));
      wire.write(numberedFrame(n));
      const frame = tap.read();
      tap.close();
      expect(frame && numberOf(frame)).toBe(n);
      // Stops the queue, which would happen some time later.
      sandbox.ip('link', 'show', 'dev', 'tap0');
    }
    wire.close();
  });

  test('opens a TUN device', () => {
    const tun = sandbox.run(() => openTap({ name: 'tun0', mode: 'tun' }));
    expect(sandbox.run(() => inspectTap('tun0'))).toMatchObject({ mode: 'tun' });
    expect(thrownBy(() => sandbox.run(() => openTap({ name: 'tun0', mode: 'tap' }))).code).toBe('WEFT_ERR_TUNTAP_KIND_MISMATCH');
    tun.close();
  });

  test('names the holder of a busy device', () => {
    const tap = sandbox.run(() => openTap({ name: 'tap0' }));
    const error = thrownBy(() => sandbox.run(() => openTap({ name: 'tap0' })));
    expect(error).toMatchObject({ code: 'WEFT_ERR_TUNTAP_BUSY', errnoName: 'EBUSY', syscall: 'TUNSETIFF' });
    expect(error.message).toContain(`(pid ${process.pid})`);
    tap.close();
  });

  test('refuses an existing device if exclusive', () => {
    sandbox.run(() => createTap({ name: 'tap0' }));
    expect(thrownBy(() => sandbox.run(() => openTap({ name: 'tap0', exclusive: true }))).code).toBe('WEFT_ERR_TUNTAP_BUSY');
    sandbox.run(() => openTap({ name: 'tap0' })).close();
  });

  test('refuses another queue model than the device has', () => {
    sandbox.run(() => createTap({ name: 'tap0' }));
    expect(thrownBy(() => sandbox.run(() => openTap({ name: 'tap0', multiQueue: true }))).code).toBe('WEFT_ERR_TUNTAP_KIND_MISMATCH');
  });

  test('refuses offloads it could not express', () => {
    expect(thrownBy(() => openTap({ name: 'tap0', offloads: ['csum'] })).code).toBe('WEFT_ERR_TUNTAP_BAD_OPTION');
    expect(thrownBy(() => openTap({ name: 'tap0', vnetHdr: true, offloads: ['tso4'] })).code).toBe('WEFT_ERR_TUNTAP_BAD_OPTION');
    const tap = sandbox.run(() => openTap({ name: 'tap0', vnetHdr: true }));
    tap.setOffloads(['csum', 'tso4', 'tso6']);
    expect(thrownBy(() => tap.setOffloads(['lro' as 'csum'])).code).toBe('WEFT_ERR_TUNTAP_BAD_OPTION');
    tap.close();
  });

  test('says why a frame is refused', () => {
    const tap = sandbox.run(() => openTap({ name: 'tap0' }));
    expect(thrownBy(() => tap.write(numberedFrame(1)))).toMatchObject({ code: 'WEFT_ERR_TUNTAP_DOWN', errnoName: 'EIO' });
    sandbox.ip('link', 'set', 'tap0', 'up');
    expect(thrownBy(() => tap.write(new Uint8Array(5))).code).toBe('WEFT_ERR_TUNTAP_BAD_FRAME');
    expect(tap.writeBatch([numberedFrame(1), new Uint8Array(5), numberedFrame(2)])).toBe(1);
    sandbox.ip('link', 'del', 'tap0');
    expect(thrownBy(() => tap.write(numberedFrame(1))).code).toBe('WEFT_ERR_TUNTAP_GONE');
    expect(thrownBy(() => tap.read()).code).toBe('WEFT_ERR_TUNTAP_GONE');
    tap.close();
  });
});

describe('createTap() and removeTap()', () => {
  test('make and remove a persistent device, any number of times', () => {
    sandbox.run(() => {
      expect(createTap({ name: 'tap0', vnetHdr: true, owner: 1000, group: 1001 })).toBe(true);
      expect(createTap({ name: 'tap0', vnetHdr: true, owner: 1000, group: 1001 })).toBe(false);
      expect(inspectTap('tap0')).toMatchObject({ persistent: true, vnetHdr: true, multiQueue: false, up: false, owner: 1000, group: 1001 });
      expect(removeTap('tap0')).toBe(true);
      expect(removeTap('tap0')).toBe(false);
    });
  });

  test('leave a device alone that a VM holds and that is as asked', () => {
    sandbox.run(() => {
      createTap({ name: 'tap0', vnetHdr: true });
      const vm = openTap({ name: 'tap0', vnetHdr: true });
      expect(createTap({ name: 'tap0', vnetHdr: true })).toBe(false);
      expect(thrownBy(() => removeTap('tap0')).code).toBe('WEFT_ERR_TUNTAP_BUSY');
      vm.close();
      expect(removeTap('tap0')).toBe(true);
    });
  });

  test('change what can be changed, refuse what can not', () => {
    sandbox.run(() => {
      createTap({ name: 'tap0' });
      expect(createTap({ name: 'tap0', vnetHdr: true })).toBe(false);
      expect(inspectTap('tap0')).toMatchObject({ vnetHdr: true, persistent: true });
      expect(thrownBy(() => createTap({ name: 'tap0', multiQueue: true })).code).toBe('WEFT_ERR_TUNTAP_KIND_MISMATCH');
    });
    sandbox.ip('link', 'add', 'br0', 'type', 'bridge');
    for (const call of [createTap.bind(null, { name: 'br0' }), removeTap.bind(null, 'br0')]) {
      const error = thrownBy(() => sandbox.run<unknown>(call));
      expect(error.code).toBe('WEFT_ERR_TUNTAP_KIND_MISMATCH');
      expect(error.message).toContain('of kind bridge');
    }
  });

  test('remove a multi-queue device', () => {
    sandbox.run(() => {
      createTap({ name: 'tap0', multiQueue: true });
      expect(inspectTap('tap0')).toMatchObject({ multiQueue: true });
      expect(removeTap('tap0')).toBe(true);
      expect(inspectTap('tap0')).toBeUndefined();
    });
  });
});

test('openPacketSocket() refuses an interface that is not there', () => {
  expect(thrownBy(() => sandbox.run(() => openPacketSocket({ interfaceName: 'nope' })))).toMatchObject({
    code: 'WEFT_ERR_TUNTAP_NOT_FOUND',
    errnoName: 'ENODEV',
  });
});

/** A virtio-net header that asks for cutting by 1448, and a TCP segment of `payload` bytes. Checksum left to the device. */
function gsoFrame(payload: number): Uint8Array {
  const frame = new Uint8Array(10 + 54 + payload).fill(0x5a, 64);
  const view = new DataView(frame.buffer);
  frame[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
  frame[1] = 1; // VIRTIO_NET_HDR_GSO_TCPV4
  view.setUint16(2, 54, true);
  view.setUint16(4, 1448, true);
  view.setUint16(6, 34, true);
  view.setUint16(8, 16, true);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x00], 10);
  frame.set([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2], 24);
  view.setUint16(26, 40 + payload);
  frame.set([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff], 44);
  return frame;
}
