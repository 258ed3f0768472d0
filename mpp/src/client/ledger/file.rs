//! The durable ledger: an append-only file, shared by processes.
//!
//! One line of JSON per event: a payment that was reserved, and how it ended. Why a file of lines and not an embedded
//! database: an agent's wallet is used by several processes at once (a long-running agent, `mpp pay` in a terminal, a cron
//! job), and embedded databases are opened by one process at a time. An operating system's file lock is held only while one
//! payment is checked and entered, is released by the kernel when its holder dies, and the file is read by people with
//! `cat`.
//!
//! - **No overrun.** `reserve` takes the lock, reads what others have appended, checks every limit, appends, and lets go.
//! - **Durable before anything is signed.** `reserve` returns after `fdatasync`. A conclusion is not synced: losing one
//!   makes a payment count that was given back, never the other way round.
//! - **A torn last line** is of a process that died before its `reserve` returned; nothing was signed, and it is cut off.
//!   Anything else that cannot be read is an error and nothing is paid: a limit that cannot be computed does not hold.
//! - **Private.** Created readable by its owner alone. It holds no secrets, but it tells who buys what from whom.

use std::borrow::Cow;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::books::Books;
use super::{Entry, EntryId, Ledger, LedgerError, Outcome, ReserveError};
use crate::client::budget::Budget;
use crate::method::Step;
use crate::protocol::Timestamp;

/// The longest line that is written or read.
const MAX_LINE: u64 = 64 * 1024;
const VERSION: u32 = 1;

/// A ledger in an append-only file. Clones share it; so may other processes on the same machine.
///
/// Not for file systems without locks, such as some network mounts. Its calls do their I/O on tokio's blocking threads.
///
/// ```
/// use mpp::client::{FileLedger, Ledger};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let folder = std::env::temp_dir().join(format!("mpp-doc-ledger-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// let path = folder.join("spent.jsonl");
/// let ledger = FileLedger::open(&path).unwrap();
/// assert!(ledger.entries().await.unwrap().is_empty());
/// # std::fs::remove_dir_all(folder).unwrap();
/// # });
/// ```
#[derive(Clone)]
pub struct FileLedger {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    books: Books,
    /// Everything before is in the books.
    read: u64,
    lines: u64,
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    /// The first one.
    Ledger {
        version: u32,
    },
    Reserved(Cow<'a, Entry>),
    Concluded {
        id: EntryId,
        at: Timestamp,
        outcome: Outcome,
    },
}

impl FileLedger {
    /// Opens the ledger in this file, or begins one. Reads all of it.
    ///
    /// # Errors
    /// [`LedgerError`]: the file cannot be opened or locked, is damaged, or is of a later version.
    ///
    /// ```
    /// use mpp::client::FileLedger;
    /// assert!(FileLedger::open("/nowhere/at/all/spent.jsonl").is_err());
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<FileLedger, LedgerError> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        // Its name has to be as durable as its content.
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder).and_then(|folder| folder.sync_all())?;
        }
        let open = Open { file, books: Books::default(), read: 0, lines: 0 };
        let inner = Inner { path: path.to_owned(), open: Mutex::new(open) };
        inner.locked(|_| Ok(())).map_err(only_ledger)?;
        Ok(FileLedger { inner: Arc::new(inner) })
    }

    /// The file.
    ///
    /// ```no_run
    /// # use mpp::client::FileLedger;
    /// let ledger = FileLedger::open("spent.jsonl")?;
    /// assert_eq!(ledger.path().file_name().unwrap(), "spent.jsonl");
    /// # Ok::<(), mpp::client::LedgerError>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Runs `work` where blocking is allowed.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ReserveError> + Send + 'static,
    ) -> Step<'static, Result<T, ReserveError>> {
        let inner = self.inner.clone();
        Step::boxed(async move {
            let ended = tokio::task::spawn_blocking(move || work(&inner)).await;
            // A runtime that shuts down: whether the line was written is not known, and nothing is paid.
            ended.unwrap_or_else(|error| Err(LedgerError::Other(error.to_string()).into()))
        })
    }
}

impl Inner {
    /// Holds the file's lock, with everything in the books that anybody has written.
    fn locked<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, ReserveError>) -> Result<T, ReserveError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.file.lock().map_err(LedgerError::Io)?;
        let outcome =
            self.still_there(&open.file).and_then(|()| open.catch_up()).map_err(ReserveError::Ledger);
        let outcome = outcome.and_then(|()| work(&mut open));
        // The lock also ends with the file; a failure here would leave it to whoever drops that.
        let _ = open.file.unlock();
        outcome
    }

    /// Whether the file is the one its path names: a ledger that was moved away no longer holds anybody to a limit.
    fn still_there(&self, file: &File) -> Result<(), LedgerError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let there = std::fs::metadata(&self.path).map_err(|_| LedgerError::Replaced)?;
            let here = file.metadata()?;
            if (there.dev(), there.ino()) != (here.dev(), here.ino()) {
                return Err(LedgerError::Replaced);
            }
        }
        let _ = file;
        Ok(())
    }
}

