import { tryCommand } from './command.ts';

// The host's firewall and the tunnel: frames that are stripped in BPF never meet it, but GSO frames climb through the UDP stack. A firewall
// that keeps the tunnel's port closed would lose those alone, the hardest of faults to find. So it is looked for at start.

interface NftRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly expr?: readonly Readonly<Record<string, unknown>>[];
}

interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

/** Families whose input hook sees IPv4 packets to the host. */
const FAMILIES: ReadonlySet<string> = new Set(['ip', 'inet']);

/**
 * Looks for chains of the host's firewall that may keep UDP packets to `udpPort` out: a base chain at the input hook whose policy or last rule
 * drops, and in which no rule speaks of that port with a verdict of accept.
 *
 * A reading of the rules, not a proof: conditions of interface or address are not weighed.
 *
 * @returns A sentence for each such chain, by name; empty if there is none or nft is not installed.
 */
export function checkTunnelPort(udpPort: number): string[] {
  const { status, stdout } = tryCommand('nft', ['-j', 'list', 'ruleset']);
  return status === 0 ? closedChains(stdout, udpPort) : [];
}

/** The pure part of {@link checkTunnelPort}: `ruleset` is what `nft -j list ruleset` prints. */
export function closedChains(ruleset: string, udpPort: number): string[] {
  const { nftables = [] } = JSON.parse(ruleset) as { nftables?: readonly Readonly<Record<string, unknown>>[] };
  const chains = nftables.flatMap((item) => (item['chain'] === undefined ? [] : [item['chain'] as NftChain]));
  const rules = nftables.flatMap((item) => (item['rule'] === undefined ? [] : [item['rule'] as NftRule]));
  const warnings: string[] = [];
  for (const chain of chains) {
    if (chain.hook !== 'input' || !FAMILIES.has(chain.family)) continue;
    const reached = reachableRules(rules, chain);
    const last = rules.filter((rule) => isOf(rule, chain, chain.name)).at(-1);
    const drops = chain.policy === 'drop' || (last !== undefined && isBareDrop(last));
    const accepts = reached.some((rule) => hasVerdict(rule, 'accept') && (mentionsPort(rule, udpPort) || isBareAccept(rule)));
    if (!drops || accepts) continue;
    warnings.push(
      `Chain ${chain.name} of nftables table ${chain.family} ${chain.table} drops what no rule accepts, and none accepts UDP port ${udpPort}: ` +
        `large (GSO) tunnel frames would be lost; add "udp dport ${udpPort} accept"`,
    );
  }
  return warnings;
}

function isOf(rule: NftRule, chain: NftChain, name: string): boolean {
  return rule.family === chain.family && rule.table === chain.table && rule.chain === name;
}

/** The rules of a base chain and of those it jumps to. */
function reachableRules(rules: readonly NftRule[], chain: NftChain): NftRule[] {
  const found: NftRule[] = [];
  const seen = new Set<string>();
  const visit = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const rule of rules) {
      if (!isOf(rule, chain, name)) continue;
      found.push(rule);
      for (const target of jumpTargets(rule.expr)) visit(target);
    }
  };
  visit(chain.name);
  return found;
}

function jumpTargets(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(jumpTargets);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const target = (inner as { target?: unknown } | null)?.target;
    return (key === 'jump' || key === 'goto') && typeof target === 'string' ? [target] : jumpTargets(inner);
  });
}

function hasVerdict(rule: NftRule, verdict: 'accept' | 'drop' | 'reject'): boolean {
  return rule.expr?.some((part) => verdict in part) ?? false;
}

const NO_CONDITION: ReadonlySet<string> = new Set(['counter', 'log', 'accept', 'drop', 'reject', 'comment']);

function isBareDrop(rule: NftRule): boolean {
  return isBare(rule) && (hasVerdict(rule, 'drop') || hasVerdict(rule, 'reject'));
}

function isBareAccept(rule: NftRule): boolean {
  return isBare(rule) && hasVerdict(rule, 'accept');
}

function isBare(rule: NftRule): boolean {
  return rule.expr?.every((part) => Object.keys(part).every((key) => NO_CONDITION.has(key))) ?? false;
}

/** True if some match of the rule compares a port, and the tunnel's is among its values. */
function mentionsPort(rule: NftRule, udpPort: number): boolean {
  return (
    rule.expr?.some((part) => {
      const match = part['match'] as
        | { left?: { payload?: { protocol?: string; field?: string } }; right?: unknown; op?: string }
        | undefined;
      const payload = match?.left?.payload;
      if (payload?.field !== 'dport' || payload.protocol === 'tcp' || match?.op === '!=') return false;
      return includesPort(match?.right, udpPort);
    }) ?? false
  );
}

function includesPort(right: unknown, port: number): boolean {
  if (right === port) return true;
  if (Array.isArray(right)) return right.some((element) => includesPort(element, port));
  if (typeof right !== 'object' || right === null) return false;
  const { range, set, elem } = right as { range?: readonly [number, number]; set?: unknown; elem?: { val?: unknown } };
  if (range !== undefined) return range[0] <= port && port <= range[1];
  return includesPort(set, port) || includesPort(elem?.val, port);
}
