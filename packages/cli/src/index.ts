export { type Context, LAB_CONTEXT_DIR, loadContext, loadLabContext, parseContext, writeContext } from './core/context-file.ts';
export { CLI_ERRORS, CliError, CliErrorCode, ExitCode } from './core/errors.ts';
export { main } from './main.ts';
