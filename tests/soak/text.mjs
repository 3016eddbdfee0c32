// Names and texts of the soak. A token names one message everywhere: it is its id, its origin-id
// and the first word of its body, so that any frame that has to do with it can be found.
import { Random } from "../harness/random.mjs";

/** `m-…` is a message, `r-…` a receipt; the number grows with the order of one device. */
const TOKEN = /\b[mr]-\w+\.\d+-\d+\b/g;

export const token = (kind, device, place) => `${kind}-${device.replace("/", ".")}-${place}`;
export const placeOf = (token) => Number(token.slice(token.lastIndexOf("-") + 1));
export const tokensIn = (text) => new Set(text.match(TOKEN));

const WORDS = ["soon", "näher", "明天见", "<b>", "&amp;", "it's", '"so"', "🦉", "]]>", "—", "a\nb", "שלום"];

/** The text that belongs to a token: mostly a line, now and then some kilobytes. */
export function bodyOf(token) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < token.length; i += 1) hash = Math.imul(hash ^ token.charCodeAt(i), 0x01000193);
  const random = new Random(hash);
  const count = random.next() < 0.02 ? random.between(500, 3_000) : random.between(1, 20);
  return [token, ...Array.from({ length: count }, () => random.pick(WORDS))].join(" ");
}
