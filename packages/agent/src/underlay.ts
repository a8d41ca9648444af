import { spawnSync } from 'node:child_process';
import { AgentError } from './errors.ts';

export interface Underlay {
  readonly providerAddress: string;
  readonly mtu: number;
}

interface AddressJson {
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly addr_info: readonly { readonly family: string; readonly local: string; readonly scope: string }[];
}

/**
 * Looks at the underlay interface: its MTU, and the provider address, which must be on it.
 * @throws {AgentError} `WEFT_ERR_AGENT_UNDERLAY`.
 */
export function inspectUnderlay(name: string, providerAddress: string | undefined): Underlay {
  const { status, stdout, stderr } = spawnSync('ip', ['-json', 'address', 'show', 'dev', name], { encoding: 'utf8', timeout: 10_000 });
  const link = status === 0 ? (JSON.parse(stdout) as AddressJson[])[0] : undefined;
  if (link === undefined) {
    throw new AgentError(
      'WEFT_ERR_AGENT_UNDERLAY',
      `Cannot use underlay interface ${name}: ${(stderr ?? '').trim() || 'there is none of that name'}; set "underlay" to one that \`ip link\` lists`,
    );
  }
  const addresses = link.addr_info.filter((info) => info.family === 'inet').map((info) => info.local);
  const chosen = providerAddress ?? addresses[0];
  if (chosen === undefined) {
    throw new AgentError(
      'WEFT_ERR_AGENT_UNDERLAY',
      `Cannot use underlay interface ${name}: it has no IPv4 address; give it one, or name another`,
    );
  }
  if (!addresses.includes(chosen)) {
    throw new AgentError(
      'WEFT_ERR_AGENT_UNDERLAY',
      `Cannot use provider address ${chosen}: interface ${name} has ${addresses.join(', ') || 'no IPv4 address'}; add it there, or set "providerAddress" to one of these`,
    );
  }
  return { providerAddress: chosen, mtu: link.mtu };
}
