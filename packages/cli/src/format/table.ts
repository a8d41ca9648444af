import { paint, type Tone } from './style.ts';

/** A cell: text, or text with a tone. */
export type Cell = string | { readonly text: string; readonly tone: Tone };

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** May be cut (with `…`) when the table does not fit; default: never. */
  readonly flexible?: boolean;
}

export interface TableOptions {
  /** Characters in a line; undefined: unlimited. */
  readonly width: number | undefined;
  readonly color: boolean;
}

const GAP = '  ';
const MIN_FLEXIBLE_WIDTH = 8;

const textOf = (cell: Cell): string => (typeof cell === 'string' ? cell : cell.text);
const toneOf = (cell: Cell): Tone => (typeof cell === 'string' ? 'plain' : cell.tone);
/** Control characters (a name a VM chose, a stray newline) must not reach the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const clean = (text: string): string => text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?');
const lengthOf = (text: string): number => [...text].length;

/**
 * A table as lines, each ended by `\n`, without trailing blanks. Empty cells show `-`. When it is wider than `width`, flexible columns are cut, the
 * widest first, down to 8 characters; what still does not fit is left to the terminal to wrap, since nothing else may be lost.
 */
export function formatTable(columns: readonly Column[], rows: readonly (readonly Cell[])[], options: TableOptions): string {
  const grid = rows.map((row) => columns.map((_, i) => clean(textOf(row[i] ?? '')) || '-'));
  const widths = columns.map((column, i) => Math.max(lengthOf(column.title), ...grid.map((row) => lengthOf(row[i]!))));
  shrink(widths, columns, options.width);
  const line = (cells: readonly string[], tones: (i: number) => Tone): string => {
    const parts = cells.map((cell, i) => {
      const width = widths[i]!;
      const shown = lengthOf(cell) > width ? `${[...cell].slice(0, width - 1).join('')}…` : cell;
      const blank = ' '.repeat(width - lengthOf(shown));
      const painted = paint(shown, tones(i), options.color);
      return columns[i]!.align === 'right' ? blank + painted : i === cells.length - 1 ? painted : painted + blank;
    });
    return `${parts.join(GAP).trimEnd()}\n`;
  };
  const head = line(
    columns.map((column) => column.title),
    () => 'strong',
  );
  return head + grid.map((cells, row) => line(cells, (i) => toneOf(rows[row]![i] ?? ''))).join('');
}

function shrink(widths: number[], columns: readonly Column[], limit: number | undefined): void {
  if (limit === undefined) return;
  let excess = widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1) - limit;
  while (excess > 0) {
    let widest = -1;
    for (let i = 0; i < widths.length; i++) {
      if (columns[i]!.flexible !== true || widths[i]! <= MIN_FLEXIBLE_WIDTH) continue;
      if (widest === -1 || widths[i]! > widths[widest]!) widest = i;
    }
    if (widest === -1) return;
    widths[widest]!--;
    excess--;
  }
}

/** `key: value` lines with aligned values, for `describe`. Nested lists are given as several lines in one value. */
export function formatFields(fields: readonly (readonly [name: string, value: Cell])[], options: TableOptions): string {
  const width = Math.max(...fields.map(([name]) => name.length)) + 1;
  return fields
    .map(([name, value]) => {
      const lines = textOf(value).split('\n').map(clean);
      const head = `${name}:`.padEnd(width + 1);
      return `${head} ${lines.map((line) => paint(line === '' ? '-' : line, toneOf(value), options.color)).join(`\n${' '.repeat(width + 2)}`)}\n`;
    })
    .join('');
}
