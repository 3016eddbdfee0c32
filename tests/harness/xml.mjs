// One frame as a small tree. Names are matched by namespace, never by prefix.
import { DOMParser } from "@xmldom/xmldom";

export const NS = {
  client: "jabber:client",
  framing: "urn:ietf:params:xml:ns:xmpp-framing",
  streams: "http://etherx.jabber.org/streams",
  streamErrors: "urn:ietf:params:xml:ns:xmpp-streams",
  stanzaErrors: "urn:ietf:params:xml:ns:xmpp-stanzas",
  sasl: "urn:ietf:params:xml:ns:xmpp-sasl",
  sasl2: "urn:xmpp:sasl:2",
  bind: "urn:ietf:params:xml:ns:xmpp-bind",
  bind2: "urn:xmpp:bind:0",
  fast: "urn:xmpp:fast:0",
  sm: "urn:xmpp:sm:3",
  register: "jabber:iq:register",
  receipts: "urn:xmpp:receipts",
  markers: "urn:xmpp:chat-markers:0",
  sid: "urn:xmpp:sid:0",
  delay: "urn:xmpp:delay",
  carbons: "urn:xmpp:carbons:2",
  forward: "urn:xmpp:forward:0",
  mam: "urn:xmpp:mam:2",
  rsm: "http://jabber.org/protocol/rsm",
  accepted: "urn:counterfoil:accepted:0",
  offline: "urn:counterfoil:offline:0",
  devices: "urn:counterfoil:devices:0",
  disco: "http://jabber.org/protocol/disco#info",
  ping: "urn:xmpp:ping",
  roster: "jabber:iq:roster",
  blocking: "urn:xmpp:blocking",
  caps: "http://jabber.org/protocol/caps",
  pubsub: "http://jabber.org/protocol/pubsub",
  pubsubEvent: "http://jabber.org/protocol/pubsub#event",
  displayed: "urn:xmpp:mds:displayed:0",
};

/** { name, ns, attrs, children, text, xml } */
export class Frame {
  static parse(xml) {
    const parser = new DOMParser({
      onError: (level, message) => {
        throw new Error(`${level}: ${message} in ${xml}`);
      },
    });
    return new Frame(parser.parseFromString(xml, "text/xml").documentElement, xml);
  }

  constructor(element, xml) {
    this.xml = xml ?? element.toString();
    this.name = element.localName;
    this.ns = element.namespaceURI;
    this.attrs = {};
    for (const attribute of element.attributes) this.attrs[attribute.name] = attribute.value;
    const nodes = [...element.childNodes];
    this.children = nodes.filter((node) => node.nodeType === 1).map((node) => new Frame(node));
    this.text = nodes.filter((node) => node.nodeType === 3 || node.nodeType === 4).map((node) => node.data).join("");
  }

  is(name, ns) {
    return this.name === name && (ns === undefined || this.ns === ns);
  }

  get(name, ns) {
    return this.children.find((child) => child.is(name, ns));
  }

  all(name, ns) {
    return this.children.filter((child) => child.is(name, ns));
  }

  /** XEP-0198 §4: what counts. */
  get isStanza() {
    return this.ns === NS.client && ["message", "presence", "iq"].includes(this.name);
  }

  get body() {
    return this.get("body", NS.client)?.text;
  }

  /** The condition of a stream error, stanza error, SASL failure or SM failure. */
  get condition() {
    return this.children.find((child) => child.name !== "text")?.name;
  }
}

export function escape(text) {
  return text.replace(/[&<>'"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
