import type { Registry } from '../core/registry.ts';
import { NetnsWorker } from './netns-worker.ts';

/** One worker for each namespace, started when first asked for. */
export class WorkerPool implements AsyncDisposable {
  readonly #registry: Registry;
  readonly #workers = new Map<string, Promise<NetnsWorker>>();

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  get(endpoint: { readonly netns: string }): Promise<NetnsWorker> {
    let worker = this.#workers.get(endpoint.netns);
    if (worker === undefined) {
      worker = NetnsWorker.start(endpoint.netns, { registry: this.#registry });
      this.#workers.set(endpoint.netns, worker);
      // One that could not be started is tried again by the next caller.
      worker.catch(() => this.#workers.delete(endpoint.netns));
    }
    return worker;
  }

  async close(): Promise<void> {
    const workers = [...this.#workers.values()];
    this.#workers.clear();
    await Promise.all(workers.map((worker) => worker.then((started) => started.stop()).catch(() => {})));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
