import { BpfObject } from '@weft/bpf';
import { describe, expect, it } from 'vitest';
import { DEFAULT_OBJECT_FILE, MAP_LAYOUT } from '../src/index.ts';
import { GATEWAY_MAPS } from '../src/kernel/gateway-layout.ts';
import {
  DROP,
  DROP_KEY,
  DROP_SAMPLE_BYTES,
  L2_KEY,
  LOOKUP_KEY,
  PORT,
  ROUTE,
  ROUTE_KEY,
  SHARD,
  SPEAKER_KEY,
  SUBNET,
  TARGET,
} from '../src/kernel/layout.ts';

// The offsets that TypeScript writes by are those of the compiled programs. C's names are TypeScript's in snake case.

const STRUCTS: Readonly<
  Record<string, { readonly offsets: Readonly<Record<string, number>>; readonly bytes: number; readonly last: number }>
> = {
  weft_port: { offsets: PORT, bytes: 24, last: 6 },
  weft_subnet: { offsets: SUBNET, bytes: 40, last: 16 },
  weft_lookup_key: { offsets: LOOKUP_KEY, bytes: 20, last: 16 },
  weft_l2_key: { offsets: L2_KEY, bytes: 12, last: 6 },
  weft_target: { offsets: TARGET, bytes: 64, last: 8 },
  weft_route_key: { offsets: ROUTE_KEY, bytes: 24, last: 16 },
  weft_route: { offsets: ROUTE, bytes: 24, last: 16 },
  weft_speaker_key: { offsets: SPEAKER_KEY, bytes: 20, last: 4 },
  weft_shard: { offsets: SHARD, bytes: 48, last: 8 },
  weft_drop_key: { offsets: DROP_KEY, bytes: 12, last: 4 },
  weft_drop: { offsets: DROP, bytes: 96, last: DROP_SAMPLE_BYTES },
};

const object = BpfObject.open(DEFAULT_OBJECT_FILE);
const C_NAMES: Readonly<Record<string, string>> = { prefixLength: 'prefixlen' };
const cName = (name: string): string => C_NAMES[name] ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

describe('layout', () => {
  it.each(Object.entries(STRUCTS))('struct %s has the offsets that TypeScript writes', (name, { offsets, bytes, last }) => {
    const layout = object.structLayout(name);
    expect(layout.size).toBe(bytes);
    const fields = layout.fields.filter((field) => field.name !== 'pad');
    expect(Object.fromEntries(fields.map((field) => [field.name, field.offset]))).toEqual(
      Object.fromEntries(Object.entries(offsets).map(([field, offset]) => [cName(field), offset])),
    );
    expect(fields.at(-1)!.size).toBe(last);
  });

  it('leaves no byte of a struct unnamed: padding would be what the stack held', () => {
    for (const name of Object.keys(STRUCTS)) {
      const { fields, size } = object.structLayout(name);
      const covered = new Set(fields.flatMap((field) => Array.from({ length: field.size }, (_, i) => field.offset + i)));
      expect([name, covered.size]).toEqual([name, size]);
    }
  });

  it('names and sizes the maps as the programs do', () => {
    // Those of port mapping have a test of their own.
    const names = object.mapNames().filter((name) => !name.startsWith('map_nat_') && name !== 'map_gateway_quota');
    expect(names.sort()).toEqual(
      [
        ...Object.values(MAP_LAYOUT).map(({ map }) => map),
        ...Object.values(GATEWAY_MAPS).map(({ map }) => map),
        'map_clock',
        'map_drops',
        'map_flow',
        'map_gateway_in',
        'map_gateway_out',
        'map_gateway_program',
        'map_gateway_scratch',
        'map_gateway_traffic',
        'map_generation',
        'map_icmp_error',
        'map_probe_reply',
        'map_sender_error',
        'map_tunnel_flow',
      ].sort(),
    );
    const structs: Record<string, readonly [number, number]> = {
      port: [4, STRUCTS['weft_port']!.bytes],
      subnet: [4, STRUCTS['weft_subnet']!.bytes],
      lookup: [STRUCTS['weft_lookup_key']!.bytes, STRUCTS['weft_target']!.bytes],
      l2: [STRUCTS['weft_l2_key']!.bytes, STRUCTS['weft_target']!.bytes],
      route: [STRUCTS['weft_route_key']!.bytes, STRUCTS['weft_route']!.bytes],
      speaker: [STRUCTS['weft_speaker_key']!.bytes, 4],
      shard: [4, STRUCTS['weft_shard']!.bytes],
    };
    for (const [table, { keyBytes, valueBytes }] of Object.entries(MAP_LAYOUT))
      expect([table, keyBytes, valueBytes]).toEqual([table, ...structs[table]!]);
  });
});
