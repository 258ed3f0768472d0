//! The ledger in a file: limits that outlive the process, and hold over several.

use mpp::Amount;
use mpp::client::{
    Budget, Entry, EntryId, FileLedger, Ledger, LedgerError, MemoryLedger, Origin, Outcome, ReserveError,
};
use mpp::method::{Asset, Cost};
use mpp::protocol::{BaseUnits, Timestamp};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::{Builder, TempDir, tempdir};

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("spent.jsonl")
}

fn entry(cents: u128) -> Entry {
    let origin: Origin = "https://api.example.com".parse().unwrap();
    let asset = Asset::known("sandbox", "usdc", "usdc", 6);
    Entry::new(origin, &Cost::new(BaseUnits::new(cents * 10_000), asset), NOW)
}

fn budget(cents: u128) -> [Budget; 1] {
    [Budget::total("usdc", Amount::cents(cents))]
}

fn released() -> Outcome {
    Outcome::Released { why: "never signed".into() }
}

async fn open(folder: &TempDir) -> FileLedger {
    FileLedger::open(file(folder)).unwrap()
}

#[tokio::test]
async fn every_ledger_counts_what_is_open_unknown_or_paid_and_nothing_else() {
    let folder = tempdir().unwrap();
    let ledgers: [Box<dyn Ledger>; 2] =
        [Box::new(MemoryLedger::new()), Box::new(FileLedger::open(file(&folder)).unwrap())];
    for ledger in ledgers {
        let (open, unknown, paid, freed) = (entry(10), entry(10), entry(10), entry(10));
        for one in [&open, &unknown, &paid, &freed] {
            ledger.reserve(one, &budget(40)).await.unwrap();
        }
        assert!(matches!(ledger.check(&entry(1), &budget(40)).await, Err(ReserveError::Limit(_))));
        ledger.conclude(&unknown.id, &Outcome::Unknown, NOW).await.unwrap();
        ledger.conclude(&paid.id, &Outcome::Paid { reference: Some("0xabc".into()) }, NOW).await.unwrap();
        assert!(ledger.check(&entry(1), &budget(40)).await.is_err());
        ledger.conclude(&freed.id, &released(), NOW).await.unwrap();
        ledger.conclude(&freed.id, &released(), NOW).await.unwrap();
        ledger.check(&entry(10), &budget(40)).await.unwrap();
        assert!(ledger.check(&entry(11), &budget(40)).await.is_err(), "given back once");
        // A payment that was made does not come undone; one that was given back and happened counts after all.
        ledger.conclude(&paid.id, &released(), NOW).await.unwrap();
        ledger.conclude(&freed.id, &Outcome::Paid { reference: None }, NOW).await.unwrap();
        assert!(ledger.check(&entry(1), &budget(40)).await.is_err());
        assert!(matches!(
            ledger.conclude(&entry(1).id, &released(), NOW).await,
            Err(LedgerError::Missing(_))
        ));
        let outcomes: Vec<_> =
            ledger.entries().await.unwrap().into_iter().map(|entry| entry.outcome).collect();
        let paid = |reference: Option<&str>| Outcome::Paid { reference: reference.map(str::to_owned) };
        assert_eq!(outcomes, [Outcome::Open, Outcome::Unknown, paid(Some("0xabc")), paid(None)]);
    }
}

#[tokio::test]
async fn each_currency_is_added_up_by_itself() {
    let other = |cents: u128| {
        let asset = Asset::known("sandbox", "eurc", "eurc", 6);
        Entry::new(entry(0).origin, &Cost::new(BaseUnits::new(cents * 10_000), asset), NOW)
    };
    let both = [Budget::total("usdc", Amount::cents(30)), Budget::total("eurc", Amount::cents(20))];
    let ledger = MemoryLedger::new();
    for one in [entry(10), other(10), entry(10), other(10)] {
        ledger.reserve(&one, &both).await.unwrap();
    }
    assert!(ledger.reserve(&other(1), &both).await.is_err(), "twenty of twenty");
    ledger.reserve(&entry(10), &both).await.unwrap();
    assert!(ledger.reserve(&entry(1), &both).await.is_err(), "thirty of thirty");
}

#[tokio::test]
async fn the_first_reference_of_a_payment_stays() {
    let paid = |reference: Option<&str>| Outcome::Paid { reference: reference.map(str::to_owned) };
    for (learnt, remains) in [
        ([None, Some("0xabc")], Some("0xabc")),
        ([Some("0xabc"), Some("0xdef")], Some("0xabc")),
        ([Some("0xabc"), None], Some("0xabc")),
    ] {
        let (ledger, entry) = (MemoryLedger::new(), entry(1));
        ledger.reserve(&entry, &budget(15)).await.unwrap();
        for reference in learnt {
            ledger.conclude(&entry.id, &paid(reference), NOW).await.unwrap();
        }
        assert_eq!(ledger.entries().await.unwrap()[0].outcome, paid(remains), "{learnt:?}");
    }
}

