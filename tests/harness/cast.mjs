// The people of one test file: a shared relay, and browsers that end with the test.
import { sharedRelay } from "./relay.mjs";
import { Person, tellOnFailure } from "./browser.mjs";

/** Hooks as in `sharedRelay`; answers `{ relay, person(name), registered(name) }`. */
export function cast(hooks, options) {
  let people = [];
  hooks.afterEach(async (t) => {
    tellOnFailure(t, people);
    await Promise.all(people.map((person) => person.stop()));
    people = [];
  });
  // After the hook above: a relay that died must not keep the browsers from being closed.
  const shared = sharedRelay(hooks, options);
  const keep = async (coming) => {
    const person = await coming;
    people.push(person);
    return person;
  };
  return {
    get relay() {
      return shared.relay;
    },
    person: (name) => keep(Person.at(shared.relay, name)),
    registered: (name) => keep(Person.registered(shared.relay, name)),
  };
}
