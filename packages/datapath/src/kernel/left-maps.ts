import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BpfError, BpfMap } from '@weft/bpf';
import { GATEWAY_MAPS } from './gateway-layout.ts';
import { MAP_LAYOUT } from './layout.ts';
import { NAT_MAP_LAYOUT } from './nat/layout.ts';

const TABLES: readonly { readonly map: string; readonly keyBytes: number; readonly valueBytes: number }[] = [
  ...Object.values(MAP_LAYOUT),
  ...Object.values(GATEWAY_MAPS),
  ...Object.values(NAT_MAP_LAYOUT),
];
/** Further ones that the tables' owner reads or writes. */
const OTHERS = [
  'map_generation',
  'map_drops',
  'map_probe_reply',
  'map_nat_queue',
  'map_nat_counter',
  'map_nat_fragment_slot',
  'map_nat_pressure',
];

/** The pinned maps that a former process of an instance left: its tables, as the programs that are at work see them. */
export class LeftMaps {
  readonly #directory: string;
  readonly #maps = new Map<string, BpfMap>();

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** @returns Undefined when one is missing, or its rows are of another size than this version's. */
  static open(directory: string): LeftMaps | undefined {
    if (![...TABLES.map(({ map }) => map), ...OTHERS].every((name) => existsSync(join(directory, name)))) return undefined;
    const left = new LeftMaps(directory);
    try {
      const isOurs = TABLES.every(({ map, keyBytes, valueBytes }) => {
        const { keySize, valueSize } = left.map(map);
        return keySize === keyBytes && valueSize === valueBytes;
      });
      if (isOurs) return left;
    } catch (error) {
      left.close();
      if (!(error instanceof BpfError)) throw error;
      return undefined;
    }
    left.close();
    return undefined;
  }

  /** @throws {BpfError} `WEFT_ERR_BPF_NOT_FOUND`. */
  map(name: string): BpfMap {
    const known = this.#maps.get(name);
    if (known !== undefined) return known;
    const map = BpfMap.fromPin(join(this.#directory, name));
    this.#maps.set(name, map);
    return map;
  }

  close(): void {
    for (const map of this.#maps.values()) map.close();
  }
}
