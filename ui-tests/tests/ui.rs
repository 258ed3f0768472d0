//! What the macros accept, and what they say when they do not.
//!
//! See the README of this package for the table of cases and for how to bless the expected output.

#[test]
fn mistakes_are_reported_once_where_they_were_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

#[test]
fn what_is_right_compiles_and_says_what_was_written() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}
