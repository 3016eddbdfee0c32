// SCRAM (RFC 5802, RFC 7677) and HT-SHA-256-NONE (draft-schmaus-kitten-sasl-ht), the client's side,
// without channel binding.
import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from "node:crypto";

const HASHES = { "SCRAM-SHA-256": ["sha256", 32], "SCRAM-SHA-1": ["sha1", 20] };

export class Scram {
  #hash;
  #bytes;
  #password;
  #nonce;
  #firstBare;
  #serverSignature;

  constructor(mechanism, user, password, nonce = randomBytes(18).toString("base64")) {
    this.#nonce = nonce;
    [this.#hash, this.#bytes] = HASHES[mechanism];
    this.#password = password;
    const name = user.replaceAll("=", "=3D").replaceAll(",", "=2C");
    this.#firstBare = `n=${name},r=${this.#nonce}`;
  }

  /** client-first-message. */
  first() {
    return `n,,${this.#firstBare}`;
  }

  /** client-final-message, for the server's challenge. */
  final(serverFirst) {
    const { r: nonce, s: salt, i: iterations } = fields(serverFirst);
    assert(nonce.startsWith(this.#nonce) && nonce.length > this.#nonce.length, "the server's nonce is not fresh");
    assert(Number(iterations) >= 4096, `only ${iterations} iterations`);
    const salted = pbkdf2Sync(
      this.#password, Buffer.from(salt, "base64"), Number(iterations), this.#bytes, this.#hash,
    );
    const clientKey = this.#hmac(salted, "Client Key");
    const storedKey = createHash(this.#hash).update(clientKey).digest();
    const withoutProof = `c=biws,r=${nonce}`;
    const message = `${this.#firstBare},${serverFirst},${withoutProof}`;
    this.#serverSignature = this.#hmac(this.#hmac(salted, "Server Key"), message);
    const signature = this.#hmac(storedKey, message);
    const proof = clientKey.map((byte, i) => byte ^ signature[i]);
    return `${withoutProof},p=${Buffer.from(proof).toString("base64")}`;
  }

  /** Whether the server has proved that it knows the account. */
  verify(serverFinal) {
    const given = Buffer.from(fields(serverFinal).v ?? "", "base64");
    return given.length === this.#serverSignature.length && timingSafeEqual(given, this.#serverSignature);
  }

  #hmac(key, text) {
    return createHmac(this.#hash, key).update(text).digest();
  }
}

/** One message there and one back, for who has a token. */
export class Token {
  #user;
  #token;

  constructor(user, token) {
    this.#user = user;
    this.#token = token;
  }

  first() {
    return Buffer.concat([Buffer.from(`${this.#user}\0`), this.#mac("Initiator")]);
  }

  /** Whether the server has proved that the token is its own. */
  verify(bytes) {
    const right = this.#mac("Responder");
    return bytes.length === right.length && timingSafeEqual(bytes, right);
  }

  #mac(role) {
    return createHmac("sha256", this.#token).update(role).digest();
  }
}

function fields(message) {
  return Object.fromEntries(message.split(",").map((part) => [part[0], part.slice(2)]));
}
