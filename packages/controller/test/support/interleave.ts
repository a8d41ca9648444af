import type { Store } from '@weft/bus';
import { vi } from 'vitest';
import type { MemoryStore, Operation } from './memory-bucket.ts';
import { gatedStore } from './memory-bucket.ts';

// Runs tasks whose only contact is the store, one operation at a time, in an order that a plan names: so an interleaving is a value, can be listed
// exhaustively up to a number of switches (most races need two or three: Musuvathi and Qadeer's CHESS, 2008), and can be told when a test fails.
//
//   task A ──get x──put y──▮ waits at its gate      the scheduler lets one operation happen, waits until all are at their gates, or asleep, or done,
//   task B ──get x──▮                               and chooses again: the task it ran last, unless the plan has an entry for this step
//
// Without entry: the task that ran last goes on; when it is done or sleeps, the one that was switched away from last; those that never ran, in order.

/** Who is to run at a step; or to die there, with its operation done or not. */
export interface Turn {
  readonly task: string;
  readonly dies?: 'before' | 'after';
}
export type Plan = ReadonlyMap<number, Turn>;

export interface Task {
  readonly name: string;
  readonly run: (store: Store) => Promise<unknown>;
  /** What takes its place when it dies. */
  readonly heir?: () => Task;
}

export interface Step {
  readonly task: string;
  readonly operation: Operation;
  /** All that could have run. */
  readonly ready: readonly { readonly task: string; readonly operation: Operation }[];
}

export interface Outcome {
  readonly steps: readonly Step[];
  /** What each task answered; those that died are missing. */
  readonly answers: ReadonlyMap<string, unknown>;
}

interface Waiting {
  readonly task: string;
  readonly operation: Operation;
  readonly happen: () => void;
}

const MAX_STEPS = 5_000;

/**
 * @param plan Who runs at which step; or a rule that names the next task from what was done. A task that isn't ready is passed over.
 * Needs `vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })`: a task that backs off wakes when no other can run.
 */
export async function interleave(
  memory: MemoryStore,
  tasks: readonly Task[],
  plan: Plan | ((done: readonly Step[]) => string | undefined),
): Promise<Outcome> {
  const waiting: Waiting[] = [];
  const steps: Step[] = [];
  const answers = new Map<string, unknown>();
  const dead = new Set<string>();
  const order: string[] = [];
  const heirs = new Map<string, () => Task>();
  let running = 0;

  const start = (task: Task): void => {
    order.push(task.name);
    if (task.heir !== undefined) heirs.set(task.name, task.heir);
    running++;
    const store = gatedStore(
      memory,
      (operation, run) =>
        new Promise((resolve, reject) => {
          if (dead.has(task.name)) return;
          const happen = (): void => {
            try {
              resolve(run());
            } catch (error) {
              reject(error as Error);
            }
          };
          waiting.push({ task: task.name, operation, happen });
        }),
    );
    const end = (answer: unknown): void => {
      if (dead.has(task.name)) return;
      answers.set(task.name, answer);
      running--;
    };
    task.run(store).then(end, end);
  };
  for (const task of tasks) start(task);

  const recent: string[] = [];
  while (running > 0) {
    // Between two operations a task has nothing but microtasks.
    await new Promise((resolve) => setImmediate(resolve));
    if (running === 0) break;
    const ready = order.flatMap((name) => waiting.find(({ task }) => task === name) ?? []);
    if (ready.length === 0) {
      await vi.advanceTimersToNextTimerAsync();
      continue;
    }
    if (steps.length > MAX_STEPS) throw new Error(`no end after ${MAX_STEPS} operations`);
    const rule = typeof plan === 'function' ? plan(steps) : undefined;
    const turn: Turn | undefined = typeof plan === 'function' ? (rule === undefined ? undefined : { task: rule }) : plan.get(steps.length);
    const wanted = [...(turn === undefined ? [] : [turn.task]), ...recent, ...order];
    const chosen = ready.find(({ task }) => task === wanted.find((name) => ready.some((one) => one.task === name)))!;
    steps.push({ task: chosen.task, operation: chosen.operation, ready: ready.map(({ task, operation }) => ({ task, operation })) });
    waiting.splice(waiting.indexOf(chosen), 1);
    if (recent.includes(chosen.task)) recent.splice(recent.indexOf(chosen.task), 1);
    recent.unshift(chosen.task);
    if (turn?.dies !== 'before') chosen.happen();
    if (turn?.dies !== undefined) {
      // The dead neither go on nor answer; what they sent may have arrived.
      dead.add(chosen.task);
      running--;
      for (let i = waiting.length - 1; i >= 0; i--) if (waiting[i]!.task === chosen.task) waiting.splice(i, 1);
      const heir = heirs.get(chosen.task);
      if (heir !== undefined) start(heir());
    }
  }
  return { steps, answers };
}

/** The steps in words, for a test that failed. */
export function tell(steps: readonly Step[], plan: Plan): string {
  return steps
    .map(({ task, operation }, i) => {
      const turn = plan.get(i);
      const mark = turn === undefined ? ' ' : turn.dies === undefined ? '>' : '†';
      return `${mark} ${String(i).padStart(3)} ${task.padEnd(8)} ${operation.what.padEnd(8)} ${operation.bucket === 'config' ? '' : `${operation.bucket} `}${operation.key}`;
    })
    .join('\n');
}

/**
 * All plans with up to `switches` entries that matter, found by running: a switch is tried before each operation on what another task touches too.
 * @param execute Runs a plan from the same beginning each time.
 * @param deaths How many of the entries may be deaths.
 * @returns How many were run.
 */
export async function explore(
  execute: (plan: Plan) => Promise<Outcome>,
  options: { readonly switches: number; readonly deaths?: number },
): Promise<number> {
  let count = 0;
  const touched = new Map<string, Set<string>>();
  const note = ({ steps }: Outcome): void => {
    for (const { task, operation } of steps) {
      const key = `${operation.bucket} ${operation.key}`;
      const by = touched.get(key) ?? new Set();
      touched.set(key, by.add(task.split("'")[0]!));
    }
  };
  // A snapshot reads keys that only others name: always of interest.
  const matters = ({ operation }: { operation: Operation }): boolean =>
    operation.what === 'snapshot' ||
    (touched.get(`${operation.bucket} ${operation.key}`)?.size ?? 0) > 1 ||
    operation.key.startsWith('intent');
  const visit = async (plan: Plan, from: number, switches: number, deaths: number): Promise<void> => {
    const outcome = await execute(plan);
    count++;
    note(outcome);
    if (switches === 0) return;
    for (let at = from; at < outcome.steps.length; at++) {
      const { task, operation, ready } = outcome.steps[at]!;
      if (deaths > 0 && operation.what !== 'get' && operation.what !== 'snapshot') {
        for (const dies of ['before', 'after'] as const)
          await visit(new Map(plan).set(at, { task, dies }), at + 1, switches - 1, deaths - 1);
      }
      if (!matters({ operation })) continue;
      for (const other of ready)
        if (other.task !== task) await visit(new Map(plan).set(at, { task: other.task }), at + 1, switches - 1, deaths);
    }
  };
  // What is touched twice is known after each has run once alone, in order; the first visit adds the rest.
  note(await execute(new Map()));
  await visit(new Map(), 0, options.switches, options.deaths ?? 0);
  return count;
}
