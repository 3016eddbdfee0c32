//! What a frame says, as far as a checker cares. Reads the text as it stands on the wire and
//! knows nothing of the engines' own parser.

/// The gist of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said<'a> {
    /// `<message/>`, `<presence/>` or `<iq/>`: what stream management counts.
    Stanza(Stanza<'a>),
    /// `<a h/>`
    Ack(u32),
    /// `<resume h previd/>`
    Resume(u32, &'a str),
    /// `<resumed h previd/>`
    Resumed(u32, &'a str),
    /// `<failed h?/>`
    Failed(Option<u32>),
    /// `<enabled id/>`
    Enabled(&'a str),
    /// A stream error that says that a count was a lie.
    TooHigh,
    /// Another stream error.
    Error,
    /// Anything else.
    Other,
}

/// The gist of a stanza.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stanza<'a> {
    /// Whom it is for, as it says.
    pub to: Option<&'a str>,
    /// The text of its body, or of the message it carries.
    pub body: Option<&'a str>,
    /// The origin-id (XEP-0359) of the message it is.
    pub origin: Option<&'a str>,
    /// Its place in the reader's log (XEP-0359 stanza-id), or that of the message it carries.
    pub stanza_id: Option<u64>,
    /// It is a bounced message.
    pub is_error: bool,
}

impl<'a> Said<'a> {
    /// Reads a frame.
    pub fn of(text: &'a str) -> Self {
        let starts = |name: &str| {
            text.strip_prefix('<')
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with([' ', '/', '>']))
        };
        let h = || attribute(text, " h='").and_then(|h| h.parse().ok());
        if starts("message") || starts("presence") || starts("iq") {
            let head = text.split('>').next().unwrap_or_default();
            return Self::Stanza(Stanza {
                to: attribute(head, " to='"),
                body: between(text, "<body>", "</body>"),
                origin: text.find("<origin-id").and_then(|at| attribute(&text[at..], " id='")),
                stanza_id: text
                    .find("<stanza-id")
                    .and_then(|at| attribute(&text[at..], " id='"))
                    .and_then(|id| id.parse().ok()),
                is_error: head.contains(" type='error'"),
            });
        }
        match () {
            () if starts("a") => h().map_or(Self::Other, Self::Ack),
            () if starts("resume") => {
                h().zip(attribute(text, " previd='")).map_or(Self::Other, |(h, id)| Self::Resume(h, id))
            }
            () if starts("resumed") => {
                h().zip(attribute(text, " previd='")).map_or(Self::Other, |(h, id)| Self::Resumed(h, id))
            }
            () if starts("failed") => Self::Failed(h()),
            () if starts("enabled") => attribute(text, " id='").map_or(Self::Other, Self::Enabled),
            () if text.contains("handled-count-too-high") => Self::TooHigh,
            () if starts("stream:error") => Self::Error,
            () => Self::Other,
        }
    }
}

fn attribute<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    between(text, before, "'")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let from = text.find(before)? + before.len();
    let rest = &text[from..];
    Some(&rest[..rest.find(after)?])
}