impl Open {
    /// Enters what was appended since the last look. Under the lock.
    fn catch_up(&mut self) -> Result<(), LedgerError> {
        let end = self.file.metadata()?.len();
        if end < self.read {
            return Err(LedgerError::Replaced);
        }
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::new(self.file.try_clone()?.take(end - self.read));
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
            if length == 0 {
                break;
            }
            if line.last() != Some(&b'\n') {
                if length == MAX_LINE {
                    return Err(LedgerError::Corrupt { line: self.lines + 1 });
                }
                // Torn: its writer died, or could not write, before it signed anything.
                self.file.set_len(self.read)?;
                self.file.sync_data()?;
                break;
            }
            self.enter(&line)?;
            self.read += length;
            self.lines += 1;
        }
        if self.lines == 0 {
            self.append(&Line::Ledger { version: VERSION }, Durable::Synced)?;
        }
        Ok(())
    }

    fn enter(&mut self, line: &[u8]) -> Result<(), LedgerError> {
        let corrupt = LedgerError::Corrupt { line: self.lines + 1 };
        match (self.lines, serde_json::from_slice(line)) {
            (0, Ok(Line::Ledger { version: VERSION })) => Ok(()),
            (0, Ok(Line::Ledger { .. })) => Err(LedgerError::Version),
            (1.., Ok(Line::Reserved(entry))) if !self.books.has(&entry.id) => {
                self.books.add(&entry);
                Ok(())
            }
            (1.., Ok(Line::Concluded { id, outcome, .. })) => {
                self.books.conclude(&id, &outcome).map_err(|_| corrupt)
            }
            _ => Err(corrupt),
        }
    }

    /// Appends a line. Under the lock, and caught up.
    fn append(&mut self, line: &Line<'_>, durable: Durable) -> Result<(), LedgerError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| LedgerError::Other(error.to_string()))?;
        bytes.push(b'\n');
        let length = bytes.len() as u64;
        if length >= MAX_LINE {
            return Err(LedgerError::TooLarge);
        }
        let written = self.file.write_all(&bytes).and_then(|()| match durable {
            Durable::Synced => self.file.sync_data(),
            Durable::Lazily => Ok(()),
        });
        if let Err(error) = written {
            // What may be there of the line was not promised to anybody. If it cannot be cut off now, the next look either
            // cuts it off or counts it.
            let _ = self.file.set_len(self.read);
            return Err(error.into());
        }
        self.read += length;
        self.lines += 1;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Durable {
    /// On the disk when the call returns.
    Synced,
    /// Whenever the system gets to it.
    Lazily,
}

impl Ledger for FileLedger {
    fn reserve<'a>(&'a self, entry: &'a Entry, budgets: &'a [Budget]) -> Step<'a, Result<(), ReserveError>> {
        let (entry, budgets) = (entry.clone(), budgets.to_vec());
        self.blocking(move |inner| {
            inner.locked(|open| {
                open.books.check(&entry, &budgets)?;
                open.append(&Line::Reserved(Cow::Borrowed(&entry)), Durable::Synced)?;
                open.books.add(&entry);
                Ok(())
            })
        })
    }

    fn check<'a>(&'a self, entry: &'a Entry, budgets: &'a [Budget]) -> Step<'a, Result<(), ReserveError>> {
        let (entry, budgets) = (entry.clone(), budgets.to_vec());
        self.blocking(move |inner| inner.locked(|open| open.books.check(&entry, &budgets)))
    }

    fn conclude<'a>(
        &'a self,
        id: &'a EntryId,
        outcome: &'a Outcome,
        at: Timestamp,
    ) -> Step<'a, Result<(), LedgerError>> {
        let (id, outcome) = (*id, outcome.clone());
        let done = self.blocking(move |inner| {
            inner.locked(|open| {
                if !open.books.has(&id) {
                    return Err(LedgerError::Missing(id).into());
                }
                open.append(&Line::Concluded { id, at, outcome: outcome.clone() }, Durable::Lazily)?;
                open.books.conclude(&id, &outcome)?;
                Ok(())
            })
        });
        Step::boxed(async { done.await.map_err(only_ledger) })
    }

    fn entries(&self) -> Step<'_, Result<Vec<Entry>, LedgerError>> {
        let all = self.blocking(|inner| inner.locked(|open| open.all().map_err(ReserveError::Ledger)));
        Step::boxed(async { all.await.map_err(only_ledger) })
    }
}

impl Open {
    /// Reads the whole file again: the books keep sums, not entries.
    fn all(&mut self) -> Result<Vec<Entry>, LedgerError> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut positions = std::collections::HashMap::new();
        for (line, text) in (1u64..).zip(BufReader::new((&self.file).take(self.read)).lines()) {
            match serde_json::from_str(&text?) {
                Ok(Line::Ledger { .. }) => {}
                Ok(Line::Reserved(entry)) => {
                    positions.insert(entry.id, entries.len());
                    entries.push(entry.into_owned());
                }
                Ok(Line::Concluded { id, outcome, .. }) => {
                    let entry = positions.get(&id).and_then(|position: &usize| entries.get_mut(*position));
                    entry.ok_or(LedgerError::Corrupt { line })?.outcome.then(&outcome);
                }
                Err(_) => return Err(LedgerError::Corrupt { line }),
            }
        }
        Ok(entries)
    }
}

/// What goes wrong where no limit is asked for.
fn only_ledger(error: ReserveError) -> LedgerError {
    match error {
        ReserveError::Ledger(error) => error,
        other => LedgerError::Other(other.to_string()),
    }
}

impl fmt::Debug for FileLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLedger").field("path", &self.inner.path).finish_non_exhaustive()
    }
}
