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

/** What befalls a gateway group in a soak run. */
export type GatewayAction =
  | { readonly kind: 'power'; readonly host: string; readonly awayMs: number }
  | { readonly kind: 'freeze'; readonly host: string; readonly awayMs: number }
  | {
      readonly kind: 'partition';
      readonly from: string;
      readonly to: string;
      readonly oneWay: boolean;
      /** `from` is cut off from NATS as well. */
      readonly natsToo: boolean;
      readonly awayMs: number;
    }
  | { readonly kind: 'flapping'; readonly host: string; readonly times: number }
  | { readonly kind: 'nats'; readonly awayMs: number };

/** The next fault and how long to rest before it. Freezes last up to a minute, as a machine's that is moved or snapshotted. */
export function nextGatewayAction(
  random: () => number,
  lab: { readonly gateways: readonly string[]; readonly others: readonly string[] },
): { readonly action: GatewayAction; readonly pauseMs: number } {
  const among = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const pauseMs = Math.round(random() * 3_000);
  const host = among(lab.gateways);
  const kind = random();
  const awayMs = Math.round(random() * 10_000);
  if (kind < 0.3) return { pauseMs, action: { kind: 'power', host, awayMs } };
  // Most freezes are short; one in three is long.
  if (kind < 0.5) return { pauseMs, action: { kind: 'freeze', host, awayMs: random() < 0.67 ? awayMs : Math.round(random() * 60_000) } };
  if (kind < 0.75) {
    const to = among([...lab.gateways, ...lab.others].filter((other) => other !== host));
    return { pauseMs, action: { kind: 'partition', from: host, to, oneWay: random() < 0.5, natsToo: random() < 0.3, awayMs } };
  }
  if (kind < 0.85) return { pauseMs, action: { kind: 'flapping', host, times: 2 + Math.floor(random() * 6) } };
  return { pauseMs, action: { kind: 'nats', awayMs } };
}

export function describeGatewayAction(action: GatewayAction): string {
  switch (action.kind) {
    case 'power':
      return `${action.host} loses power for ${action.awayMs} ms`;
    case 'freeze':
      return `agent of ${action.host} stands still for ${action.awayMs} ms`;
    case 'partition':
      return `${action.oneWay ? 'nothing comes' : 'no way either way'} from ${action.from} to ${action.to} for ${action.awayMs} ms${action.natsToo ? `, ${action.from} cut off from NATS too` : ''}`;
    case 'flapping':
      return `the link of ${action.host} comes and goes ${action.times} times`;
    case 'nats':
      return `NATS killed for ${action.awayMs} ms`;
  }
}
