import { randomUUID } from 'node:crypto';
import { appendFileSync, closeSync, fstatSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CommandScope } from './command-scope.ts';
import { TestkitError, TestkitErrorCode } from './errors.ts';
import { identifyProcess, type ProcessIdentity } from './process-identity.ts';

/*
 * What a lab has made, so that a later run can take it away when this one is killed.
 *
 *   /run/weft/labs/NAME.jsonl      one line a record, only ever appended
 *     {"kind":"lab","name":"demo","token":"…","owner":{"pid":…,"startTime":…},"createdAtMs":…}
 *     {"kind":"netns","name":"weft-demo-a"}
 *     {"kind":"process","pid":…,"startTime":…,"what":"weft agent"}
 *
 * A line is written before the thing is made, so at worst a record names what never came to be, which the clean-up passes over. A process has
 * no pid before it exists; it carries the lab's random token in its environment instead, so the one that was started but not yet recorded
 * is found as well, and so are its children. Appending makes a record one small write, which several processes may do at once and which a
 * SIGKILL can at most cut short: a last line that doesn't parse was not acted upon.
 *
 * A clean-up begins with the record `closing`. Whoever makes something appends its record first and looks for `closing` afterwards: either it
 * sees that, and makes nothing, or the clean-up sees the record. What is made between then and the clean-up's look is the work of a command
 * that is still under way: in the same process the lab's scope knows it (`make`), from another one it is found by the token, and ended.
 */

/** Where labs are recorded: in a directory that is empty after a boot, as namespaces and processes are gone then, too. */
export const LAB_STATE_DIR = '/run/weft/labs';

/** Environment variable that holds the lab's token in every process of a lab. */
export const LAB_TOKEN_VARIABLE = 'WEFT_LAB_TOKEN';

export type LabRecord =
  | { readonly kind: 'lab'; readonly name: string; readonly token: string; readonly owner: ProcessIdentity; readonly createdAtMs: number }
  | { readonly kind: 'netns'; readonly name: string }
  | { readonly kind: 'process'; readonly pid: number; readonly startTime: number; readonly what: string }
  | { readonly kind: 'device'; readonly name: string; readonly netns?: string }
  | { readonly kind: 'dir'; readonly path: string }
  /** A directory on a bpffs. */
  | { readonly kind: 'pins'; readonly path: string }
  | { readonly kind: 'nft'; readonly family: string; readonly table: string; readonly netns?: string }
  /** The lab is meant to outlive the process that made it. */
  | { readonly kind: 'keep' }
  /** The clean-up has begun: nothing more is made. */
  | { readonly kind: 'closing' }
  /** Anything a tool wants to find again, such as the lab file it was made from. The last one with a key counts. */
  | { readonly kind: 'note'; readonly key: string; readonly value: unknown };

/** The journal of one lab, open for writing. */
export class Registry {
  readonly name: string;
  readonly token: string;
  readonly #scope: CommandScope;
  /** Inode of the journal, and how much of it has been looked through for `closing`. */
  #inode: number | undefined;
  #lookedAt = 0;

  private constructor(name: string, token: string) {
    this.name = name;
    this.token = token;
    this.#scope = labScope(token);
  }

