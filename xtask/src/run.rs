//! One command, one step: a line when it starts, a sign of life while it lasts, a line with the
//! seconds when it ends, and its output only if somebody needs it.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
const TAIL_LINES: usize = 80;

/// Who sees a command's output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nobody, unless it fails.
    Failure,
    /// Everybody, as it comes.
    Live,
}

/// What a command left behind.
pub struct Outcome {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output and standard error, line by line as they came.
    pub text: String,
}

/// Runs `command` as the step `title`; a failure is an error that carries the output's tail.
pub fn step(title: &str, command: &mut Command) -> Result<String> {
    let outcome = observe(title, command, Show::Failure)?;
    if outcome.ok {
        return Ok(outcome.text);
    }
    let lines: Vec<&str> = outcome.text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    bail!("{title} failed:\n{tail}")
}

/// Runs `command` as the step `title` and hands back whatever happened.
pub fn observe(title: &str, command: &mut Command, show: Show) -> Result<Outcome> {
    let started = Instant::now();
    eprintln!("  … {title}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{title}: cannot start {:?}", command.get_program()))?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let readers = [
        child.stdout.take().map(|out| collect(out, &lines, show)),
        child.stderr.take().map(|out| collect(out, &lines, show)),
    ];
    let mut next_sign = started + SIGN_OF_LIFE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= next_sign {
            next_sign += SIGN_OF_LIFE;
            let last = locked(&lines).last().cloned().unwrap_or_default();
            let last: String = last.trim().chars().take(90).collect();
            eprintln!("  … {title} {} s: {last}", started.elapsed().as_secs());
        }
        std::thread::sleep(POLL);
    };
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    let sign = if status.success() { "✓" } else { "✗" };
    eprintln!("  {sign} {title} {:.1} s", started.elapsed().as_secs_f64());
    let text = locked(&lines).join("\n");
    Ok(Outcome { ok: status.success(), text })
}

/// The trimmed standard output of a short command, or `None` if it is missing or fails.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn collect(from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>, show: Show) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if show == Show::Live {
                eprintln!("{text}");
            }
            locked(&lines).push(text);
            line.clear();
        }
    })
}

fn locked(lines: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
