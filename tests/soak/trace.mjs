// Who said what, when, on which connection: kept by the message it was about, so that the story of
// one message can be told. Bounded: the stories of messages that are settled go first.

const XML_CHARS_MAX = 420;
const CONTEXT_MAX = 20_000;
const CONTEXT_TOLD_MAX = 80;

export class Trace {
  #framesMax;
  #frames = 0;
  #open = new Map();
  #settled = new Map();
  #context = [];
  #started = Date.now();

  constructor({ framesMax = 300_000 } = {}) {
    this.#framesMax = framesMax;
  }

  /** A frame on `connection` that names `tokens`; one that names none is what happened around. */
  frame(connection, sign, xml, tokens) {
    const frame = { at: Date.now(), connection, sign, xml: clipped(xml) };
    if (tokens.size === 0) return this.#around(frame);
    for (const token of tokens) {
      const story = this.#open.get(token) ?? this.#settled.get(token) ?? this.#begin(token);
      story.push(frame);
      this.#frames += 1;
    }
    while (this.#frames > this.#framesMax) this.#forgetOne();
  }

  /** Something that happened to everybody, or to one connection. */
  event(text, connection = "*") {
    this.#around({ at: Date.now(), connection, sign: "·", xml: text });
  }

  /** Nothing more is expected of this message. */
  settle(token) {
    const story = this.#open.get(token);
    if (story === undefined) return;
    this.#open.delete(token);
    this.#settled.set(token, story);
  }

  /** How many frames are remembered. */
  get size() {
    return this.#frames;
  }

  /** All that is remembered of `token`, with what its connections went through meanwhile. */
  story(token) {
    const frames = this.#open.get(token) ?? this.#settled.get(token);
    if (frames === undefined) return `  ${token}: nothing is remembered`;
    const [from, to] = [frames[0].at - 1_000, frames.at(-1).at + 1_000];
    const devices = new Set(frames.map(({ connection }) => connection.split("#")[0]));
    const concerns = ({ at, connection }) =>
      at >= from && at <= to && (connection === "*" || devices.has(connection.split("#")[0]));
    const around = this.#context.filter(concerns).slice(-CONTEXT_TOLD_MAX);
    const lines = [...around, ...frames].sort((a, b) => a.at - b.at);
    return lines.map((line) => this.#line(line)).join("\n");
  }

  #line({ at, connection, sign, xml }) {
    return `  ${((at - this.#started) / 1_000).toFixed(3).padStart(9)} ${connection.padEnd(12)} ${sign} ${xml}`;
  }

  #begin(token) {
    const story = [];
    this.#open.set(token, story);
    return story;
  }

  #around(frame) {
    this.#context.push(frame);
    if (this.#context.length > 2 * CONTEXT_MAX) this.#context = this.#context.slice(-CONTEXT_MAX);
  }

  #forgetOne() {
    const stories = this.#settled.size > 0 ? this.#settled : this.#open;
    const [token, story] = stories.entries().next().value;
    this.#frames -= story.length;
    stories.delete(token);
  }
}

// A copy: a slice would keep the whole frame alive.
function clipped(xml) {
  if (xml.length <= XML_CHARS_MAX) return xml;
  return Buffer.from(`${xml.slice(0, XML_CHARS_MAX / 2)} … ${xml.slice(-XML_CHARS_MAX / 2)}`).toString();
}
