import { TcpSeen } from '@weft/forwarding';
import type { NatFlow } from '@weft/model';
import { IP_PROTOCOL } from '@weft/packet';
import type { Command } from 'commander';
import { formatDuration } from '../format/quantity.ts';
import { compareNames } from '../resources/catalog.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts } from './hosts-asked.ts';
import {
  endpoint,
  type NatOptions,
  natNames,
  networkIds,
  protocolName,
  readNatCatalog,
  readQuery,
  rowOptions,
  SCAN_TIMEOUT_MS,
} from './nat-asked.ts';
import { lastName, rowsOf, showToldRows } from './nat-rows.ts';

const { OUT_SYN, IN_SYN, OUT_ACK, IN_ACK, OUT_FIN, IN_FIN, RST } = TcpSeen;
const ESTABLISHED = OUT_SYN | IN_SYN | OUT_ACK | IN_ACK;

/** What a session is in, in a word. */
export function flowState({ protocol, tcpSeen, remainingMs }: Pick<NatFlow, 'protocol' | 'tcpSeen' | 'remainingMs'>): string {
  if (remainingMs === 0) return 'over';
  if (protocol !== IP_PROTOCOL.tcp) return 'open';
  if (tcpSeen & RST) return 'reset';
  if (tcpSeen & OUT_FIN && tcpSeen & IN_FIN) return 'closed';
  if (tcpSeen & (OUT_FIN | IN_FIN)) return 'closing';
  return (tcpSeen & ESTABLISHED) === ESTABLISHED ? 'established' : 'opening';
}

export function registerFlows(program: Command, deps: Deps): void {
  rowOptions(program.command('flows'))
    .summary('sessions that pass gateways now')
    .option('--remote <address>', 'only with this address outside')
    .option('--remote-port <port>', 'only with this port outside')
    .description(
      'Asks the members of gateways for the sessions of the shards that each owns now: inside, outside, the remote end, what state it is in, and how long it lives on unless packets come. These are the sessions of port mapping, and those that came in by a port forward; 1:1 addresses, forwarding, peering and prefix translation keep no state, so there is nothing to list of them.',
    )
    .addHelpText(
      'after',
      examples(
        'weft flows --network coke/shop',
        'weft flows --inside 10.0.1.10 --network coke/shop',
        'weft flows --remote 198.18.0.10 --remote-port 443',
        'weft flows --address 203.0.113.16 --port 40112 --json',
      ),
    )
    .action(async (options: NatOptions, command: Command) => {
      const wanted = readQuery(options);
      await withSession(deps, command, async (session) => {
        const { catalog, members } = await readNatCatalog(session, options.gateway);
        const query = { ...wanted, networkIds: networkIds(catalog, options) };
        const names = natNames(catalog);
        const answers = await askHosts(session, members, { kind: 'natFlows', value: query }, 'natFlows', SCAN_TIMEOUT_MS, deps.io.note);
        const named = rowsOf(answers).map(({ tcpSeen, ...row }) => ({
          ...row,
          protocol: protocolName(row.protocol),
          state: flowState({ ...row, tcpSeen }),
          network: names.network(row.networkId),
          port: names.port(row.networkId, row.customerAddress),
        }));
        named.sort(
          (a, b) =>
            compareNames(a.network, b.network) ||
            compareNames(endpoint(a.customerAddress, a.customerPort), endpoint(b.customerAddress, b.customerPort)) ||
            compareNames(endpoint(a.remoteAddress, a.remotePort), endpoint(b.remoteAddress, b.remotePort)),
        );
        showToldRows(deps, options, {
          rows: named,
          answers,
          limit: query.limit,
          none: 'no flows',
          columns: [
            { title: 'NETWORK', flexible: true },
            { title: 'PORT', flexible: true },
            { title: 'INSIDE' },
            { title: 'OUTSIDE' },
            { title: 'REMOTE' },
            { title: 'PROTOCOL' },
            { title: 'STATE' },
            { title: 'LIVES', align: 'right' },
            { title: 'BY' },
            { title: 'MEMBER' },
          ],
          cells: (row) => [
            row.network,
            lastName(row.port),
            endpoint(row.customerAddress, row.customerPort),
            endpoint(row.externalAddress, row.externalPort),
            endpoint(row.remoteAddress, row.remotePort),
            row.protocol,
            row.state,
            formatDuration(row.remainingMs),
            row.isForward ? 'forward' : 'mapping',
            row.member,
          ],
        });
      });
    });
}
