import { readFileSync } from 'node:fs';
import { AGENT_ERRORS } from '@weft/agent';
import { WEFT_ERRORS } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { CLI_ERRORS, CliErrorCode } from '../src/core/errors.ts';

const sections: readonly (readonly [title: string, errors: Readonly<Record<string, string>>])[] = [
  ['Control plane: records, manifests, trust, NATS, controllers', WEFT_ERRORS],
  ['Host agent', AGENT_ERRORS],
  ['The command', CLI_ERRORS],
];

/** docs/errors.md, made from the tables in the sources. */
function errorsPage(): string {
  const parts = sections.map(([title, errors]) => {
    const rows = Object.entries(errors).map(([code, text]) => `| \`${code}\` | ${text.replaceAll('|', '\\|')} |`);
    return `## ${title}\n\n| code | what it means, and what to do |\n|---|---|\n${rows.join('\n')}\n`;
  });
  return `# Errors\n\nEach error has a code, which never gets another meaning. The message itself says what was tried, with which value, what must hold and what to do.\nMade from the tables in the sources; \`npx vitest run --project unit packages/cli/test/errors-page.test.ts -u\` renews it. Why frames are dropped is in\n[drop reasons](drop-reasons.md).\n\n${parts.join('\n')}`;
}

describe('docs/errors.md', () => {
  it('lists every code with its meaning', async () => {
    await expect(errorsPage()).toMatchFileSnapshot('../../../docs/errors.md');
  });

  it('has each code once', () => {
    const codes = sections.flatMap(([, errors]) => Object.keys(errors));
    expect(new Set(codes).size).toBe(codes.length);
    expect(Object.values(CliErrorCode).sort()).toEqual(Object.keys(CLI_ERRORS).sort());
  });
});

describe('docs/cli.md', () => {
  it('tells of every command', async () => {
    const { run } = await import('./support/harness.ts');
    const page = readFileSync(new URL('../../../docs/cli.md', import.meta.url), 'utf8');
    const { out } = await run(['completion', 'bash']);
    const paths = [...out.matchAll(/^ {4}'([a-z ]+)'\) words=/gm)].map((match) => match[1]!);
    expect(paths.length).toBeGreaterThan(25);
    for (const path of paths) {
      const [first, second] = path.split(' ');
      // Sub-commands may stand in one line: `weft lab up`, `exec`, `status`.
      expect(page, path).toMatch(new RegExp(`weft ${first}`));
      if (second !== undefined) expect(page, path).toMatch(new RegExp(`weft ${first} ${second}|weft ${first}.*\`${second}`));
    }
  });
});
