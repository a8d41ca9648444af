import type { BindPortResult, DeviceKind, Port } from '@weft/model';
import type { Command } from 'commander';
import { atHost } from '../core/at-host.ts';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { chooseHost, localHostIds } from '../core/local-host.ts';
import { ask, type Session, tell } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { formatDuration } from '../format/quantity.ts';
import { bindingOf, type Catalog, portName, readCatalog, requirePort } from '../resources/catalog.ts';
import { bindingFacts } from '../resources/display.ts';
import { parseReference } from '../resources/reference.ts';
import { type Deps, examples, withSession } from './deps.ts';

interface DeviceOptions {
  readonly tap?: string;
  readonly netdev?: string;
}

interface PortOptions extends DeviceOptions {
  readonly tenant?: string;
  readonly network?: string;
  readonly host?: string;
  readonly to?: string;
  readonly move?: boolean;
  readonly json?: boolean;
}

/** A device on a host, and how it came to be. */
export interface Device {
  readonly device: string;
  readonly deviceKind: DeviceKind;
}

/** The kernel's limit (IFNAMSIZ less the final zero), and what it refuses in a name. */
const DEVICE_NAME = /^(?!\.{1,2}$)[^\s/:]{1,15}$/;

/**
 * The device that `--tap` or `--netdev` names; undefined when neither is given.
 *
 * @throws {CliError} `WEFT_ERR_CLI_USAGE` for both at once, or a name that no device can have.
 */
export function parseDevice({ tap, netdev }: DeviceOptions): Device | undefined {
  if (tap !== undefined && netdev !== undefined) {
    throw new CliError(
      CliErrorCode.Usage,
      'Cannot take both --tap and --netdev: --tap makes a TAP device for QEMU, --netdev takes a device that is there (veth)',
    );
  }
  const name = tap ?? netdev;
  if (name === undefined) return undefined;
  if (!DEVICE_NAME.test(name)) {
    throw new CliError(CliErrorCode.Usage, `Cannot use device name "${name}": must be 1 to 15 characters without blanks, "/" and ":"`);
  }
  return { device: name, deviceKind: tap !== undefined ? 'tap' : 'netdev' };
}

/** Everything needed to place a port. */
async function readPortCatalog(session: Session): Promise<Catalog> {
  return readCatalog(session, ['VirtualNetwork', 'Port', 'PortBinding', 'Host']);
}

const portOptions = (command: Command): Command =>
  command.option('--tenant <name>', 'tenant, when PORT leaves it out').option('--network <name>', 'network, when PORT leaves it out');

const deviceOptions = (command: Command): Command =>
  command
    .option('--tap <name>', 'TAP device that the agent makes and owns; give its name to QEMU')
    .option('--netdev <name>', 'network device that is there already: the host end of a veth pair');

