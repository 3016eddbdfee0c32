// The checkers of the soak. Devices report what they were told; the books hold it against what was
// written and against what every other device was told.
//
// What must hold: everything written appears once, unchanged and in its sender's order on each
// device of both accounts, and nothing else does; an account's log rows have ids that are unique,
// grow on every device and leave no gap; one message is one row; a session never repeats itself;
// every message is acked by the relay and confirmed by a device of its recipient. Receipts are
// messages too, and have a ledger of their own.
import { Ledger } from "../harness/ledger.mjs";
import { bodyOf, placeOf } from "./text.mjs";

export class Books {
  messages = new Ledger();
  receipts = new Ledger();
  /** { what, tokens } */
  violations = [];
  /** Wire-level repeats that devices recognised: allowed on a new session only. */
  repeats = 0;
  /** Entries of which something is still to come. */
  open = 0;
  onViolation = () => {};
  onSettled = () => {};
  #accounts = new Map();
  #devices = new Map();
  #entries = new Map();

  /** A device of an account. `guest`: a foreign client, of which stanza-ids and carbons are not known. */
  enrol(account, device, { guest = false } = {}) {
    if (!this.#accounts.has(account)) {
      this.#accounts.set(account, { devices: [], seqOf: new Map(), tokenAt: new Map() });
    }
    this.#accounts.get(account).devices.push(device);
    const fresh = { account, guest, last: 0, sessionOf: new Map(), rows: new Set(), placeFrom: new Map() };
    this.#devices.set(device, fresh);
  }

