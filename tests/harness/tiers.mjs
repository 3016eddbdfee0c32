// History that moves from the mailboxes to where it is kept cold: what is where, and how to make it old.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Wire, bare } from "./wire.mjs";
import { NS } from "./xml.mjs";

const DAY_MS = 86_400_000;
export const COUNT = 230;
export const written = Array.from({ length: COUNT }, (_, i) => `${i + 1} message ${i + 1}`);

/** The two tiers of whatever `shared.relay` is. */
export class Tiers {
  constructor(shared) {
    this.shared = shared;
  }

  get relay() {
    return this.shared.relay;
  }

  /** Every object's store that has this table, by what `visit` makes of it and of its columns. */
  stores(table, visit) {
    const { objects } = this.relay;
    if (!existsSync(objects)) return [];
    const files = readdirSync(objects, { recursive: true }).filter((name) => name.endsWith(".sqlite"));
    return files.flatMap((file) => {
      const database = new DatabaseSync(join(objects, file), { readOnly: this.relay.isUp });
      try {
        const columns = database.prepare(`SELECT name FROM pragma_table_info('${table}')`).all();
        return columns.length === 0 ? [] : [visit(database, new Set(columns.map((column) => column.name)))];
      } finally {
        database.close();
      }
    });
  }

  /** Rows in the log of `user`, and segments; `undefined` without a mailbox. */
  of(user) {
    const found = this.stores("log", (database) =>
      isMailboxOf(database, user) ? [{ hot: count(database, "log"), segments: count(database, "segment") }] : [],
    );
    return found.flat()[0];
  }

  /** Names of all segments of `user` that objects keep. */
  kept(user) {
    return this.stores("segment", (database, columns) =>
      columns.has("bytes") ? database.prepare("SELECT name FROM segment").all().map((row) => row.name) : [],
    )
      .flat()
      .filter((name) => isOf(name, user));
  }

  login(user) {
    return Wire.login(this.relay, user, { resource: `of-${user}` });
  }

  /** Two people, and what one wrote to the other and he has confirmed. */
  async talked() {
    const [ann, bob] = [await Wire.registered(this.relay, "ann"), await Wire.registered(this.relay, "bob")];
    const [from, to] = [await this.login(ann), await this.login(bob)];
    for (let n = 1; n <= COUNT; n += 1) {
      from.message(bare(bob), `message ${n}`, { origin: `origin-${n}` });
      if (n % 20 === 0) await from.settle();
    }
    await to.expectMessage(`message ${COUNT}`);
    to.ack();
    from.ack();
    await to.settle();
    await from.settle();
    for (const wire of [from, to]) await wire.close();
    return [ann, bob];
  }

  /** Ten days pass for everybody. */
  async age() {
    await this.relay.kill();
    this.stores("log", (database) => database.exec(`UPDATE log SET at = at - ${10 * DAY_MS}`));
    await this.relay.restart();
  }
}

/** What the archive answers: bodies by id, or the error that came instead. */
export async function history(wire, set = "") {
  wire.drop();
  const query = `<query xmlns='${NS.mam}' queryid='q'><set xmlns='${NS.rsm}'><max>250</max>${set}</set></query>`;
  const answer = await wire.iq("set", query, { timeoutMs: 20_000 });
  const found = [];
  wire.drop((frame) => {
    const result = frame.is("message") ? frame.get("result", NS.mam) : undefined;
    if (result === undefined) return false;
    const message = result.get("forwarded", NS.forward).get("message", NS.client);
    found.push(`${result.attrs.id} ${message.get("body", NS.client).text}`);
    wire.ack();
    return true;
  });
  return { answer, found };
}

/** Whether a segment of this name is one of `user`. */
export const isOf = (name, user) => decodeURIComponent(name).startsWith(`${bare(user)}/`);

const isMailboxOf = (database, user) =>
  database.prepare("SELECT count(*) AS n FROM device WHERE device = ?").get(`of-${user}`).n > 0;

const count = (database, table) => database.prepare(`SELECT count(*) AS n FROM ${table}`).get().n;
