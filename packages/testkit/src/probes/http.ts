import { bodySha256 } from '../../helpers/body.mjs';
import type { NetnsWorker } from '../net/netns-worker.ts';
import type { QemuVm } from '../qemu/qemu-vm.ts';

export interface Served {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Serves HTTP in the worker's namespace: `/SEED/SIZE` is a body of SIZE bytes that follows from SEED, so that the fetcher knows what must
 * arrive; `/address` is the address that the fetcher is seen with; any other path is `text`.
 *
 * @param init.host Address to listen on. Default: all.
 * @param init.port Default 80. 0 takes a free one.
 */
export async function httpServe(
  worker: NetnsWorker,
  init: { readonly host?: string; readonly port?: number; readonly text?: string } = {},
): Promise<Served> {
  const { handle, port } = await worker.request<{ handle: number; port: number }>('httpServe', {
    host: init.host ?? '::',
    port: init.port ?? 80,
    text: init.text ?? '',
  });
  return { port, close: () => worker.request<void>('close', { handle }) };
}

export interface HttpResult {
  readonly status: number;
  /** Bytes of the body. */
  readonly size: number;
  readonly sha256: string;
  readonly elapsedMs: number;
  /** Status 200, and for `/SEED/SIZE` exactly the body that belongs to it. */
  readonly ok: boolean;
  /** The body's first megabyte as text, where asked for. */
  readonly text: string;
}

/**
 * Fetches `url` from the worker's namespace and checks the body (see `httpServe`).
 *
 * @throws {WorkerError} When there is no connection, or it ends or takes longer than `timeoutMs` (default 10,000).
 */
export async function httpGet(
  worker: NetnsWorker,
  url: string,
  options: { readonly timeoutMs?: number; readonly keepText?: boolean } = {},
): Promise<HttpResult> {
  const result = await worker.request<Omit<HttpResult, 'ok'>>('httpGet', {
    url,
    timeoutMs: options.timeoutMs ?? 10_000,
    keepText: options.keepText ?? false,
  });
  return { ...result, ok: result.status === 200 && isExpectedBody(url, result.sha256) };
}

/** The same from inside a QEMU guest, by its wget. The status is 200 or an error. */
export async function httpGetFromGuest(guest: QemuVm, url: string, options: { readonly timeoutMs?: number } = {}): Promise<HttpResult> {
  const timeoutMs = options.timeoutMs ?? 20_000;
  const started = performance.now();
  // The status of a pipe is that of its last command, so the body is stored first. No -T: Debian 12's static busybox crashes on it.
  const script = `wget -q -O /tmp/body-$$ "$0" && sha256sum < /tmp/body-$$ && wc -c < /tmp/body-$$; status=$?; rm -f /tmp/body-$$; exit $status`;
  const { stdout } = await guest.exec(['sh', '-c', script, url], { timeoutMs });
  const [sum, size] = stdout.split('\n');
  const sha256 = sum!.split(' ')[0]!;
  return { status: 200, size: Number(size), sha256, elapsedMs: performance.now() - started, ok: isExpectedBody(url, sha256), text: '' };
}

function isExpectedBody(url: string, sha256: string): boolean {
  const match = /^\/([A-Za-z0-9._-]+)\/(\d{1,10})$/.exec(new URL(url).pathname);
  return match === null || bodySha256(match[1]!, Number(match[2])) === sha256;
}