#[test]
fn an_entry_is_named_by_exactly_32_hexadecimal_digits() {
    let id = entry(1).id;
    assert_eq!(id.to_string().parse(), Ok(id));
    for odd in ["", "a", &"a".repeat(31), &"a".repeat(33), &format!("+{}", "a".repeat(31)), &"g".repeat(32)] {
        assert!(odd.parse::<EntryId>().is_err(), "{odd}");
    }
}

#[tokio::test]
async fn a_ledger_may_be_in_the_current_folder() {
    let open = |path: &Path| FileLedger::open(path.file_name().unwrap()).map_err(io::Error::other);
    Builder::new().prefix("mpp-ledger-here-").make_in(".", open).unwrap();
}

#[tokio::test]
async fn limits_outlive_the_program() {
    let folder = tempdir().unwrap();
    let first = entry(10);
    open(&folder).await.reserve(&first, &budget(15)).await.unwrap();
    let again = open(&folder).await;
    assert!(matches!(again.reserve(&entry(10), &budget(15)).await, Err(ReserveError::Limit(_))));
    again.conclude(&first.id, &released(), NOW).await.unwrap();
    let third = open(&folder).await;
    third.reserve(&entry(10), &budget(15)).await.unwrap();
    assert_eq!(third.entries().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_openers_of_one_file_together_stay_within_the_limit() {
    // Each has a file of its own, as processes do: what binds them is the lock and the content.
    let folder = tempdir().unwrap();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let ledger = open(&folder).await;
        tasks.push(tokio::spawn(async move {
            let mut entered = 0;
            for _ in 0..10 {
                entered += usize::from(ledger.reserve(&entry(1), &budget(17)).await.is_ok());
            }
            entered
        }));
    }
    let mut entered = 0;
    for task in tasks {
        entered += task.await.unwrap();
    }
    assert_eq!(entered, 17);
    assert_eq!(open(&folder).await.entries().await.unwrap().len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_entered_while_another_program_is_at_the_ledger_and_what_it_entered_counts() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder).await;
    // A line as another program writes it.
    let elsewhere = tempdir().unwrap();
    open(&elsewhere).await.reserve(&entry(10), &budget(15)).await.unwrap();
    let line = std::fs::read_to_string(file(&elsewhere)).unwrap().lines().nth(1).unwrap().to_owned() + "\n";

    let mut other = std::fs::OpenOptions::new().append(true).open(file(&folder)).unwrap();
    other.lock().unwrap();
    let mut entering = tokio::spawn(async move { ledger.reserve(&entry(10), &budget(15)).await });
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut entering).await.is_err(),
        "it waits its turn"
    );
    other.write_all(line.as_bytes()).unwrap();
    other.unlock().unwrap();
    assert!(matches!(entering.await.unwrap(), Err(ReserveError::Limit(_))));
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_everything_before_it_counts() {
    let folder = tempdir().unwrap();
    open(&folder).await.reserve(&entry(10), &budget(15)).await.unwrap();
    let whole = std::fs::read(file(&folder)).unwrap();
    open(&folder).await.reserve(&entry(5), &budget(15)).await.unwrap();
    let both = std::fs::read(file(&folder)).unwrap();
    // Every point at which the second writer can have died.
    for end in whole.len()..both.len() {
        std::fs::write(file(&folder), &both[..end]).unwrap();
        let ledger = open(&folder).await;
        assert_eq!(ledger.entries().await.unwrap().len(), 1, "cut at {end}");
        assert!(ledger.reserve(&entry(6), &budget(15)).await.is_err(), "the first one counts");
        ledger.reserve(&entry(5), &budget(15)).await.unwrap();
        assert_eq!(open(&folder).await.entries().await.unwrap().len(), 2);
    }
    // And those of the very first line.
    for end in 0..whole.iter().position(|b| *b == b'\n').unwrap() {
        std::fs::write(file(&folder), &whole[..end]).unwrap();
        open(&folder).await.reserve(&entry(5), &budget(15)).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_ledger_pays_nothing_and_names_the_line() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder).await;
    ledger.reserve(&entry(1), &budget(15)).await.unwrap();
    ledger.reserve(&entry(1), &budget(15)).await.unwrap();
    let good = std::fs::read_to_string(file(&folder)).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let versions = format!("{}\n", lines[0].replace(":1", ":2"));
    for (content, expected) in [
        (format!("{}\n{}\n{}\n", lines[0], &lines[1][..lines[1].len() - 2], lines[2]), "damaged at line 2"),
        (format!("{}\n{}\n{}\n", lines[0], lines[1], lines[1]), "damaged at line 3"),
        (format!("{}\n{}\n", lines[1], lines[2]), "damaged at line 1"),
        ("\n".to_owned(), "damaged at line 1"),
        (versions, "later version"),
        ("x".repeat(70_000), "damaged at line 1"),
    ] {
        std::fs::write(file(&folder), content).unwrap();
        let error = FileLedger::open(file(&folder)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_was_taken_away_or_shortened_holds_no_limit_and_pays_nothing() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder).await;
    ledger.reserve(&entry(1), &budget(15)).await.unwrap();
    let moved = folder.path().join("elsewhere");
    std::fs::rename(file(&folder), &moved).unwrap();
    let refused = ledger.reserve(&entry(1), &budget(15)).await;
    assert!(matches!(refused, Err(ReserveError::Ledger(LedgerError::Replaced))));
    std::fs::copy(&moved, file(&folder)).unwrap();
    assert!(ledger.reserve(&entry(1), &budget(15)).await.is_err(), "a copy is another file");

    let ledger = open(&folder).await;
    std::fs::OpenOptions::new().write(true).open(file(&folder)).unwrap().set_len(3).unwrap();
    assert!(matches!(
        ledger.reserve(&entry(1), &budget(15)).await,
        Err(ReserveError::Ledger(LedgerError::Replaced))
    ));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempdir().unwrap();
    open(&folder).await;
    assert_eq!(std::fs::metadata(file(&folder)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_entry_of_any_text_is_read_as_it_was_written() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder).await;
    let mut odd = entry(1);
    odd.resource = Some("GET /\n\u{0}\"\\ü".into());
    odd.payees = vec!["\r\n{}".into()];
    ledger.reserve(&odd, &budget(15)).await.unwrap();
    assert_eq!(open(&folder).await.entries().await.unwrap(), [odd]);
    let mut huge = entry(1);
    huge.resource = Some("x".repeat(70_000));
    let refused = ledger.reserve(&huge, &budget(15)).await;
    assert!(matches!(refused, Err(ReserveError::Ledger(LedgerError::TooLarge))));
    ledger.reserve(&entry(1), &budget(15)).await.unwrap();
}

#[tokio::test]
async fn what_another_program_appends_is_counted_at_once() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder).await;
    open(&folder).await.reserve(&entry(14), &budget(15)).await.unwrap();
    assert!(ledger.reserve(&entry(2), &budget(15)).await.is_err());
    // Half a line of somebody who died is removed, also while the ledger is open.
    std::fs::OpenOptions::new().append(true).open(file(&folder)).unwrap().write_all(b"{\"event\":").unwrap();
    ledger.reserve(&entry(1), &budget(15)).await.unwrap();
    assert_eq!(ledger.entries().await.unwrap().len(), 2);
    // And what is appended in its place is read from its beginning.
    std::fs::OpenOptions::new().append(true).open(file(&folder)).unwrap().write_all(b"{\"event\":").unwrap();
    ledger.check(&entry(5), &budget(20)).await.unwrap();
    open(&folder).await.reserve(&entry(5), &budget(20)).await.unwrap();
    assert!(matches!(ledger.reserve(&entry(1), &budget(20)).await, Err(ReserveError::Limit(_))));
}

#[tokio::test]
async fn a_clock_that_was_set_back_frees_nothing() {
    let ledger = MemoryLedger::new();
    let hour = [Budget::per_window("usdc", Duration::from_secs(3600), Amount::cents(10))];
    let mut later = entry(10);
    later.at = NOW + Duration::from_secs(86_400);
    ledger.reserve(&later, &hour).await.unwrap();
    assert!(ledger.reserve(&entry(1), &hour).await.is_err());
}

#[tokio::test]
async fn a_window_of_a_part_of_a_second_is_not_cut_short() {
    for (window, later, refused) in [(1500, 2, true), (1000, 1, true), (1000, 2, false), (1, 1, true)] {
        let ledger = MemoryLedger::new();
        let window = [Budget::per_window("usdc", Duration::from_millis(window), Amount::cents(10))];
        ledger.reserve(&entry(10), &window).await.unwrap();
        let mut next = entry(1);
        next.at = NOW + Duration::from_secs(later);
        assert_eq!(ledger.reserve(&next, &window).await.is_err(), refused, "{window:?} {later}");
    }
}
