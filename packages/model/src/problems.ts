import type { Problem } from './commands.ts';
import type { WeftErrorCode } from './errors.ts';

/** Collects what is wrong with a request, so that a person sees all of it at once. */
export class Problems {
  readonly list: Problem[] = [];

  /** A collector for one resource: `Port coke/net/web1`. */
  of(resource: string): ResourceProblems {
    const { list } = this;
    return {
      resource,
      get count() {
        return list.length;
      },
      add: (code, path, value, rule, hint = '') => {
        this.list.push({ code, resource, path, value: typeof value === 'string' ? value : JSON.stringify(value), rule, hint });
      },
    };
  }

  get none(): boolean {
    return this.list.length === 0;
  }
}

export interface ResourceProblems {
  readonly resource: string;
  /** Of all that was found so far, whatever resource it is about. */
  readonly count: number;
  /** @param path Where in the manifest: `spec.addresses[0]`. @param rule What must hold. @param hint What to do. */
  add(code: WeftErrorCode, path: string, value: unknown, rule: string, hint?: string): void;
}
