//! The rules that can be seen on the source: layers, panics, unfinished work, sizes.

use crate::tidy::Found;

/// A rule on one file.
type Rule = fn(&Source) -> Found;

/// Every rule, by the sentence it stands for.
pub const LINE_RULES: [(&str, Rule); 7] = [
    ("shared reads no clock", no_clock),
    ("drivers do not look at stanza names", no_stanza_names),
    ("no raw HTML reaches the page", no_raw_html),
    ("no panic in relay or shared code", no_panic),
    ("nothing is left unfinished", nothing_unfinished),
    ("no source file is over 500 lines", no_long_file),
    ("package locks name no registry host", no_resolved),
];

const LINES_MAX: usize = 500;

/// One file of the tree.
pub struct Source {
    /// Path below the root.
    pub name: String,
    lines: Vec<Line>,
}

struct Line {
    text: String,
    is_test: bool,
}

impl Source {
    /// Splits `text` into lines and marks which of them only tests compile.
    pub fn new(name: &str, text: &str) -> Self {
        let whole_file = name.ends_with("/tests.rs") || name.contains("/tests/");
        let mut in_tests = false;
        let mut pending = false;
        let mut lines = Vec::new();
        for text in text.lines() {
            if text.starts_with("#[cfg(test)]") {
                pending = true;
            } else if pending && text.ends_with(';') {
                pending = false;
            } else if pending && text.ends_with('{') {
                (pending, in_tests) = (false, true);
            }
            lines.push(Line { text: text.to_owned(), is_test: whole_file || in_tests || pending });
            // rustfmt closes an item in the column where it opened.
            in_tests = in_tests && text != "}";
        }
        Source { name: name.to_owned(), lines }
    }

    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.name.starts_with(folder))
    }

    fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    /// The lines outside tests, comments and blank ends removed, that `wrong` objects to.
    fn code(&self, wrong: impl Fn(&str) -> bool) -> Found {
        self.find(|line| !line.is_test && wrong(without_comment(&line.text)))
    }

    fn find(&self, wrong: impl Fn(&Line) -> bool) -> Found {
        let numbered = self.lines.iter().zip(1..);
        numbered
            .filter(|(line, _)| wrong(line))
            .map(|(line, number)| format!("{}:{number}: {}", self.name, line.text.trim()))
            .collect()
    }
}

fn no_clock(source: &Source) -> Found {
    if !source.is_in(&["shared/src/"]) {
        return Found::new();
    }
    source.code(|line| line.contains("Instant::now") || line.contains("SystemTime"))
}

fn no_stanza_names(source: &Source) -> Found {
    if !source.is_in(&["edge-relay/src/", "web-client/src/"]) {
        return Found::new();
    }
    source.code(|line| ["message", "presence", "iq"].iter().any(|name| decides_on(line, name)))
}

/// Whether `line` compares with the literal `name` or spells the element. A mere argument passes:
/// DOM events have a `"message"` too.
fn decides_on(line: &str, name: &str) -> bool {
    if line.contains(&format!("\"<{name}")) || line.contains(&format!("\"</{name}")) {
        return true;
    }
    let literal = format!("\"{name}\"");
    line.match_indices(&literal).any(|(at, _)| {
        let (before, after) = (line[..at].trim_end(), line[at + literal.len()..].trim_start());
        let compared = ["==", "!=", "|", ".is(", ".eq(", "matches!("];
        let follows = ["=>", "==", "!=", "|", "if ", ") =>", ") |"];
        compared.iter().any(|mark| before.ends_with(mark))
            || follows.iter().any(|mark| after.starts_with(mark))
    })
}

fn no_raw_html(source: &Source) -> Found {
    if !source.is_in(&["web-client/"]) {
        return Found::new();
    }
    let ways = ["inner_html", "innerHTML", "outer_html", "outerHTML", "insert_adjacent_html"];
    source.code(|line| ways.iter().any(|way| line.contains(way)))
}

fn no_panic(source: &Source) -> Found {
    if !source.is_rust() || !source.is_in(&["shared/src/", "edge-relay/src/"]) {
        return Found::new();
    }
    let ways = [".unwrap()", ".expect(", "panic!(", "unreachable!("];
    source.code(|line| ways.iter().any(|way| line.contains(way)))
}

fn nothing_unfinished(source: &Source) -> Found {
    let is_source = [".rs", ".mjs", ".js", ".css", ".html"].iter().any(|end| source.name.ends_with(end));
    if !is_source {
        return Found::new();
    }
    // Put together here, so that this file does not find itself.
    let marks = [
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("test.", "todo"),
        concat!("test.", "skip"),
    ];
    source.find(|line| marks.iter().any(|mark| line.text.contains(mark)))
}

fn no_long_file(source: &Source) -> Found {
    let is_source = [".rs", ".mjs", ".js", ".css"].iter().any(|end| source.name.ends_with(end));
    let lines = source.lines.len();
    if is_source && lines > LINES_MAX {
        return vec![format!("{}:{lines}: {lines} lines", source.name)];
    }
    Found::new()
}

fn no_resolved(source: &Source) -> Found {
    if !source.name.ends_with("package-lock.json") {
        return Found::new();
    }
    source.find(|line| line.text.contains("\"resolved\":"))
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split(" // ").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which rules object to `text` in a file of that name.
    fn broken(name: &str, text: &str) -> Vec<&'static str> {
        let source = Source::new(name, text);
        let rules = LINE_RULES.iter().filter(|(_, rule)| !rule(&source).is_empty());
        rules.map(|(name, _)| *name).collect()
    }

    #[test]
    fn every_rule_objects_to_its_violation() {
        let long = "let x = 1;\n".repeat(LINES_MAX + 1);
        let mark = format!("// {}: later", concat!("FIX", "ME"));
        let violations = [
            ("shared/src/time.rs", "let t = SystemTime::UNIX_EPOCH;"),
            ("edge-relay/src/lib.rs", "\"message\" => deliver(),"),
            ("web-client/src/view.rs", "view! { <p inner_html=body/> }"),
            ("shared/src/log.rs", "let row = rows.next().unwrap();"),
            ("tests/wire/a.mjs", mark.as_str()),
            ("web-client/style/app.css", long.as_str()),
            ("tests/package-lock.json", "\"resolved\": \"https://registry.example/a.tgz\""),
        ];
        for ((file, text), (rule, _)) in violations.iter().zip(LINE_RULES) {
            assert_eq!(broken(file, text), [rule], "{file}");
        }
    }

    #[test]
    fn a_driver_may_listen_to_a_dom_event_called_message() {
        let line = "channel.add_event_listener_with_callback(\"message\", &callback)?;";
        assert_eq!(broken("web-client/src/tabs.rs", line), [""; 0]);
    }

    #[test]
    fn a_driver_may_not_compare_or_spell_a_stanza() {
        for line in [
            "if element.name() == \"iq\" {",
            "Some(\"presence\") => {}",
            "\"iq\" | \"message\" => {}",
            "if name.is(\"message\", ns) {",
            "send(\"<message to='a'/>\");",
        ] {
            assert_eq!(broken("web-client/src/engine.rs", line).len(), 1, "{line}");
        }
    }

    #[test]
    fn test_code_may_panic_and_comments_may_mention_it() {
        let text = "/// Never `.unwrap()`.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    \
                    fn b() { c().unwrap(); }\n}\n";
        assert_eq!(broken("shared/src/a.rs", text), [""; 0]);
        let after = format!("{text}fn d() {{ e().unwrap(); }}\n");
        assert_eq!(broken("shared/src/a.rs", &after).len(), 1);
    }
}
