//! Tests of the macros as a user's crate sees them: `tests/ui/{pass,fail}`. See the README beside this package's manifest.
