import type { Problem } from '@weft/model';

/** A problem with the place in a file that it is about. */
export interface LocatedProblem extends Problem {
  /** `net.yaml:12`; empty when it has no place. */
  readonly at?: string;
}

/**
 * The refusal as lines: one paragraph a problem: place, resource, path and value, the rule, what to do, the code.
 *
 * ```
 * weft: refused, nothing was changed (1 problem)
 *   net.yaml:12: VirtualSubnet coke/net/web spec.prefixes[0] = "10.0.0.0/24"
 *     must not overlap with 10.0.0.0/16 of subnet "db"
 *     → take another prefix   [WEFT_ERR_RULE_PREFIX_OVERLAP]
 * ```
 */
export function formatProblems(problems: readonly LocatedProblem[]): string {
  const count = problems.length;
  const lines = [`weft: refused, nothing was changed (${count} problem${count === 1 ? '' : 's'})`];
  for (const problem of problems) {
    const where = [problem.at === undefined || problem.at === '' ? '' : `${problem.at}:`, problem.resource, problem.path].filter(
      (part) => part !== '',
    );
    const value = problem.value === '' ? '' : ` = ${quoteValue(problem.value)}`;
    const head = `${where.join(' ')}${value}`;
    lines.push(`  ${head === '' ? problem.rule : head}`);
    if (head !== '' && problem.rule !== '') lines.push(`    ${problem.rule}`);
    lines.push(`    ${problem.hint === '' ? '' : `→ ${problem.hint}   `}[${problem.code}]`);
  }
  return lines.join('\n');
}

const LONGEST_VALUE = 120;

function quoteValue(value: string): string {
  const text = value.length > LONGEST_VALUE ? `${value.slice(0, LONGEST_VALUE)}…` : value;
  return JSON.stringify(text);
}
