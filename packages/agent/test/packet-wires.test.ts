import { TunTapError, type TunTapErrorCode } from '@weft/tuntap';
import { describe, expect, it } from 'vitest';
import { PacketWires } from '../src/gateway/packet-wires.ts';

function start() {
  const opened: string[] = [];
  const written: number[][] = [];
  let closed = 0;
  const faults = new Map<number, TunTapErrorCode>();
  const wires = new PacketWires((device) => {
    const number = opened.push(device);
    return {
      write: (frame) => {
        const fault = faults.get(number);
        if (fault !== undefined) throw new TunTapError(fault, fault);
        written.push([number, ...frame]);
      },
      close: () => void closed++,
    };
  });
  return { wires, opened, written, faults, closed: () => closed };
}

describe('PacketWires', () => {
  it('writes to a device through one socket that stays open', () => {
    const { wires, opened, written, closed } = start();
    for (let n = 0; n < 3; n++) wires.send('ext0', Uint8Array.of(n));
    wires.send('ext1', Uint8Array.of(9));
    expect(opened).toEqual(['ext0', 'ext1']);
    expect(written).toEqual([
      [1, 0],
      [1, 1],
      [1, 2],
      [2, 9],
    ]);
    expect(closed()).toBe(0);
    wires.close();
    expect(closed()).toBe(2);
  });

  it('opens another when the device was made anew, and says so when it is gone', () => {
    const { wires, opened, written, faults, closed } = start();
    wires.send('ext0', Uint8Array.of(1));
    faults.set(1, 'WEFT_ERR_TUNTAP_NOT_FOUND');
    wires.send('ext0', Uint8Array.of(2));
    expect(opened).toEqual(['ext0', 'ext0']);
    expect(written.at(-1)).toEqual([2, 2]);
    faults.set(2, 'WEFT_ERR_TUNTAP_GONE').set(3, 'WEFT_ERR_TUNTAP_NOT_FOUND');
    expect(() => wires.send('ext0', Uint8Array.of(3))).toThrow('NOT_FOUND');
    expect(closed()).toBe(2);
  });

  it('keeps the socket of a device that is only down', () => {
    const { wires, opened, written, faults, closed } = start();
    wires.send('ext0', Uint8Array.of(1));
    faults.set(1, 'WEFT_ERR_TUNTAP_DOWN');
    expect(() => wires.send('ext0', Uint8Array.of(2))).toThrow('DOWN');
    faults.clear();
    wires.send('ext0', Uint8Array.of(3));
    expect([opened, closed()]).toEqual([['ext0'], 0]);
    expect(written.at(-1)).toEqual([1, 3]);
  });

  it('looks at devices that the kernel could never have as at any that is not there', () => {
    expect([
      ...start()
        .wires.look(new Set(['eth1:0', '%d', '..', 'ä'.repeat(15), 'weft-none']))
        .keys(),
    ]).toEqual([]);
  });

  it('looks at devices as they are read whole', async () => {
    // Its MAC address is all zero: it has one.
    const names = new Set(['lo']);
    const { wires } = start();
    const { ifindex, mac, mtuBytes, carrier } = (await wires.read(names)).get('lo')!;
    expect(wires.look(names).get('lo')).toEqual({ ifindex, mac, mtuBytes, carrier });
  });
});
