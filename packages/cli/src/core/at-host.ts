import { hasCode, type Problem } from '@weft/model';
import { type Catalog, portName } from '../resources/catalog.ts';
import { CliError, CliErrorCode } from './errors.ts';
import { RefusedError } from './session.ts';

// What a host's agent says is written for whoever reads its log: with ids, and without the command that helps. Here is said what an operator
// needs who has just typed a name.

/**
 * Asks a host something, and tells what goes wrong in names.
 *
 * @param doing What is being done, for the first words: `bind port coke/net/web1`.
 * @throws {RefusedError} With names in place of ids. @throws {CliError} `WEFT_ERR_CLI_UNREACHABLE` when the host is silent.
 */
export async function atHost<T>(
  catalog: Pick<Catalog, 'ports' | 'networks'>,
  host: string,
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RefusedError)
      throw new RefusedError(
        host,
        error.problems.map((problem) => explain(problem, catalog, host)),
      );
    if (hasCode(error, 'WEFT_ERR_BUS_NO_RESPONDER'))
      throw new CliError(
        CliErrorCode.Unreachable,
        `Cannot ${doing}: host ${host} is silent: its agent is down, or cut off from NATS; nothing was changed, and what it forwards it keeps forwarding. Look there (\`systemctl status weft-agent\`), then repeat`,
        { cause: error },
      );
    if (hasCode(error, 'WEFT_ERR_BUS_TIMEOUT'))
      throw new CliError(
        CliErrorCode.Unreachable,
        `Cannot say whether it came to "${doing}": host ${host} did not answer in time (--timeout). Repeat it: done twice is done once; "weft get bindings" shows how things stand`,
        { cause: error },
      );
    throw error;
  }
}

/** The problem with names for ids, and with the commands that help as hint. */
export function explain(problem: Problem, catalog: Pick<Catalog, 'ports' | 'networks'>, host: string): Problem {
  const named = { ...problem, resource: withNames(problem.resource, catalog), rule: withNames(problem.rule, catalog) };
  const hint = hintOf(named, host);
  return hint === undefined ? named : { ...named, hint };
}

function withNames(text: string, { ports, networks }: Pick<Catalog, 'ports' | 'networks'>): string {
  return text.replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, (id) => {
    const port = ports.find(({ value }) => value.id === id)?.value;
    if (port !== undefined) return portName(port);
    const network = networks.find(({ value }) => value.id === id)?.value;
    return network === undefined ? id : `${network.tenant}/${network.name}`;
  });
}

/** What to type; undefined: the agent's own hint is as good. */
function hintOf({ code, resource, value }: Problem, host: string): string | undefined {
  const port = resource.startsWith('Port ') ? resource.slice('Port '.length) : 'PORT';
  switch (code) {
    case 'WEFT_ERR_AGENT_BOUND_ELSEWHERE':
      return `move it: weft port migrate ${port} --to ${host}; or, if ${value} is gone for good: weft port bind ${port} --host ${host} --move with its device`;
    case 'WEFT_ERR_AGENT_GENERATION':
      return `someone else bound or moved it meanwhile: weft describe port ${port}, then decide again`;
    case 'WEFT_ERR_AGENT_PLACEMENT':
      return `name a host of its placement with --host, or add ${host} to spec.placement of the port and weft apply it`;
    case 'WEFT_ERR_AGENT_DEVICE_MISSING':
      return `on ${host}: ip link show; give the name of what is there, or --tap ${value === '' ? 'NAME' : value}: the agent then makes it`;
    case 'WEFT_ERR_AGENT_DEVICE_KIND':
      return `weft port bind ${port} --netdev ${value} takes the device as it is; --tap wants a TAP, or a free name`;
    case 'WEFT_ERR_AGENT_DEVICE_IN_USE':
      return 'unbind that port (weft port unbind), or name another device';
    case 'WEFT_ERR_AGENT_NATS_DOWN':
      return 'traffic flows on; repeat it when weft status shows the host connected';
    default:
      return undefined;
  }
}
