//! How many tests passed and failed, read from the runners' own summaries.

use std::ops::AddAssign;

/// A count of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ran and held.
    pub passed: u64,
    /// Ran and did not hold, or did not get to an end.
    pub failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Tally {
    /// One check that is not a test runner's.
    pub fn check(ok: bool) -> Self {
        Tally { passed: u64::from(ok), failed: u64::from(!ok) }
    }

    /// The sum of all summaries in a runner's output. A runner that failed without naming a
    /// failed test (it did not compile, it crashed) is one failure.
    pub fn read(output: &str, runner_ok: bool) -> Self {
        let mut sum = Tally::default();
        for line in output.lines() {
            sum += Self::summary(&without_colour(line)).unwrap_or_default();
        }
        if !runner_ok && sum.failed == 0 {
            sum.failed = 1;
        }
        sum
    }

    fn summary(line: &str) -> Option<Self> {
        let line = line.trim();
        // cargo test: "test result: ok. 3 passed; 0 failed; 0 ignored; …"
        if let Some(rest) = line.strip_prefix("test result:") {
            return Some(Tally {
                passed: number_before(rest, "passed")?,
                failed: number_before(rest, "failed")?,
            });
        }
        // nextest: "Summary [   0.1s] 3 tests run: 2 passed, 1 failed, 1 timed out, 0 skipped"
        if line.starts_with("Summary [") && line.contains("run:") {
            let bad = ["failed", "timed out", "exec failed"];
            return Some(Tally {
                passed: number_before(line, "passed").unwrap_or(0),
                failed: bad.iter().filter_map(|word| number_before(line, word)).sum(),
            });
        }
        // node --test, spec reporter: "ℹ pass 3", "ℹ fail 1", "ℹ cancelled 0"
        let (word, number) = line.strip_prefix("ℹ ")?.split_once(' ')?;
        let number = number.parse().ok()?;
        match word {
            "pass" => Some(Tally { passed: number, failed: 0 }),
            "fail" | "cancelled" => Some(Tally { passed: 0, failed: number }),
            _ => None,
        }
    }
}

/// The number right before `word` in `text`.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let at = text.find(&format!(" {word}"))?;
    text[..at].split(|c: char| !c.is_ascii_digit()).next_back()?.parse().ok()
}

fn without_colour(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn summaries_of_cargo_test_add_up() {
        let output = "test result: ok. 3 passed; 0 failed; 0 ignored\n\
                      test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured";
        assert_eq!(Tally::read(output, false), tally(13, 2));
    }

    #[test]
    fn nextest_counts_a_timeout_as_failed() {
        let output = "\u{1b}[32m     Summary\u{1b}[0m [   0.107s] 15 tests run: 12 passed (1 slow), \
                      2 failed, 1 timed out, 0 skipped";
        assert_eq!(Tally::read(output, false), tally(12, 3));
    }

    #[test]
    fn node_counts_a_cancelled_test_as_failed() {
        let output = "ℹ tests 6\nℹ suites 0\nℹ pass 4\nℹ fail 1\nℹ cancelled 1\nℹ skipped 0";
        assert_eq!(Tally::read(output, false), tally(4, 2));
    }

    #[test]
    fn a_runner_that_crashes_before_its_summary_is_one_failure() {
        assert_eq!(Tally::read("error: could not compile", false), tally(0, 1));
    }
}
