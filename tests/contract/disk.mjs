// A disk of a few megabytes under a relay's objects.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { startRelay } from "./mailbox.mjs";

const run = promisify(execFile);

/** A relay whose objects lie on a disk of their own. */
export class SmallDisk {
  /** Answers undefined, and has the test skipped, where nobody may mount one. */
  static async under(t, bytes) {
    const disk = new SmallDisk();
    disk.relay = await startRelay();
    await disk.relay.kill();
    try {
      await run("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "none", disk.relay.objects]);
    } catch (error) {
      await disk.relay.stop();
      t.skip(`a small disk cannot be mounted here: ${error.stderr?.trim() || error.message}`);
      return undefined;
    }
    await disk.relay.restart();
    return disk;
  }

  async resize(bytes) {
    await run("mount", ["-o", `remount,size=${bytes}`, this.relay.objects]);
  }

  async stop() {
    await this.relay.kill();
    await run("umount", [this.relay.objects]);
    await this.relay.stop();
  }
}
