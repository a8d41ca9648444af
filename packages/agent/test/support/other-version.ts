import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const PARTS = ['package.json', 'dist', 'gen', 'dist-bpf', 'build/Release'];

/** Another version of the agent, beside the one of this repository. */
export interface OtherVersion {
  /** Its `main.js`. */
  readonly main: string;
  readonly version: string;
  remove(): void;
}

/**
 * Makes a later version out of what is built here: a version string of its own, and programs built from changed sources, so that their tags
 * differ. They count what passes through `from_port` in a map that this version doesn't have, `map_next`.
 */
export function makeNextVersion(version: string): OtherVersion {
  const directory = mkdtempSync(join(tmpdir(), 'weft-next-'));
  for (const name of readdirSync(join(root, 'packages'))) {
    for (const part of PARTS) {
      const from = join(root, 'packages', name, part);
      if (existsSync(from)) cpSync(from, join(directory, 'packages', name, part), { recursive: true });
    }
  }
  const packages = join(directory, 'packages');
  linkModules(directory);
  replaceIn(join(packages, 'agent/dist/run-agent.js'), /AGENT_VERSION = '[^']+'/, `AGENT_VERSION = '${version}'`);
  for (const part of ['bpf', 'scripts'])
    cpSync(join(root, 'packages/datapath', part), join(packages, 'datapath', part), { recursive: true });
  const bpf = join(packages, 'datapath/bpf');
  for (const program of ['from_port', 'from_tunnel', 'from_underlay']) {
    const counting = 'count_next();\n';
    replaceIn(join(bpf, `${program}.bpf.c`), new RegExp(`int ${program}\\(struct __sk_buff \\*skb\\)\\n\\{\\n`), `$&\t${counting}`);
  }
  replaceIn(join(bpf, 'weft.bpf.c'), /#include "from_port.bpf.c"/, `#include "lib/next.h"\n$&`);
  writeFileSync(join(bpf, 'lib/next.h'), COUNTING);
  execFileSync(process.execPath, [join(packages, 'datapath/scripts/build-bpf.mjs')], { stdio: ['ignore', 'pipe', 'pipe'] });
  return { main: join(packages, 'agent/dist/main.js'), version, remove: () => rmSync(directory, { recursive: true }) };
}

const COUNTING = `#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } map_next SEC(".maps");
static __always_inline void count_next(void)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&map_next, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
}
`;

/** What others made comes from here, what is Weft's from the copy. */
function linkModules(directory: string): void {
  const modules = join(directory, 'node_modules');
  mkdirSync(join(modules, '@weft'), { recursive: true });
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== '@weft') symlinkSync(join(root, 'node_modules', name), join(modules, name));
  }
  for (const name of readdirSync(join(directory, 'packages'))) symlinkSync(join(directory, 'packages', name), join(modules, '@weft', name));
}

function replaceIn(file: string, what: RegExp, by: string): void {
  const text = readFileSync(file, 'utf8');
  const replaced = text.replace(what, by);
  if (replaced === text) throw new Error(`${file} has nothing like ${what} to replace`);
  writeFileSync(file, replaced);
}
