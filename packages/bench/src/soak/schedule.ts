/** What the second part of a soak run does to a lab. */
export type SoakAction =
  | { readonly kind: 'agent'; readonly host: string; readonly signal: 'SIGKILL' | 'SIGTERM'; readonly awayMs: number }
  | { readonly kind: 'controller'; readonly number: number; readonly awayMs: number }
  | { readonly kind: 'nats'; readonly awayMs: number; readonly killed: boolean; readonly agentToo: string | undefined }
  | { /** So many hosts further on in the lab's order. */ readonly kind: 'move'; readonly by: number };

/** Numbers of [0, 1) that follow from a seed (mulberry32): the same seed, the same run. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The next thing to do, and how long to rest before it. Agents die most often: theirs is the promise that matters most. */
export function nextAction(
  random: () => number,
  lab: { readonly hosts: readonly string[]; readonly controllers: number },
): { readonly action: SoakAction; readonly pauseMs: number } {
  const among = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const pauseMs = Math.round(random() * 2_000);
  const awayMs = Math.round(random() * 4_000);
  const kind = random();
  if (kind < 0.35)
    return { pauseMs, action: { kind: 'agent', host: among(lab.hosts), signal: random() < 0.7 ? 'SIGKILL' : 'SIGTERM', awayMs } };
  if (kind < 0.5) return { pauseMs, action: { kind: 'controller', number: 1 + Math.floor(random() * lab.controllers), awayMs } };
  if (kind < 0.65) {
    const killed = random() < 0.5;
    return { pauseMs, action: { kind: 'nats', awayMs, killed, agentToo: random() < 0.5 ? among(lab.hosts) : undefined } };
  }
  return { pauseMs, action: { kind: 'move', by: 1 + Math.floor(random() * (lab.hosts.length - 1)) } };
}

export function describeAction(action: SoakAction): string {
  switch (action.kind) {
    case 'agent':
      return `agent of ${action.host}: ${action.signal}, away for ${action.awayMs} ms`;
    case 'controller':
      return `controller ${action.number}: SIGKILL, away for ${action.awayMs} ms`;
    case 'nats':
      return `NATS ${action.killed ? 'killed' : 'stopped'} for ${action.awayMs} ms${action.agentToo === undefined ? '' : `, agent of ${action.agentToo} killed meanwhile`}`;
    case 'move':
      return `the moving port ${action.by} host${action.by === 1 ? '' : 's'} on`;
  }
}
