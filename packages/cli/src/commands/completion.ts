import type { Command } from 'commander';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { kinds } from '../resources/kinds.ts';
import { type Deps, examples } from './deps.ts';

/** A bash script that completes the commands, their sub-commands and options, made from the program itself. */
export function bashCompletion(program: Command): string {
  const cases: string[] = [];
  const walk = (command: Command, path: readonly string[]): void => {
    const children = command.commands.map((child) => child.name());
    const options = command.options.flatMap((option) => (option.long == null ? [] : [option.long]));
    const extra = ['get', 'describe', 'delete'].includes(path.at(-1) ?? '') ? kinds.map((kind) => kind.plural) : [];
    cases.push(`    '${path.join(' ')}') words="${[...children, ...extra, ...options].join(' ')}" ;;`);
    for (const child of command.commands) walk(child, [...path, child.name()]);
  };
  walk(program, []);
  return `# bash completion for weft; load it with: source <(weft completion bash)
_weft() {
  local words= path= word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -* ]] && continue
    case " $(_weft_children "$path") " in *" $word "*) path="\${path:+$path }$word" ;; esac
  done
  _weft_words "$path"
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
_weft_children() { local words; _weft_words "$1"; echo "$words"; }
_weft_words() {
  case "$1" in
${cases.join('\n')}
    *) words= ;;
  esac
}
complete -o default -F _weft weft
`;
}

export function registerCompletion(program: Command, deps: Deps): void {
  program
    .command('completion')
    .summary('print a completion script for bash')
    .description('Prints a script that lets the shell complete commands and options.')
    .argument('<shell>', 'bash')
    .addHelpText('after', examples('source <(weft completion bash)', 'weft completion bash > /etc/bash_completion.d/weft'))
    .action((shell: string) => {
      if (shell !== 'bash') throw new CliError(CliErrorCode.Usage, `Cannot complete for shell "${shell}": only bash is known`);
      deps.io.out(bashCompletion(program));
    });
}
