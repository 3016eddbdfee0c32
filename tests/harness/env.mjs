// Where the things under test are. `cargo xtask test` sets the variables; by hand the defaults
// are where `cargo xtask build` puts them.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

export const ROOT = process.env.COUNTERFOIL_ROOT ?? join(here, "..", "..");
export const RELAY_DIR = process.env.COUNTERFOIL_RELAY ?? join(ROOT, "edge-relay/build");
export const APP_DIR = process.env.COUNTERFOIL_APP ?? join(ROOT, "target/app");
export const ASSET_WORKER = join(ROOT, "xtask/workerd/assets.mjs");
export const CHROMIUM = process.env.COUNTERFOIL_CHROMIUM ?? "/usr/bin/chromium";
export const WRANGLER = join(ROOT, "target/tools/node/node_modules/wrangler/bin/wrangler.js");
export const DOMAIN = "localhost";

export function workerdPath() {
  const named = process.env.COUNTERFOIL_WORKERD;
  if (named) return named;
  const packages = join(ROOT, "target/tools/node/node_modules/@cloudflare");
  for (const machine of ["linux-64", "linux-arm64", "darwin-arm64", "darwin-64"]) {
    const binary = join(packages, `workerd-${machine}/bin/workerd`);
    if (existsSync(binary)) return binary;
  }
  throw new Error("no workerd: set COUNTERFOIL_WORKERD or run `cargo xtask setup`");
}