  /** `device` committed `token` to its outbox. `of`: it is the receipt for that message. */
  attempt(device, token, to, { of } = {}) {
    const { account } = this.#devices.get(device);
    const everyone = [...this.#accounts.get(to).devices, ...this.#accounts.get(account).devices];
    const observers = everyone.filter((other) => other !== device && !(of && this.#devices.get(other).guest));
    const confirmed = new Set();
    this.#entries.set(token, { token, device, account, to, of, missing: new Set(observers), confirmed, observers });
    this.open += 1;
    this.#ledgerOf(token).attempt(device, observers, token);
  }

  /** The relay acked it on its sender's stream. */
  acknowledge(token) {
    const entry = this.#entries.get(token);
    entry.acknowledged = true;
    this.#ledgerOf(token).acknowledge(token);
    this.#settle(entry);
  }

  /** Its sender's stream broke before the ack. */
  interrupt(token) {
    this.#ledgerOf(token).interrupt(token);
  }

  /**
   * `device` was sent the row `seq` of its account's log, on its `session`-th session. Answers
   * whether it shows it: a repeat it does not.
   */
  row(device, { token, seq, from, body, of, session }) {
    const entry = this.#known(device, token);
    if (entry === undefined) return false;
    this.#compare(entry, device, { from, body, of });
    const state = this.#devices.get(device);
    const isOneRow = state.guest || this.#isOneRow(state.account, token, seq);
    const before = state.sessionOf.get(token);
    state.sessionOf.set(token, session);
    if (before !== undefined && isOneRow) {
      if (before !== session) this.repeats += 1;
      else this.#fault(`${device} was sent ${token} twice on one session`, [token]);
      return false;
    }
    if (!state.guest) this.#advance(state, device, token, seq);
    this.#inOrder(state, device, entry);
    this.#ledgerOf(token).deliver(device, token);
    entry.missing.delete(device);
    if (of !== undefined) this.confirmed(device, of, from);
    this.#settle(entry);
    return true;
  }

  /** The intermediate receipt: `device` was told the stanza-id of its own message. */
  accepted(device, token, seq) {
    const entry = this.#known(device, token);
    if (entry === undefined) return;
    if (entry.device !== device) this.#fault(`${device} was told the id of ${token}, which it did not write`, [token]);
    const state = this.#devices.get(device);
    this.#isOneRow(state.account, token, seq);
    state.rows.add(seq);
  }

  /** `device` saw a receipt for `token`; from the account `from`, where that was told. */
  confirmed(device, token, from) {
    const entry = this.#entries.get(token);
    if (entry === undefined || entry.to !== (from ?? entry.to)) {
      return this.#fault(`${device} got a receipt of ${from} for ${token}, which was not for them`, [token]);
    }
    if (this.#devices.get(device).account === entry.account) entry.confirmed.add(device);
    this.#settle(entry);
  }

  /** Something that no checker here can see by itself. */
  fault(what, tokens = []) {
    this.#fault(what, tokens);
  }

  /** After healing: what has not come will not come. */
  close() {
    for (const entry of this.#entries.values()) {
      const { token, missing, isSettled } = entry;
      if (isSettled) continue;
      if (missing.size > 0) this.#fault(`${token} is lost at ${[...missing].join(", ")}`, [token]);
      if (!entry.acknowledged) this.#fault(`${token} was never acked`, [token]);
      if (!this.#isConfirmed(entry)) this.#fault(`${token} has no receipt at ${entry.device}`, [token]);
    }
    for (const [account, { devices, tokenAt }] of this.#accounts) this.#complete(account, devices, tokenAt);
    for (const { flow, reordered } of [...this.messages.report(), ...this.receipts.report()]) {
      if (reordered > 0) this.#fault(`${reordered} came out of order: ${flow}`, []);
    }
  }

  // Every device of an account has been shown every row, or told its id.
  #complete(account, devices, tokenAt) {
    const full = devices.filter((device) => !this.#devices.get(device).guest);
    if (full.length === 0) return;
    const last = Math.max(0, ...tokenAt.keys());
    for (let seq = 1; seq <= last; seq += 1) {
      const lacking = full.filter((device) => !this.#devices.get(device).rows.has(seq));
      if (lacking.length === 0) continue;
      const token = tokenAt.get(seq);
      this.#fault(`row ${seq} (${token}) of ${account} did not come to ${lacking.join(", ")}`, token ? [token] : []);
    }
  }

  #known(device, token) {
    const entry = this.#entries.get(token);
    if (entry !== undefined && this.#devices.get(device).account === entry.account) return entry;
    if (entry !== undefined && this.#devices.get(device).account === entry.to) return entry;
    this.#fault(`${device} was sent ${token}, which nobody wrote to or from it`, [token]);
    this.messages.deliver(device, token);
    return undefined;
  }

  #compare(entry, device, { from, body, of }) {
    const { token } = entry;
    if (from !== entry.account) this.#fault(`${token} came to ${device} as from ${from}`, [token]);
    if (of !== entry.of) this.#fault(`${token} came to ${device} as the receipt for ${of}`, [token]);
    const wanted = entry.of === undefined ? bodyOf(token) : undefined;
    if (body !== wanted) this.#fault(`${token} came to ${device} with another text`, [token]);
  }

  // One message is one row of an account's log, and one row is one message.
  #isOneRow(account, token, seq) {
    const { seqOf, tokenAt } = this.#accounts.get(account);
    if (!isPlace(seq)) {
      this.#fault(`${token} has the stanza-id ${seq} at ${account}`, [token]);
      return false;
    }
    const other = tokenAt.get(seq);
    if (other !== undefined && other !== token) {
      this.#fault(`row ${seq} of ${account} is both ${other} and ${token}`, [other, token]);
    }
    const known = seqOf.get(token);
    if (known !== undefined && known !== seq) {
      this.#fault(`${token} is two rows of ${account}: ${known} and ${seq}`, [token]);
      return false;
    }
    seqOf.set(token, seq);
    tokenAt.set(seq, token);
    return true;
  }

  #advance(state, device, token, seq) {
    if (!isPlace(seq)) return;
    if (seq <= state.last) this.#fault(`${device} was shown row ${seq} (${token}) after row ${state.last}`, [token]);
    state.last = Math.max(state.last, seq);
    state.rows.add(seq);
  }

  #inOrder(state, device, { token, device: author }) {
    const place = placeOf(token);
    const before = state.placeFrom.get(author) ?? -1;
    if (place < before) this.#fault(`${token} came to ${device} after number ${before} of the same sender`, [token]);
    state.placeFrom.set(author, Math.max(before, place));
  }

  #isConfirmed(entry) {
    // A foreign client's answers are its own affair.
    const { devices } = this.#accounts.get(entry.to);
    const asks = entry.of === undefined && devices.some((name) => !this.#devices.get(name).guest);
    return !asks || entry.confirmed.has(entry.device);
  }

  #settle(entry) {
    if (entry.isSettled || entry.missing.size > 0 || !entry.acknowledged || !this.#isConfirmed(entry)) return;
    entry.isSettled = true;
    this.open -= 1;
    this.onSettled(entry.token);
  }

  #ledgerOf(token) {
    return token.startsWith("r-") ? this.receipts : this.messages;
  }

  #fault(what, tokens) {
    this.violations.push({ what, tokens });
    this.onViolation({ what, tokens });
  }
}

const isPlace = (seq) => Number.isSafeInteger(seq) && seq >= 1;
