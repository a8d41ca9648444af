import { stringify } from 'yaml';
import type { Io } from '../core/io.ts';

/** How a read command shows what it read. */
export type OutputFormat = 'table' | 'wide' | 'json' | 'yaml';

export const outputFormats: readonly OutputFormat[] = ['table', 'wide', 'json', 'yaml'];

/** One JSON document and a line's end. Numbers of 64 bits are written as numbers while they are exact, as text beyond that. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, plain, 2)}\n`;
}

/** YAML; several documents (divided by `---`) for an array, so that the result can be applied again. */
export function toYaml(value: unknown): string {
  const one = (item: unknown): string => stringify(JSON.parse(JSON.stringify(item, plain)), { lineWidth: 0 });
  return Array.isArray(value) ? value.map(one).join('---\n') : one(value);
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  return value >= -BigInt(Number.MAX_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

/** Writes `value` as a program wants it, or calls `table` for people. */
export function show(io: Io, format: OutputFormat, value: unknown, table: (wide: boolean) => string): void {
  if (format === 'json') io.out(toJson(value));
  else if (format === 'yaml') io.out(toYaml(value));
  else io.out(table(format === 'wide'));
}
