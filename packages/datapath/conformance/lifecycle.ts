import { PortFlag, rowKey, type TableEntry } from '@weft/forwarding';
import { createWorld } from '@weft/forwarding/testing';
import { afterEach, describe, expect, test } from 'vitest';
import { datagram } from './frames.ts';
import type { ConformanceLab } from './lab.ts';
import { PORTS, portRow } from './world.ts';

const sorted = (rows: readonly TableEntry[]): unknown[] =>
  rows.map((row) => [rowKey(row), row.value]).sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1));

export function lifecycleTests(lab: () => ConformanceLab): void {
  describe('tables', () => {
    afterEach(() => lab().restoreTables());

    test('entries() is what was applied', () => {
      for (const host of [lab().a, lab().b]) {
        const rows = lab()
          .rows(host)
          .map(({ op: _, ...row }) => row as TableEntry);
        expect(sorted(host.in(() => host.datapath.entries()))).toEqual(sorted(rows));
        for (const table of ['port', 'lookup', 'route', 'shard'] as const) {
          expect(sorted(host.in(() => host.datapath.entries(table)))).toEqual(sorted(rows.filter((row) => row.table === table)));
        }
      }
    });

    test('of a large and varied world, too, and nothing is left once all is deleted', () => {
      const { a } = lab();
      const world = createWorld(42, { portIfindexes: [901, 902, 903, 904], underlayIfindex: 900 });
      const before = sorted(a.in(() => a.datapath.entries()));
      a.apply(world.changes);
      const rows = world.changes.map(({ op: _, ...row }) => row as TableEntry);
      const found = new Map(a.in(() => a.datapath.entries()).map((row) => [rowKey(row), row]));
      for (const row of rows) expect(found.get(rowKey(row))).toEqual(row);
      a.apply(world.changes);
      expect(a.in(() => a.datapath.entries())).toHaveLength(before.length + rows.length);
      a.apply(rows.map(({ table, key }) => ({ op: 'delete', table, key }) as never));
      expect(sorted(a.in(() => a.datapath.entries()))).toEqual(before);
    });

    test('refuse a bad row, and take none of its list', () => {
      const { a } = lab();
      const before = sorted(a.in(() => a.datapath.entries()));
      const good = portRow(PORTS.red1, 999);
      const bad = {
        op: 'put',
        table: 'port',
        key: { ifindex: 998 },
        value: { networkId: -1, vsid: 1, mtuBytes: 1, flags: 0, mac: new Uint8Array(6) },
      };
      expect(() => a.apply([good, bad as never])).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_BAD_ROW' }));
      expect(sorted(a.in(() => a.datapath.entries()))).toEqual(before);
    });

    test('decide at once: a port that is not ready, one without a row', async () => {
      const { a } = lab();
      const frame = datagram('red1', 'red3', 'too early');
      a.apply([portRow(PORTS.red1, lab().ifindex('red1'), 0)]);
      lab().vm('red1').send(frame);
      await lab().expectDrops(a, { 'red1 PORT_NOT_READY': 1 });
      a.apply([{ op: 'delete', table: 'port', key: { ifindex: lab().ifindex('red1') } }]);
      lab().vm('red1').send(frame);
      await lab().expectDrops(a, { 'red1 PORT_NOT_READY': 1, 'red1 NO_PORT': 1 });
      a.apply([portRow(PORTS.red1, lab().ifindex('red1'), PortFlag.READY)]);
      lab().vm('red1').send(frame);
      await lab().expectReceived({ red3: [frame] });
    });
  });

  describe('devices', () => {
    test('are attached once, however often it is said', async () => {
      const { a } = lab();
      const before = a.in(() => a.datapath.attachedDevices());
      expect(before).toEqual(
        lab()
          .portsOf(a)
          .map((name) => lab().ifindex(name))
          .sort((x, y) => x - y),
      );
      for (let i = 0; i < 3; i++) lab().attach('red1');
      expect(a.in(() => a.datapath.attachedDevices())).toEqual(before);
      expect(a.in(() => a.datapath.statistics().attachedDeviceCount)).toBe(before.length);
      const frame = datagram('red1', 'red3', 'once');
      lab().vm('red1').send(frame);
      await lab().expectReceived({ red3: [frame] });
    });

    test.each(['red1', 'red5'] as const)('%s is silent once detached, and speaks again when attached', async (name) => {
      const { a } = lab();
      lab().detach(name);
      lab().detach(name);
      expect(a.in(() => a.datapath.attachedDevices())).not.toContain(lab().ifindex(name));
      for (let i = 0; i < 10; i++)
        lab()
          .vm(name)
          .send(datagram(name, 'red3', `unheard ${i}`));
      // Another way to the same place: what is sent now comes after.
      const after = datagram('red2', 'red3', 'after');
      lab().vm('red2').send(after);
      await expect.poll(() => lab().vm('red3').received.length).toBe(1);
      expect(lab().dropsSince().a).toEqual({});
      lab().begin();
      lab().attach(name);
      const frame = datagram(name, 'red3', 'heard');
      lab().vm(name).send(frame);
      await lab().expectReceived({ red3: [frame] });
    });

    test('are refused if they are not there, or are others by now', () => {
      const { a } = lab();
      const refusal = expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_NO_DEVICE' });
      expect(() => a.in(() => a.datapath.attachDevice({ name: 'no-such', ifindex: 4242, kind: 'tap' }))).toThrow(refusal);
      expect(() => a.in(() => a.datapath.attachDevice({ name: 'red1', ifindex: 4242, kind: 'tap' }))).toThrow(refusal);
      expect(a.in(() => a.datapath.attachedDevices())).toHaveLength(lab().portsOf(a).length);
      a.in(() => a.datapath.detachDevice(4242));
    });

    test('forgetDrops() clears the counters of a device', async () => {
      const { a } = lab();
      lab()
        .vm('red1')
        .send(datagram('red1', 'red4', 'nowhere', { destination: '203.0.113.77' }));
      await lab().expectDrops(a, { 'red1 NO_ROUTE': 1 });
      a.in(() => a.datapath.forgetDrops(lab().ifindex('red1')));
      expect(a.in(() => a.datapath.drops()).filter(({ ifindex }) => ifindex === lab().ifindex('red1'))).toEqual([]);
    });
  });
}
