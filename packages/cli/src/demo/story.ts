import { paint } from '../format/style.ts';

/** One step of the demo, as `--json` gives it. */
export interface StepResult {
  readonly id: string;
  readonly ok: boolean;
  readonly [figure: string]: unknown;
}

/** What a step tells when it is through: figures for programs, one line for people, and whether it held. */
export interface StepOutcome {
  readonly ok: boolean;
  readonly line: string;
  readonly figures: Readonly<Record<string, unknown>>;
}

/** Tells the demo as it goes. Everything a person reads goes to `write`; with `--json` that is nothing. */
export class Story {
  readonly steps: StepResult[] = [];
  readonly #titles: string[] = [];
  readonly #write: (text: string) => void;
  readonly #color: boolean;

  constructor(write: (text: string) => void, color: boolean) {
    this.#write = write;
    this.#color = color;
  }

  say(text: string): void {
    this.#write(`    ${paint(text, 'dim', this.#color)}\n`);
  }

  /** Runs a step; a thrown error is a step that did not hold, and ends the demo. */
  async step(id: string, title: string, work: () => Promise<StepOutcome>): Promise<boolean> {
    this.#write(`\n${paint(`${this.steps.length + 1}. ${title}`, 'strong', this.#color)}\n`);
    const started = performance.now();
    let outcome: StepOutcome;
    let broken: unknown;
    try {
      outcome = await work();
    } catch (error) {
      broken = error;
      outcome = { ok: false, line: (error as Error).message, figures: { error: (error as Error).message } };
    }
    const elapsedMs = Math.round(performance.now() - started);
    this.#titles.push(title);
    this.steps.push({ id, ok: outcome.ok, ...outcome.figures, elapsedMs, line: outcome.line });
    const mark = outcome.ok ? paint('✔', 'good', this.#color) : paint('✘', 'bad', this.#color);
    this.#write(`  ${mark} ${outcome.line} ${paint(`(${(elapsedMs / 1000).toFixed(1)} s)`, 'dim', this.#color)}\n`);
    if (broken !== undefined) throw broken;
    return outcome.ok;
  }

  get ok(): boolean {
    return this.steps.length > 0 && this.steps.every((step) => step.ok);
  }

  summary(): void {
    const width = Math.max(...this.#titles.map((title) => title.length));
    this.#write(`\n${paint('Summary', 'strong', this.#color)}\n`);
    for (const [index, step] of this.steps.entries()) {
      const mark = step.ok ? paint('held  ', 'good', this.#color) : paint('BROKEN', 'bad', this.#color);
      this.#write(`  ${mark}  ${this.#titles[index]!.padEnd(width)}  ${String(step['line'])}\n`);
    }
  }
}
