const DAY_MS = 86_400_000;

/** A span of time as a person says it, two units at most: `0s`, `45s`, `3m12s`, `5h2m`, `12d4h`. `ms` below zero counts as zero. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 1 && ms >= 1) return `${Math.floor(ms)}ms`;
  if (seconds < 60) return `${seconds}s`;
  const pair = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return pair(minutes, 'm', seconds % 60, 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, 'h', minutes % 60, 'm');
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** Thousands with `,`: `1,234,567`. */
export function formatCount(value: number | bigint): string {
  return value.toString().replaceAll(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** Bytes with a decimal unit: `999 B`, `1.2 kB`, `34 MB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = -1;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A moment in UTC to the second: `2026-11-22 21:43:05Z`. */
export function formatTime(unixMs: number): string {
  return new Date(unixMs)
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z');
}

/**
 * A moment in the past: a span before `nowMs` (`90s`, `15m`, `2h`, `7d`), an ISO 8601 time, or a plain date.
 *
 * @returns Unix time in ms, or undefined when the text is none of these.
 */
export function parseSince(text: string, nowMs: number): number | undefined {
  const span = /^(\d+)(s|m|h|d)$/.exec(text);
  if (span) {
    const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[span[2] as 's' | 'm' | 'h' | 'd'];
    return nowMs - Number(span[1]) * unitMs;
  }
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}

/** An epoch as people read it: incarnation and ballot, `1.17`. */
export function formatEpoch(epoch: bigint): string {
  return `${epoch >> 32n}.${epoch & 0xffff_ffffn}`;
}

/**
 * A moment as people ask for it, in UTC unless it says otherwise: `14:03`, `14:03:05` (the last time it was so), a date, or an ISO 8601 time.
 *
 * @returns Unix time in ms, or undefined when the text is none of these.
 */
export function parseMoment(text: string, nowMs: number): number | undefined {
  if (text === 'now') return nowMs;
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,3})?)?$/.exec(text);
  if (clock) {
    const [hours, minutes, seconds] = [Number(clock[1]), Number(clock[2]), Number(clock[3] ?? 0) + Number(clock[4] ?? 0)];
    if (hours > 23 || minutes > 59 || seconds >= 60) return undefined;
    const today = Math.floor(nowMs / DAY_MS) * DAY_MS + Math.round((hours * 3_600 + minutes * 60 + seconds) * 1_000);
    return today <= nowMs ? today : today - DAY_MS;
  }
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return undefined;
  const withTime = text.replace(' ', 'T');
  const time = Date.parse(withTime.includes('T') && !/(Z|[+-]\d{2}:?\d{2})$/i.test(withTime) ? `${withTime}Z` : withTime);
  return Number.isNaN(time) ? undefined : time;
}
