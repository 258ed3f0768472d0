/// Appended by `cargo xtask mutants` to the crate it examines: the choice of one mutant at run time.
mod mutants {
    use std::collections::BTreeSet;
    use std::io::Write as _;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// The mutant of this process; 0 is none.
    fn chosen() -> u32 {
        static CHOSEN: OnceLock<u32> = OnceLock::new();
        *CHOSEN.get_or_init(|| std::env::var("MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or(0))
    }

    /// Notes, where asked to, which test came by: libtest names a test's thread after it.
    fn reached(id: u32) {
        static SEEN: OnceLock<Option<(Mutex<BTreeSet<(u32, String)>>, std::fs::File)>> = OnceLock::new();
        let seen = SEEN.get_or_init(|| {
            let path = std::env::var_os("MUTANTS_REACHED")?;
            let file = std::fs::File::options().append(true).create(true).open(path).ok()?;
            Some((Mutex::default(), file))
        });
        if let Some((seen, file)) = seen {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let line = format!("{id} {test}\n");
            if seen.lock().unwrap_or_else(PoisonError::into_inner).insert((id, test)) {
                let _ = (&*file).write_all(line.as_bytes());
            }
        }
    }

    fn is(id: u32) -> bool {
        reached(id);
        chosen() == id
    }

    pub(crate) fn flip(id: u32, condition: bool) -> bool {
        is(id) != condition
    }

    pub(crate) fn live(id: u32) -> bool {
        !is(id)
    }

    pub(crate) fn below<T: PartialOrd + ?Sized>(id: u32, a: &T, b: &T) -> bool {
        if is(id) { a <= b } else { a < b }
    }

    pub(crate) fn at_most<T: PartialOrd + ?Sized>(id: u32, a: &T, b: &T) -> bool {
        if is(id) { a < b } else { a <= b }
    }

    pub(crate) fn above<T: PartialOrd + ?Sized>(id: u32, a: &T, b: &T) -> bool {
        if is(id) { a >= b } else { a > b }
    }

    pub(crate) fn at_least<T: PartialOrd + ?Sized>(id: u32, a: &T, b: &T) -> bool {
        if is(id) { a > b } else { a >= b }
    }
}
