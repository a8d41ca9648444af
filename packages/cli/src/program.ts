import { Command, InvalidArgumentError } from 'commander';
import { registerAgent } from './commands/agent.ts';
import { registerApply } from './commands/apply.ts';
import { registerAudit } from './commands/audit.ts';
import { registerCheck } from './commands/check.ts';
import { registerCompletion } from './commands/completion.ts';
import { registerController } from './commands/controller.ts';
import { registerDelete } from './commands/delete.ts';
import type { Deps } from './commands/deps.ts';
import { registerDescribe } from './commands/describe.ts';
import { registerDrops } from './commands/drops.ts';
import { registerFlows } from './commands/flows.ts';
import { registerGateway } from './commands/gateway.ts';
import { registerGet } from './commands/get.ts';
import { registerHost } from './commands/host.ts';
import { registerInit } from './commands/init.ts';
import { registerMappings } from './commands/mappings.ts';
import { registerNat } from './commands/nat.ts';
import { registerPort } from './commands/port.ts';
import { registerPrincipal } from './commands/principal.ts';
import { registerStatus } from './commands/status.ts';
import { registerTrace } from './commands/trace.ts';
import { registerUp } from './commands/up.ts';
import { programVersion, registerVersion } from './commands/version.ts';
import { rerunInNetns } from './core/enter-netns.ts';
import { DEFAULT_TIMEOUT_SECONDS, type GlobalOptions, labOf, mergeSettings } from './core/settings.ts';
import { registerDemoCommand } from './demo/command.ts';
import { registerLabCommands } from './lab/commands.ts';

/** Thrown to end the command because it was carried out by another process, with that one's exit status. */
export class RanElsewhere extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`ran elsewhere with exit status ${exitCode}`);
    this.exitCode = exitCode;
  }
}

/** Commands that are part of an installation rather than talk to one: a lab's context is nothing to them. */
const outsideOfLabs: ReadonlySet<string> = new Set(['lab', 'demo', 'up', 'init', 'controller', 'agent', 'version', 'completion', 'help']);

/** The whole `weft` command. */
export function buildProgram(deps: Deps): Command {
  const program = new Command('weft')
    .description('Multi-tenant network virtualization: private networks for tenants, woven over hosts that share one.')
    .version(programVersion(), '-V, --version')
    .option('--nats <url>', 'NATS URL, several divided by commas (WEFT_NATS)')
    .option('--identity <file>', 'file with the seed that requests are signed with (WEFT_IDENTITY)')
    .option('--trust <key>', "the first admin's public key: whom to believe (WEFT_TRUST)")
    .option('--context <file>', 'context file (WEFT_CONTEXT; default ~/.config/weft/context.yaml, then /etc/weft/context.yaml)')
    .option('--lab <name>', 'use the lab of this name, inside its network (WEFT_LAB)')
    .option('--timeout <seconds>', `how long to wait for an answer (default ${DEFAULT_TIMEOUT_SECONDS})`, parseSeconds)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: true, helpWidth: deps.io.width ?? 100 })
    .configureOutput({
      writeOut: (text) => deps.io.out(text),
      writeErr: (text) => deps.io.note(text.replace(/\n$/, '').replace(/^error: /, 'weft: ')),
    })
    .showHelpAfterError('(add --help for what there is, with examples)')
    .showSuggestionAfterError(true)
    .exitOverride()
    .addHelpText(
      'after',
      '\nA first network:\n  weft up                              this machine: NATS, controller and host agent\n  weft apply -f net.yaml               tenants, networks, subnets, ports\n  weft port bind coke/net/web1 --tap web1\n  weft status\n\nExit status: 0 done, 1 refused or failed, 2 wrong usage, 3 NATS, a controller or a host does not answer.\n',
    );

  registerUp(program, deps);
  registerInit(program, deps);
  registerController(program, deps);
  registerAgent(program, deps);
  registerHost(program, deps);
  registerApply(program, deps);
  registerGet(program, deps);
  registerDescribe(program, deps);
  registerDelete(program, deps);
  registerPort(program, deps);
  registerGateway(program, deps);
  registerNat(program, deps);
  registerFlows(program, deps);
  registerStatus(program, deps);
  registerDrops(program, deps);
  registerMappings(program, deps);
  registerTrace(program, deps);
  registerCheck(program, deps);
  registerAudit(program, deps);
  registerPrincipal(program, deps);
  registerLabCommands(program, deps);
  registerDemoCommand(program, deps);
  registerVersion(program, deps);
  registerCompletion(program, deps);

  inherit(program);
  program.hook('preAction', (_, action) => {
    const options = action.optsWithGlobals<GlobalOptions>();
    let top: Command = action;
    while (top.parent !== null && top.parent !== program) top = top.parent;
    if (labOf(options, deps.io) === undefined || outsideOfLabs.has(top.name())) return;
    const { netns } = mergeSettings(options, deps.io);
    const status = netns === undefined ? undefined : rerunInNetns(netns);
    if (status !== undefined) throw new RanElsewhere(status);
  });
  return program;
}

/** Commander copies settings at `command()`, but commands that were built apart (`addCommand`) go without. */
function inherit(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inherit(child);
  }
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 3_600)) throw new InvalidArgumentError('must be seconds, more than 0 and at most 3600');
  return seconds;
}
