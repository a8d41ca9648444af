import { describe, expect, it } from 'vitest';
import { CommandError, CommandScope, run, waitFor } from '../src/index.ts';

const reason = new Error('closed');

describe('CommandScope', () => {
  it('refuses commands, waits and processes of all that was called from inside, with its reason, and nothing outside', async () => {
    const scope = new CommandScope();
    let goOn: () => void = () => {};
    const closed = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const inside = scope.run(async () => {
      await run('true', []);
      await closed;
      const nested = new CommandScope().run(() => run('true', []));
      const waits = waitFor(() => false, { what: 'nothing' });
      const cleanUp = CommandScope.outside(() => run('echo', ['removed']));
      return await Promise.allSettled([run('true', []), nested, waits, cleanUp]);
    });
    scope.close(reason);
    scope.close(new Error('a later reason does not count'));
    goOn();
    const refused = { status: 'rejected', reason };
    expect(await inside).toEqual([
      refused,
      refused,
      refused,
      { status: 'fulfilled', value: expect.objectContaining({ stdout: 'removed\n' }) },
    ]);
    await expect(run('true', [])).resolves.toMatchObject({ code: 0 });
  });

  it('a wait that is under way ends when its scope is closed', async () => {
    const scope = new CommandScope();
    const waiting = scope.run(() => waitFor(() => false, { what: 'nothing', deadlineMs: 20_000 }));
    scope.close(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  it('settles when the command under way has come to its own end', async () => {
    const [outer, inner] = [new CommandScope(), new CommandScope()];
    const command = outer.run(() => inner.run(() => run('sh', ['-c', 'sleep 0.2; echo done'])));
    let ended = false;
    void command.then(() => {
      ended = true;
    });
    // A command belongs to all the scopes it was started in.
    await Promise.all([outer.settle({ waitMs: 20_000 }), inner.settle({ waitMs: 20_000 })]);
    await command;
    expect(ended).toBe(true);
    expect((await command).stdout).toBe('done\n');
  });

  it('ends a command that stays by SIGTERM, and one that ignores that by SIGKILL', async () => {
    for (const [script, signal] of [
      ['exec sleep 600', 'SIGTERM'],
      ['trap "" TERM; echo deaf; while :; do sleep 0.05; done', 'SIGKILL'],
    ] as const) {
      const scope = new CommandScope();
      const command = scope.run(() => run('sh', ['-c', script])).catch((error: unknown) => error);
      // Long enough for the shell to be deaf.
      await scope.settle({ waitMs: 500, graceMs: 500 });
      const error = await command;
      expect(error).toBeInstanceOf(CommandError);
      expect(error).toMatchObject({ signal });
    }
  });

  it('gives its environment to the commands in it, the inner scope before the outer', async () => {
    const outer = new CommandScope({ WEFT_TEST_A: 'outer', WEFT_TEST_B: 'outer' });
    const inner = new CommandScope({ WEFT_TEST_B: 'inner' });
    const { stdout } = await outer.run(() => inner.run(() => run('sh', ['-c', 'echo $WEFT_TEST_A $WEFT_TEST_B'])));
    expect(stdout).toBe('outer inner\n');
    expect((await run('sh', ['-c', 'echo "$WEFT_TEST_A"'])).stdout).toBe('\n');
  });
});
