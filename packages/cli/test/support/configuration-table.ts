import { AGENT_CONFIG_KEYS } from '@weft/agent';

/** The table of docs/configuration.md, made from the keys that the agent reads. */
export function configurationTable(): string {
  const rows = Object.entries(AGENT_CONFIG_KEYS).map(([key, { kind, required, explanation, defaultText }]) => {
    const type = { text: 'text', texts: 'list of texts', number: 'number', flag: 'true or false' }[kind];
    return `| \`${key}\` | ${type} | ${required === true ? '**required**' : defaultText} | ${explanation.replaceAll('|', '\\|')} |`;
  });
  return ['| key | type | default | what it is for |', '|---|---|---|---|', ...rows].join('\n');
}
