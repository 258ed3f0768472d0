//! The built `mpp` command buying from `mpp demo`: what it pays, prints, keeps and refuses.

/// Somebody between the command and the demo.
mod between;
/// What is bought, and what may be.
mod buying;
/// Every command, for a program.
mod json;
/// What was paid and not delivered.
mod lost;
/// What is not paid, or cannot be done at all, and how that is told.
mod refused;
/// A home and a server.
mod scene;
/// Ctrl-C and its like.
#[cfg(unix)]
mod stopped;
/// Somebody sits in front of it: then it asks before it pays, shows what it waits for, and uses colours.
#[cfg(target_os = "linux")]
mod terminal;
