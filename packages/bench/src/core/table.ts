import type { Figure } from './figure.ts';

/** The figures as a table for people: one line each, and a line of raw medians under it. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.ok === null ? ' ' : figure.ok ? 'ok' : 'MISSED',
    figure.what,
    `${format(figure.value)} ${figure.unit}${figure.low === undefined ? '' : `  [${format(figure.low)}–${format(figure.high!)}]`}`,
    figure.goal,
    figure.against,
    figure.id,
  ]);
  const head = ['', 'figure', 'value [95 %]', 'goal', 'against', 'id'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  const lines = [line(head), line(widths.map((width) => '-'.repeat(width)))];
  for (const [index, row] of rows.entries()) {
    lines.push(line(row));
    const note = figures[index]!.note;
    if (note !== undefined && note !== '') lines.push(`${' '.repeat(widths[0]! + 2)}  ${note}`);
  }
  return `${lines.join('\n')}\n`;
}

function format(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 3);
}
