//! `mpp secret`: a fresh secret for a server.

use mpp::Secret;
use zeroize::Zeroizing;

use crate::Answer;

/// Fewest and most bytes of a secret. HMAC-SHA256 gains nothing from more than its block of 64.
const BYTES: std::ops::RangeInclusive<i64> = 32..=1024;

/// Print a fresh secret in hexadecimal, for a server's secret file.
///
/// A server's secrets form a ring: the first one signs new challenges, all of them verify. To replace a
/// secret without refusing a payment that is under way, deploy three times: [old, new], then [new, old], and,
/// once the longest challenge life and its grace have passed, [new].
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Write it where only the server can read it:\n    (umask 077; mpp secret > mpp.secret)"
)]
pub(crate) struct Options {
    /// How many bytes, at least 32
    #[arg(long, value_name = "N", default_value_t = *BYTES.start(), value_parser = clap::value_parser!(i64).range(BYTES))]
    bytes: i64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(options: &Options) -> Answer {
    let digits = usize::try_from(options.bytes).unwrap_or_default() * 2;
    let (before, after) = if options.json { (r#"{"secret":""#, "\"}\n") } else { ("", "\n") };
    // The capacity is exact, so that no unwiped copy is left behind by growing.
    let mut out = Zeroizing::new(String::with_capacity(before.len() + digits + after.len()));
    out.push_str(before);
    while out.len() < before.len() + digits {
        let more = Secret::generate().expose_hex();
        let missing = (before.len() + digits - out.len()).min(more.len());
        out.push_str(&more[..missing]);
    }
    out.push_str(after);
    Answer { out, ..Answer::default() }
}
