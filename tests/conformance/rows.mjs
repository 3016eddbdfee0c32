// What an afternoon would do to a session, done to its row while the relay is down.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Changes what is stored of the stream of `wire`, whichever object has it. */
export function editStream(relay, wire, edit) {
  assert(!relay.isUp, "the relay would not notice");
  const resource = wire.jid.slice(wire.jid.indexOf("/") + 1);
  const files = readdirSync(relay.objects, { recursive: true }).filter((name) => name.endsWith(".sqlite"));
  const edited = files.filter((file) => {
    const database = new DatabaseSync(join(relay.objects, file));
    try {
      return editIn(database, resource, edit);
    } finally {
      database.close();
    }
  });
  assert.equal(edited.length, 1, `${resource} is in ${edited.length} mailboxes`);
}

function editIn(database, resource, edit) {
  if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'device'").get() === undefined) return false;
  const found = database.prepare("SELECT row FROM device WHERE device = ?").get(resource);
  if (found === undefined) return false;
  const row = JSON.parse(found.row);
  assert(row.stream, `there is no stream: ${found.row}`);
  edit(row.stream);
  database.prepare("UPDATE device SET row = ? WHERE device = ?").run(JSON.stringify(row), resource);
  return true;
}

/** Its ten minutes are over. */
export function expire(stream) {
  stream.suspended = (stream.suspended ?? Date.now()) - 601_000;
}

/** Both counts stand at `h`, and nothing is outstanding. */
export const countedTo = (h) => (stream) =>
  Object.assign(stream, { handled: h, acked: h, sent_max: h, rows: [], results: [], stanzas: [], suspended: Date.now() });
