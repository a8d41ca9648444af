// Makes everything that repeats the list of drop reasons from its one source, proto/weft/v1/drop_reason.proto:
// the C header, the TypeScript values and docs/drop-reasons.md. `--check` fails when a made file differs from what is committed.
import { readFileSync, writeFileSync } from 'node:fs';

const source = readFileSync('proto/weft/v1/drop_reason.proto', 'utf8');
const made = 'Made from proto/weft/v1/drop_reason.proto by scripts/generate-reasons.mjs';
const reasons = [];
let comment = [];
for (const line of source.split('\n')) {
  const text = /^\s*\/\/\s?(.*)$/.exec(line)?.[1];
  if (text !== undefined) comment.push(text);
  const value = /^\s*DROP_REASON_([A-Z0-9_]+)\s*=\s*(\d+);/.exec(line);
  if (value) {
    const [what, operator] = comment.join(' ').split(/\s*Operator:\s*/);
    if (!what || !operator) throw new Error(`${value[1]} needs a comment of the form "What happened. Operator: what to do."`);
    reasons.push({ name: value[1], number: Number(value[2]), what, operator });
  }
  if (text === undefined) comment = [];
}
if (new Set(reasons.map((r) => r.number)).size !== reasons.length) throw new Error('a drop reason number is used twice');

const quote = (text) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
const files = {
  'packages/datapath/bpf/lib/reasons.h': `/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ${made}. */
#ifndef WEFT_REASONS_H
#define WEFT_REASONS_H

enum weft_drop_reason {
${reasons.map((r) => `\tWEFT_DROP_${r.name} = ${r.number},`).join('\n')}
};

#endif
`,
  'packages/model/src/drop-reason.ts': `// ${made}.

/** Why a frame was dropped: name to number, as on the wire and in the kernel's counters. */
export const DropReason = {
${reasons.map((r) => `  /** ${r.what} */\n  ${r.name}: ${r.number},`).join('\n')}
} as const;

/** A drop reason's number. */
export type DropReason = (typeof DropReason)[keyof typeof DropReason];

/** One reason as an operator reads it. */
export interface DropReasonText {
  readonly name: string;
  /** What happened to the frame. */
  readonly what: string;
  /** What an operator does about it. */
  readonly operator: string;
}

/** Number to text, in the order of the numbers. */
export const dropReasonTexts: ReadonlyMap<number, DropReasonText> = new Map([
${reasons.map((r) => `  [${r.number}, { name: ${quote(r.name)}, what: ${quote(r.what)}, operator: ${quote(r.operator)} }],`).join('\n')}
]);

/** The reason's name, or \`UNKNOWN_<number>\` when a newer datapath reports one this program does not know. */
export function dropReasonName(reason: number): string {
  return dropReasonTexts.get(reason)?.name ?? \`UNKNOWN_\${reason}\`;
}
`,
  'docs/drop-reasons.md': `# Drop reasons

${made}. Each dropped frame has exactly one of them, counted per device, virtual subnet and reason: \`weft drops\`.

| number | reason | what happened | what to do |
|---|---|---|---|
${reasons.map((r) => `| ${r.number} | \`${r.name}\` | ${r.what} | ${r.operator} |`).join('\n')}
`,
};
let stale = 0;
for (const [path, text] of Object.entries(files)) {
  let before = '';
  try {
    before = readFileSync(path, 'utf8');
  } catch {}
  if (before === text) continue;
  if (process.argv.includes('--check')) {
    console.error(`${path} is stale: run node scripts/generate-reasons.mjs and commit the result`);
    stale++;
  } else writeFileSync(path, text);
}
process.exitCode = stale ? 1 : 0;
