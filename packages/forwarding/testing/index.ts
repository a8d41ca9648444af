/** Worlds and frames for tests of all implementations of the datapath contract; built as `@weft/forwarding/testing`. */
export * from '../src/testing/index.ts';
