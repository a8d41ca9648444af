import type { FieldChange } from './commands.ts';

/** Fields in which two flat objects differ, with their values as a person reads them; an absent object has none. */
export function diffFields(prefix: string, before: object | undefined, after: object | undefined): FieldChange[] {
  const left = (before ?? {}) as Record<string, unknown>;
  const right = (after ?? {}) as Record<string, unknown>;
  const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])];
  return keys.flatMap((key) => {
    const [a, b] = [show(left[key]), show(right[key])];
    return a === b ? [] : [{ path: `${prefix}${key}`, before: a.slice(0, MAX_SHOWN), after: b.slice(0, MAX_SHOWN) }];
  });
}

/** As much of a value as is shown; a response has a bounded size. */
const MAX_SHOWN = 2_000;

function show(value: unknown): string {
  if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) return '';
  if (Array.isArray(value)) return value.map(show).join(', ');
  if (typeof value !== 'object' || value === null) return String(value);
  return `{${Object.entries(value)
    .filter(([, part]) => show(part) !== '')
    .map(([key, part]) => `${key}: ${show(part)}`)
    .join(', ')}}`;
}