export function registerPort(program: Command, deps: Deps): void {
  const port = program
    .command('port')
    .summary("bind ports to this machine's devices, unbind and move them")
    .description('Says which host has a port, and on which device.');

  deviceOptions(portOptions(port.command('bind')))
    .summary('give a port to a device')
    .description(
      "Binds a port to a device of a host: from then on the device is that VM's network card, and all hosts of the network send to it.\nBinding again what is bound already changes nothing. The TAP is made by the agent; QEMU takes it by name:\n  -netdev tap,id=n0,ifname=NAME,script=no,downscript=no,vhost=off -device virtio-net-pci,netdev=n0,mac=MAC",
    )
    .argument('<port>', 'TENANT/NETWORK/PORT')
    .option('--host <id>', "host to bind on (default: this machine's agent, or the only host)")
    .option('--move', 'take the port from the host that has it')
    .option('--json', 'print the binding as JSON')
    .addHelpText(
      'after',
      examples(
        'weft port bind coke/net/web1 --tap web1',
        'weft port bind coke/net/web2 --netdev veth-web2 --host host-b',
        'weft port bind coke/net/web1 --tap web1 --host host-c --move',
      ),
    )
    .action(async (name: string, options: PortOptions, command: Command) => {
      const device = parseDevice(options);
      if (device === undefined)
        throw new CliError(
          CliErrorCode.Usage,
          'Cannot bind without a device: give --tap NAME (made for QEMU) or --netdev NAME (a veth that is there)',
        );
      const reference = parseReference('Port', name, options);
      await withSession(deps, command, async (session) => {
        const catalog = await readPortCatalog(session);
        const found = requirePort(catalog, reference);
        const host = chooseHost(catalog, options.host, localHostIds());
        const result = await atHost(catalog, host, `bind port ${portName(found)}`, () =>
          bind(session, host, found, device, options.move === true),
        );
        if (options.json === true) deps.io.out(toJson(bindResultJson(found, result)));
        else deps.io.out(formatBound(found, result));
      });
    });

  portOptions(port.command('unbind'))
    .summary('take a port from its device')
    .description('Ends a binding. The VM loses its network at once; a TAP that the agent made is removed.')
    .argument('<port>', 'TENANT/NETWORK/PORT')
    .addHelpText('after', examples('weft port unbind coke/net/web1'))
    .action(async (name: string, options: PortOptions, command: Command) => {
      const reference = parseReference('Port', name, options);
      await withSession(deps, command, async (session) => {
        const catalog = await readPortCatalog(session);
        const found = requirePort(catalog, reference);
        const binding = bindingOf(catalog, found)?.value;
        if (binding === undefined) {
          deps.io.out(`port ${portName(found)} is bound nowhere\n`);
          return;
        }
        const { id: portId, routingDomainId } = found;
        await atHost(catalog, binding.hostId, `unbind port ${portName(found)}`, () =>
          tell(session, binding.hostId, { kind: 'unbindPort', value: { portId, routingDomainId } }),
        );
        deps.io.out(`port ${portName(found)} unbound from ${binding.device} on ${binding.hostId}\n`);
      });
    });

  deviceOptions(portOptions(port.command('migrate')))
    .summary('move a port to another host without losing frames')
    .description(
      'Moves a bound port: the new host first makes device, tables and program ready (prepare), then takes the binding over (claim). Frames that reach the old host meanwhile are sent on.\nThe device keeps name and kind of the old one unless --tap or --netdev says otherwise.',
    )
    .argument('<port>', 'TENANT/NETWORK/PORT')
    .requiredOption('--to <host>', 'host that gets the port')
    .option('--json', 'print the new binding as JSON')
    .addHelpText(
      'after',
      examples('weft port migrate coke/net/web1 --to host-b', 'weft port migrate coke/net/web1 --to host-b --tap web1b'),
    )
    .action(async (name: string, options: PortOptions, command: Command) => {
      const reference = parseReference('Port', name, options);
      const given = parseDevice(options);
      await withSession(deps, command, async (session) => {
        const catalog = await readPortCatalog(session);
        const found = requirePort(catalog, reference);
        const host = chooseHost(catalog, options.to, []);
        const old = bindingOf(catalog, found)?.value;
        if (old === undefined)
          throw new CliError(
            CliErrorCode.Refused,
            `Cannot migrate port ${portName(found)}: it is bound nowhere; use "weft port bind ${portName(found)} --host ${host}" with --tap or --netdev`,
          );
        if (old.hostId === host) {
          deps.io.note(`port ${portName(found)} is on ${host} already`);
          return;
        }
        const device = given ?? { device: old.device, deviceKind: old.deviceKind };
        const startedMs = deps.now();
        deps.io.note(`1/2 preparing ${device.device} on ${host}`);
        const { id: portId, routingDomainId } = found;
        const doing = `move port ${portName(found)} from ${old.hostId} to ${host}`;
        await atHost(catalog, host, doing, () =>
          tell(session, host, { kind: 'preparePort', value: { portId, routingDomainId, ...device } }),
        );
        deps.io.note(`2/2 claiming the port from ${old.hostId}`);
        // The generation says which binding was meant: if another move came in between, this one is refused.
        const result = await atHost(catalog, host, doing, () => bind(session, host, found, device, true, old.generation)).catch(
          (error: unknown) => {
            // Not taken down again: if the refusal is that someone moved the port here meanwhile, that would cut it off.
            deps.io.note(
              `${device.device} on ${host} stays prepared for the next try; weft describe port ${portName(found)} tells where the port is`,
            );
            throw error;
          },
        );
        deps.io.note(`moved in ${formatDuration(deps.now() - startedMs)}`);
        if (options.json === true) deps.io.out(toJson(bindResultJson(found, result)));
        else deps.io.out(formatBound(found, result));
      });
    });
}

async function bind(
  session: Session,
  host: string,
  port: Port,
  device: Device,
  move: boolean,
  expectedGeneration = 0,
): Promise<BindPortResult> {
  const { id: portId, routingDomainId } = port;
  return ask(session, host, { kind: 'bindPort', value: { portId, routingDomainId, ...device, expectedGeneration, move } }, 'bindPort');
}

function formatBound(port: Port, { binding, mtuBytes }: BindPortResult): string {
  const from = binding.previousHostId === '' || binding.previousHostId === binding.hostId ? '' : `, before on ${binding.previousHostId}`;
  return `port ${portName(port)} is bound to ${binding.device} on ${binding.hostId} (MAC ${port.mac}, ${port.addresses.join(', ')}, MTU ${mtuBytes}, generation ${binding.generation}${from})\n`;
}

function bindResultJson(port: Port, { binding, mtuBytes, revision }: BindPortResult): object {
  return { port: portName(port), portId: port.id, mac: port.mac, addresses: port.addresses, mtuBytes, revision, ...bindingFacts(binding) };
}
