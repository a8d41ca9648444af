import type { AgentLogger } from '../../src/components.ts';
import type { GatewayStorage } from '../../src/gateway/gateway-storage.ts';

/** Files in memory, written at once; and a logger that says nothing. */
export function memoryStorage(): GatewayStorage & { readonly logger: AgentLogger; content(name: string): string | undefined } {
  const files = new Map<string, Uint8Array>();
  const quiet = (): void => {};
  return {
    file: (name) => ({
      read: async () => files.get(name),
      write: async (bytes) => void files.set(name, bytes),
    }),
    names: () => [...files.keys()],
    content: (name) => {
      const bytes = files.get(name);
      return bytes && new TextDecoder().decode(bytes);
    },
    logger: { debug: quiet, info: quiet, warn: quiet, error: quiet } as unknown as AgentLogger,
  };
}
