//! The steps of a payment one by one, ours and the official SDK's on the same input, and what no implementation can save.
//!
//! A group is a step; its members are whose it is. `floor_…` are bounds: the few operations of a library that the step consists
//! of, over buffers that are there already. `ours` and `official_sdk` give the same result, which is checked before anything
//! is measured; where results differ (a challenge of ours has a nonce and names its route), `benches/README.md` says so. Other
//! members are parts of it, or other ways.

use divan::AllocProfiler;

#[path = "micro/input.rs"]
mod input;
#[path = "micro/steps.rs"]
mod steps;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    input::check();
    divan::main();
}
