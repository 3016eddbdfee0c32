//! The lobby: strangers on one side, mailboxes on the other. It passes on what it was given, in
//! order and once, to a mailbox that is there, and nothing after its end.

use crate::script::{Fields, Step, filled, steps};
use crate::trace;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shared::relay::lobby::{Input, Lobby, Output};
use shared::wire::read_frame;
use std::collections::VecDeque;

/// What one input may lead to: what waited for a mailbox, and an `<open/>`.
const OUTPUTS_MAX: usize = 16;

/// What a stranger may say, by its letter. `{0|x}` is the first field, or `x`.
const TEMPLATES: [(char, &str); 10] = [
    ('o', "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{0|d}' version='{1|1.0}'/>"),
    ('q', "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
    ('p', "<{0|presence} xmlns='{1|jabber:client}'/>"),
    (
        'g',
        "<iq xmlns='jabber:client' type='{0|set}' id='g'><query xmlns='jabber:iq:register'>\
         <username>{1|alice}</username><password>{2|pencil}</password></query></iq>",
    ),
    ('G', "<iq xmlns='jabber:client' type='get' id='{0|g}'><query xmlns='jabber:iq:register'/></iq>"),
    ('r', "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{0|=}</response>"),
    ('x', "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    ('s', "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>{0|=}</auth>"),
    (
        'S',
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{1|SCRAM-SHA-1}'>\
         <initial-response>{0|}</initial-response></authenticate>",
    ),
    ('O', "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='{0|alice@d}' to='d' version='1.0'/>"),
];

struct World {
    lobby: Lobby,
    /// What the client has said and no mailbox was told yet.
    said: VecDeque<String>,
    asked: bool,
    attached: bool,
    closed: bool,
}

/// Steps, one per line: `f` the client says the rest of the line, `t` a template, `l` that it is the
/// user of that name, `L` so in the newer way · `b` bytes · `a` the mailbox is reached, `d` lost · `m` it says the rest of the
/// line, `s` that the client is who it says · `w` it takes too long.
pub fn lobby_script(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lobby = Lobby::new("d", !text.starts_with("!c"), "token".to_owned());
    let mut world = World { lobby, said: VecDeque::new(), asked: false, attached: false, closed: false };
    steps(&text).for_each(|step| world.perform(step));
}

impl World {
    fn perform(&mut self, Step { letter, rest, .. }: Step<'_>) {
        match letter {
            'f' => self.say(rest.replace("\\n", "\n")),
            't' => {
                let template = TEMPLATES.iter().find(|(name, _)| rest.starts_with(*name));
                if let Some((name, template)) = template {
                    self.say(filled(template, Fields::of(&rest[name.len_utf8()..])));
                }
            }
            'L' => {
                let first = STANDARD.encode(format!("n,,n={rest},r=nonce"));
                self.say(filled(TEMPLATES[8].1, Fields::of(&first)));
            }
            'l' => {
                let first = STANDARD.encode(format!("n,,n={rest},r=nonce"));
                self.say(TEMPLATES[7].1.replace("{0|=}", &first));
            }
            'b' => self.input(Input::BinaryFromClient),
            'a' if self.asked => {
                (self.asked, self.attached) = (false, true);
                self.input(Input::Attached);
            }
            'a' => self.input(Input::Attached),
            'd' => {
                (self.asked, self.attached) = (false, false);
                self.input(Input::MailboxDown);
            }
            'm' => self.input(Input::FromMailbox(rest)),
            's' => self.input(Input::FromMailbox("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")),
            'w' => self.input(Input::TooLate),
            _ => {}
        }
    }

    fn say(&mut self, text: String) {
        self.said.push_back(text.clone());
        self.input(Input::FromClient(&text));
    }

    fn input(&mut self, input: Input<'_>) {
        trace(|| format!("{input:?}"));
        let from_mailbox = match &input {
            Input::FromMailbox(text) => Some((*text).to_owned()),
            _ => None,
        };
        let outputs = self.lobby.handle(input);
        trace(|| format!("    {outputs:?}"));
        assert!(outputs.len() <= OUTPUTS_MAX, "{outputs:?}");
        for output in outputs {
            assert!(!self.closed, "after the end: {output:?}");
            match output {
                Output::Attach(account) => {
                    assert_eq!(account.domain(), "d", "{account} is not served here");
                    assert!(account.local().is_some());
                    (self.asked, self.attached) = (true, false);
                }
                Output::ToMailbox(text) => self.passed_on(&text),
                Output::ToClient(text) => {
                    let known = from_mailbox.as_ref() == Some(&text) || read_frame(&text, usize::MAX).is_ok();
                    assert!(known, "{text} is neither ours nor the mailbox's");
                }
                Output::Close(_) => self.closed = true,
            }
        }
    }

    fn passed_on(&mut self, text: &str) {
        assert!(self.attached, "{text} to a mailbox that is not there");
        if text.starts_with("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'") {
            return;
        }
        // What the lobby answered itself is passed over; what it passes on keeps its order.
        while let Some(said) = self.said.pop_front() {
            if said == text {
                return;
            }
        }
        panic!("{text} was not said, or is said again");
    }
}
