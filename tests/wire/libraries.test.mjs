// Each of the clients we did not write, alone with what our relay asks of it and with links that break
// where it hurts.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { LIBRARIES } from "../harness/foreign.mjs";
import { ASKED, KICKED, Person, RESUMED, numbers } from "../harness/person.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { until } from "../harness/wait.mjs";
import { Wire, someone } from "../harness/wire.mjs";

const shared = sharedRelay({ before, after, afterEach });
const cut = ({ proxy }) => proxy.cut();

/** Somebody to write to and to be written to, who repeats and hides nothing. */
async function stranger() {
  const user = someone("stranger");
  await Wire.register(shared.relay, user);
  return Wire.login(shared.relay, user);
}

async function wasTold(wire, body) {
  await until(`${body} to arrive`, () => wire.bodies.includes(body), { timeoutMs: 20_000 });
}

function atFirstResumption(proxy, what) {
  proxy.onMark = (mark) => {
    if (mark === RESUMED && proxy.seen(RESUMED) === 1) what();
  };
}

describe("a library that knows nothing of us", { concurrency: true }, () => {
  for (const Library of LIBRARIES) {
    describe(Library.label, { concurrency: true }, () => {
      test("stays when it is asked about five messages, and about one", { timeout: 60_000 }, async (t) => {
        const [writer, person] = [await stranger(), await Person.meet(t, shared.relay, Library)];
        let written = 0;
        for (const count of [5, 1, 5, 1, 50, 1]) {
          const asked = person.proxy.seen(ASKED);
          for (const text of numbers(written + 1, written + count)) writer.message(person.account, text);
          written += count;
          await person.has(written);
          await person.comesTo("be asked", () => person.proxy.seen(ASKED) > asked);
        }
        assert.deepEqual(person.shown, numbers(1, written));
        assert.equal(person.proxy.accepted, 1, "it left and came again");
        person.assertKeptItsSession();
      });

      test("frozen until the relay ends its stream, comes back and gets everything", { timeout: 60_000 }, async (t) => {
        const [writer, person] = [await stranger(), await Person.meet(t, shared.relay, Library)];
        writer.message(person.account, "1");
        await person.has(1);
        person.client.freeze();
        for (const text of numbers(2, 30)) writer.message(person.account, text);
        await person.comesTo("be given up", () => person.proxy.seen(KICKED) === 1);
        for (const text of numbers(31, 40)) writer.message(person.account, text);
        await writer.settle();
        assert.deepEqual(person.shown, ["1"]);
        person.client.thaw();
        await person.resumes();
        await person.has(40);
        writer.message(person.account, "41");
        await person.comesTo("have the last one", () => person.shown.includes("41"));
        assert.deepEqual(person.shown, numbers(1, 41));
        person.assertKeptItsSession();
      });

      test("loses nothing when its resumption is cut before the answer", { timeout: 60_000 }, async (t) => {
        const [reader, person] = [await stranger(), await Person.meet(t, shared.relay, Library)];
        person.proxy.halfOpen("up");
        await person.writes(reader.account, numbers(1, 5));
        atFirstResumption(person.proxy, () => person.proxy.cut());
        await person.suffers(cut);
        assert.equal(person.proxy.seen(RESUMED), 2);
        await person.isRidOf(5);
        // Had the repetition been counted twice, these would be let go too early.
        person.proxy.halfOpen("up");
        await person.writes(reader.account, numbers(6, 15));
        await person.suffers(cut);
        await person.writes(reader.account, numbers(16, 20));
        await person.isRidOf(20);
        await wasTold(reader, "20");
        assert.deepEqual(reader.bodies, numbers(1, 20));
        person.assertKeptItsSession();
      });

      test("loses nothing when what it sends again is lost again", { timeout: 60_000 }, async (t) => {
        const [reader, person] = [await stranger(), await Person.meet(t, shared.relay, Library)];
        person.proxy.halfOpen("up");
        await person.writes(reader.account, numbers(1, 5));
        atFirstResumption(person.proxy, () => person.proxy.halfOpen("up"));
        await person.suffers(cut);
        await person.writes(reader.account, numbers(6, 8));
        await person.suffers(cut);
        await person.writes(reader.account, numbers(9, 10));
        await person.isRidOf(10);
        await wasTold(reader, "10");
        assert.deepEqual(reader.bodies, numbers(1, 10));
        person.assertKeptItsSession();
      });

      for (const [when, silent] of [["with what the relay has", "down"], ["before the relay has it", "up"]]) {
        test(`neither loses nor doubles anything when its session is gone ${when}`, { timeout: 60_000 }, async (t) => {
          const [reader, person] = [await stranger(), await Person.meet(t, shared.relay, Library)];
          await person.writes(reader.account, ["1"]);
          await person.isRidOf(1);
          person.proxy.halfOpen(silent);
          await person.writes(reader.account, numbers(2, 10));
          if (silent === "down") await wasTold(reader, "10");
          const { stream } = person.client;
          person.vanish();
          // Somebody else says farewell on its stream.
          const thief = await Wire.login(shared.relay, person.user, { resume: true });
          assert.equal((await thief.resume(stream)).name, "resumed");
          await thief.close();
          await person.writes(reader.account, numbers(11, 15));
          person.proxy.heal();
          await person.comesTo("have another session", ({ sessions, isUp }) => sessions === 2 && isUp);
          await person.isRidOf(15);
          await person.writes(reader.account, ["16"]);
          await wasTold(reader, "16");
          assert.deepEqual(reader.bodies, numbers(1, 16));
        });
      }
    });
  }
});
