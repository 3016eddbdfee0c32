// Runs one wasm32-wasip1 test binary: `node run.mjs TESTS.wasm [arguments]`.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [file, ...args] = process.argv.slice(2);
const wasi = new WASI({
  version: "preview1",
  args: [file, ...args],
  env: process.env,
  // proptest keeps failing seeds beside the sources.
  preopens: { "/": "/", ".": process.cwd() },
});
const module = await WebAssembly.compile(await readFile(file));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
try {
  process.exitCode = wasi.start(instance);
} catch (trap) {
  console.error(trap);
  process.exitCode = 101;
}
