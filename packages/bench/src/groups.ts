import type { BenchContext } from './core/context.ts';
import type { Figure } from './core/figure.ts';
import { sameHostFigures, tapFigures } from './path/tap-figures.ts';

/** Figures that are measured together. */
export interface Group {
  /** Beginnings of the ids of its figures. */
  readonly ids: readonly string[];
  readonly what: string;
  readonly measure: (context: BenchContext) => Promise<Figure[]>;
}

export const groups: readonly Group[] = [
  { ids: ['tap-'], what: 'TAP to TAP between two hosts, beside bridge+VXLAN and no encapsulation', measure: tapFigures },
  { ids: ['same-host'], what: 'TAP to TAP on one host, beside the kernel bridge', measure: sameHostFigures },
];
