// A client's half of XEP-0198: what it sent and has not been acked, and both counts. It lives as
// long as the session, not as the connection.
//
// It holds the relay to its word: an `h` that goes back or beyond what was sent is told to
// `onLie` and moves nothing.

const MODULUS = 2 ** 32;

export class Session {
  /** Sent and not acked, oldest first; the first one's number is `acked` + 1. */
  unacked = [];
  /** Stanzas received: our `h`. */
  handled = 0;
  #acked;

  constructor(smId, { acked = 0, onLie }) {
    this.smId = smId;
    this.#acked = acked;
    this.onLie = onLie;
  }

  get acked() {
    return this.#acked;
  }

  get sent() {
    return (this.#acked + this.unacked.length) % MODULUS;
  }

  push(entry) {
    this.unacked.push(entry);
  }

  received() {
    this.handled = (this.handled + 1) % MODULUS;
  }

  /** Takes an `h` as it was written; answers the entries it confirms. */
  ack(text) {
    const h = /^\d{1,10}$/.test(text ?? "") ? Number(text) : Number.NaN;
    const newly = (h - this.#acked + MODULUS) % MODULUS;
    // Modulo 2³², going back and going too far are the same thing.
    if (!(h < MODULUS && newly <= this.unacked.length)) {
      this.onLie(`h='${text}' after ${this.#acked}, with ${this.sent} sent`);
      return [];
    }
    this.#acked = h;
    return this.unacked.splice(0, newly);
  }
}
