//! Scripts: any bytes as a sequence of steps. A line is a step: a letter says what happens, a
//! digit where, and the rest of the line is what it happens with. Text, so that a finding can be
//! read and a seed be written by hand.

/// Steps of one script. What a longer one finds, a shorter one finds too.
const STEPS_MAX: usize = 160;

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What happens.
    pub letter: char,
    /// To which of a few things it happens.
    pub slot: usize,
    /// With what.
    pub rest: &'a str,
}

impl<'a> Step<'a> {
    /// The digit stands before the letter or after it.
    fn parse(line: &'a str) -> Option<Self> {
        let digit = |text: &'a str| {
            let slot = text.chars().next()?.to_digit(10)?;
            Some((slot as usize, &text[1..]))
        };
        let (before, line) = digit(line).map_or((None, line), |(slot, line)| (Some(slot), line));
        let letter = line.chars().next()?;
        let rest = &line[letter.len_utf8()..];
        let (slot, rest) = match before {
            Some(slot) => (slot, rest),
            None => digit(rest).unwrap_or((0, rest)),
        };
        Some(Self { letter, slot, rest })
    }

    /// The rest as fields.
    pub fn fields(&self) -> Fields<'a> {
        Fields(self.rest)
    }

    /// The rest as a number.
    pub fn number(&self) -> Option<u64> {
        self.rest.trim().parse().ok()
    }
}

/// The steps of a script. A first line that begins with `!` is not a step: see [`flags`].
pub fn steps(text: &str) -> impl Iterator<Item = Step<'_>> {
    text.split('\n').filter(|line| !line.starts_with('!')).filter_map(Step::parse).take(STEPS_MAX)
}

/// The letters of a first line that begins with `!`: what the world is like.
pub fn flags(text: &str) -> &str {
    text.split('\n').next().and_then(|line| line.strip_prefix('!')).unwrap_or_default()
}

/// Fields separated by `|`.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    /// The fields of a text.
    pub fn of(text: &'a str) -> Self {
        Self(text)
    }

    /// The field at a place, or what stands for an empty one.
    pub fn get(&self, place: usize, or: &'a str) -> &'a str {
        self.0.split('|').nth(place).filter(|field| !field.is_empty()).unwrap_or(or)
    }
}

/// A text as XML can hold it (XML 1.0 §2.2).
pub fn on_the_wire(text: &str) -> String {
    let held = |c: char| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n' | '\r');
    text.chars().map(|c| if held(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// A field as it may stand in an attribute or between tags.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in on_the_wire(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#xd;"),
            c => out.push(c),
        }
    }
    out
}

/// A template with its fields filled in: `{0|default}` is the first field, escaped.
pub fn filled(template: &str, fields: Fields<'_>) -> String {
    let mut out = String::new();
    let mut pieces = template.split('{');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (hole, text) = piece.split_once('}').unwrap_or((piece, ""));
        let (place, or) = hole.split_once('|').unwrap_or((hole, ""));
        out.push_str(&escaped(fields.get(place.parse().unwrap_or(0), or)));
        out.push_str(text);
    }
    out
}