  /**
   * Begins the journal of a new lab.
   *
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when the name is not of the form `[a-z0-9][a-z0-9-]*`, at most 32 long, or a lab of that name
   *   is there already (`cleanLab` removes it).
   * @throws {Error} The reason of the scope that the caller runs in, when that is closed.
   */
  static create(name: string): Registry {
    if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) {
      throw new TestkitError(
        TestkitErrorCode.Lab,
        `Cannot name a lab "${name}": must be 1 to 32 of a-z, 0-9 and "-", and not begin with "-"`,
      );
    }
    CommandScope.throwIfClosed();
    mkdirSync(LAB_STATE_DIR, { recursive: true, mode: 0o755 });
    const owner = identifyProcess(process.pid);
    if (owner === undefined) throw new TestkitError(TestkitErrorCode.Lab, 'Cannot read /proc/self/stat: /proc must be mounted');
    const registry = new Registry(name, randomUUID());
    let fd: number;
    try {
      fd = openSync(labFile(name), 'wx', 0o600);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      throw new TestkitError(
        TestkitErrorCode.Lab,
        `Cannot make lab "${name}": one of that name is recorded in ${labFile(name)}; remove it first`,
        { cause },
      );
    }
    const first: LabRecord = { kind: 'lab', name, token: registry.token, owner, createdAtMs: Date.now() };
    writeSync(fd, `${JSON.stringify(first)}\n`);
    closeSync(fd);
    return registry;
  }

  /** Opens the journal of a lab that another process made, to add to it. Undefined when there is none. */
  static open(name: string): Registry | undefined {
    const lab = readLabRecords(name)?.find((record) => record.kind === 'lab');
    return lab === undefined ? undefined : new Registry(name, lab.token);
  }

  /** For the environment of processes that belong to this lab. */
  get environment(): Record<string, string> {
    return { [LAB_TOKEN_VARIABLE]: this.token };
  }

  /**
   * Writes down what is about to be made. Call it before, not after; where commands do the making, use `make`.
   *
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when the lab is being removed or has been: making more of it now would leave things nobody
   *   remembers.
   */
  record(...records: readonly LabRecord[]): void {
    this.throwIfClosed();
    appendFileSync(labFile(this.name), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    this.throwIfClosed();
  }

  /**
   * Writes down what is about to be made and makes it: the commands that `work` runs are the lab's. A clean-up waits for the one under way, or
   * ends it, before it removes things; those after it are refused.
   */
  async make<T>(records: readonly LabRecord[], work: () => Promise<T>): Promise<T> {
    return await this.#scope.run(async () => {
      if (records.length > 0) this.record(...records);
      else this.throwIfClosed();
      return await work();
    });
  }

  /** Whether the lab is being removed, by this process or another, or has been. */
  get closed(): boolean {
    try {
      this.throwIfClosed();
      return false;
    } catch {
      return true;
    }
  }

  /** @throws {TestkitError} `WEFT_ERR_TESTKIT_LAB` when the lab is being removed, by this process or another, or has been. */
  throwIfClosed(): void {
    const state = this.#journalState();
    if (state !== 'open') throw closedLab(this.name, state);
    this.#scope.throwIfClosed();
  }

  #journalState(): 'open' | 'closing' | 'gone' {
    let fd: number;
    try {
      fd = openSync(labFile(this.name), 'r');
    } catch {
      return 'gone';
    }
    try {
      const { ino, size } = fstatSync(fd);
      this.#inode ??= ino;
      // Another lab of the same name.
      if (ino !== this.#inode) return 'gone';
      const fresh = Buffer.alloc(Math.max(0, size - this.#lookedAt));
      const text = fresh.subarray(0, readSync(fd, fresh, 0, fresh.length, this.#lookedAt));
      const whole = text.subarray(0, text.lastIndexOf(10) + 1);
      if (whole.toString('utf8').split('\n').includes(CLOSING_LINE)) return 'closing';
      this.#lookedAt += whole.length;
      return 'open';
    } finally {
      closeSync(fd);
    }
  }

  recordProcess(identity: ProcessIdentity, what: string): void {
    this.record({ kind: 'process', pid: identity.pid, startTime: identity.startTime, what });
  }

  note(key: string, value: unknown): void {
    this.record({ kind: 'note', key, value });
  }

  /** Marks the lab as one that outlives its maker, so that `cleanDeadLabs` leaves it alone. */
  keep(): void {
    this.record({ kind: 'keep' });
  }
}

const CLOSING_LINE = JSON.stringify({ kind: 'closing' } satisfies LabRecord);

/** By token: what this process has under way for each lab. Shared by all registries of the lab. */
const scopes = new Map<string, CommandScope>();

/** @internal The scope of this process's commands for the lab with this token. */
export function labScope(token: string): CommandScope {
  let scope = scopes.get(token);
  if (scope === undefined) {
    scope = new CommandScope({ [LAB_TOKEN_VARIABLE]: token });
    scopes.set(token, scope);
  }
  return scope;
}

/** @internal The first act of a clean-up: nothing more is made in the lab, by this process or another. */
export function closeLab(name: string, token: string): CommandScope {
  const scope = labScope(token);
  scope.close(closedLab(name, 'closing'));
  appendFileSync(labFile(name), `${CLOSING_LINE}\n`);
  return scope;
}

function closedLab(name: string, state: 'closing' | 'gone'): TestkitError {
  return new TestkitError(
    TestkitErrorCode.Lab,
    `Cannot add to lab "${name}": ${state === 'gone' ? 'it has been removed' : 'it is being removed'}`,
  );
}

export function labFile(name: string): string {
  return join(LAB_STATE_DIR, `${name}.jsonl`);
}

/** All records of a lab in the order they were made, or undefined when there is no such lab. */
export function readLabRecords(name: string): LabRecord[] | undefined {
  let text: string;
  try {
    text = readFileSync(labFile(name), 'utf8');
  } catch {
    return undefined;
  }
  const records: LabRecord[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    try {
      records.push(JSON.parse(line) as LabRecord);
    } catch {
      // Cut short by a SIGKILL; see the top of this file.
    }
  }
  return records;
}

/** The last note with this key of a lab, or undefined. */
export function readLabNote(name: string, key: string): unknown {
  let value: unknown;
  for (const record of readLabRecords(name) ?? []) {
    if (record.kind === 'note' && record.key === key) value = record.value;
  }
  return value;
}

export function labNames(): string[] {
  try {
    return readdirSync(LAB_STATE_DIR)
      .filter((file) => file.endsWith('.jsonl'))
      .map((file) => file.slice(0, -'.jsonl'.length))
      .sort();
  } catch {
    return [];
  }
}
