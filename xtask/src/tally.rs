//! Counting: what one finished command says about how many checks passed.

use std::fmt;
use std::ops::AddAssign;

/// How many checks passed, failed and were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// How the result of a command is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    /// Preparation (an installation, a build): nothing when it succeeds, one failure when it does not.
    Setup,
    /// What cannot be run here: one that was skipped.
    Skipped,
    /// The exit code is the verdict: one check.
    Check,
    /// `cargo test`: what its `test result:` lines say.
    CargoTest,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Succeeded,
    Failed,
}

impl Tally {
    /// What `output` and `ending` of one command amount to.
    pub(crate) fn of(counting: Counting, ending: Ending, output: &str) -> Tally {
        let reported = match (counting, ending) {
            (Counting::Setup, Ending::Succeeded) => return Tally::default(),
            (Counting::Check, Ending::Succeeded) => return Tally { passed: 1, ..Tally::default() },
            (Counting::Skipped, Ending::Succeeded) => return Tally { skipped: 1, ..Tally::default() },
            (Counting::Setup | Counting::Check | Counting::Skipped, Ending::Failed) => Tally::default(),
            (Counting::CargoTest, _) => {
                let mut sum = Tally::default();
                output.lines().filter_map(result_line).for_each(|line| sum += line);
                sum
            }
        };
        // A test program that crashed, did not compile or was stopped reports no failed test; it has failed
        // all the same.
        match ending {
            Ending::Failed => Tally { failed: reported.failed.max(1), ..reported },
            Ending::Succeeded => reported,
        }
    }

    pub(crate) fn is_green(&self) -> bool {
        self.failed == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`.
fn result_line(line: &str) -> Option<Tally> {
    // With `--nocapture`, or when a test prints without a line break, text may stand before it.
    let (_, counts) = line.split_once("test result: ")?;
    let (_, counts) = counts.split_once(". ")?;
    let mut tally = Tally::default();
    for count in counts.split(';') {
        let (number, what) = count.trim().split_once(' ')?;
        // The last field is `finished in 0.00s`.
        let Ok(number) = number.parse::<u64>() else { break };
        match what {
            "passed" => tally.passed = number,
            "failed" => tally.failed = number,
            // A test that was filtered out belongs to a server that `--without` names.
            "ignored" | "filtered out" => tally.skipped += number,
            _ => {}
        }
    }
    Some(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
test a ... ok
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests mpp
test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s
";

    #[test]
    fn the_result_lines_of_every_test_program_are_added_up() {
        let tally = Tally::of(Counting::CargoTest, Ending::Failed, OUTPUT);
        assert_eq!(tally, Tally { passed: 6, failed: 1, skipped: 8 });
        assert_eq!(tally.to_string(), "6 passed, 1 failed, 8 skipped");
    }

    #[test]
    fn a_test_program_that_died_without_a_result_line_is_one_failure() {
        let tally = Tally::of(Counting::CargoTest, Ending::Failed, "error: could not compile `mpp`");
        assert_eq!(tally, Tally { failed: 1, ..Tally::default() });
        let tally =
            Tally::of(Counting::CargoTest, Ending::Failed, "test result: ok. 9 passed; 0 failed; 0 ignored");
        assert_eq!(tally, Tally { passed: 9, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_check_is_one_and_a_preparation_counts_only_when_it_fails() {
        assert_eq!(Tally::of(Counting::Check, Ending::Succeeded, OUTPUT).passed, 1);
        assert_eq!(Tally::of(Counting::Setup, Ending::Succeeded, OUTPUT), Tally::default());
        assert_eq!(
            Tally::of(Counting::Setup, Ending::Failed, OUTPUT),
            Tally { failed: 1, ..Tally::default() }
        );
    }

    #[test]
    fn skipped_is_left_out_when_nothing_was() {
        assert_eq!(Tally { passed: 3, failed: 0, skipped: 0 }.to_string(), "3 passed, 0 failed");
    }
}
