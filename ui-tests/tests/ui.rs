//! What the macros accept, and what they say when they do not.
//!
//! See the README of this package for the table of cases and for how to bless the expected output.

/// One test, so that trybuild builds the dependencies once.
#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
