//! The groups of benchmarks: how each is run, and what its table and its figures show.

use clap::ValueEnum;

use super::divan::{ALLOCATIONS, TIME};

/// What is measured together, and with the same means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// The steps of a payment beside the official SDK's, and what no implementation can save
    Micro,
    /// A request through a whole router, beside the official SDK and x402-axum
    Router,
    /// The same of this library alone, which builds faster: for before and after a change
    Gate,
    /// What each payment method does before it asks its network
    Methods,
    /// The start of a service of many prices
    Startup,
    /// The start of a service of many routes, and its documents
    Documents,
    /// The paying client
    Client,
    /// Servers behind sockets: processor time, rate, latency
    Loopback,
    /// Paid requests on a local Tempo chain
    Chain,
    /// Claims in every store
    Stores,
    /// Costs as prices, claims, offers and headers grow
    Growth,
    /// Compile time, size and dependencies
    Compile,
}

/// How a group is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `benches/<name>.rs`, on one core.
    Divan(&'static str),
    /// `benches/peers/benches/<name>.rs`, on one core.
    Peers(&'static str),
    /// A subcommand of `benches/load`, on one core or on all.
    Load(&'static str, Cores),
    /// cargo itself.
    Compile,
}

/// Where a program may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    /// On one: cases that run on different cores cannot be compared.
    One,
    /// It chooses.
    Any,
}

/// What is said of a group.
pub(crate) struct Page {
    pub(crate) title: &'static str,
    /// What a row is, and what was done for it.
    pub(crate) about: &'static str,
    /// The heading of the first column.
    pub(crate) case: &'static str,
    pub(crate) columns: &'static [Column],
    pub(crate) figures: &'static [Figure],
}

/// A column of the table.
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) shows: Shows,
}

/// What of a metric a cell shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shows {
    /// The median.
    Median(Unit),
    /// The median, and the lowest and the highest of the rounds.
    Spread(Unit),
    /// How much more than this case of the same group.
    Over(&'static str, Unit),
    /// How many times this case of the same group.
    Times(&'static str),
    /// How many times the member of the same step that is ours (`step::ours…`).
    TimesOurs,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds, as ns, µs, ms or s.
    Time,
    /// A second.
    Rate,
    /// Whole things, or tenths of them.
    Count,
    Bytes,
    /// `1.03 ×`.
    Ratio,
}

/// A plot.
pub(crate) struct Figure {
    /// In `benches/plots`, without its ending; and what `load` calls it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) draws: Draws,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Draws {
    /// The points of the figure.
    Lines {
        x: &'static str,
        y: &'static str,
        /// What y is divided by, so that its numbers are short.
        scale: f64,
        axis: Axis,
        /// Whether a verdict on the growth is written below.
        verdict: Verdict,
    },
    /// A bar for each case.
    Bars { metric: &'static str, x: &'static str, scale: f64 },
}

/// The y axis; x is logarithmic always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    FromZero,
    Logarithmic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Given,
    /// Also of each series that grows, as a multiple of this one, which grows for the same reason.
    Beside(&'static str),
    None,
}

const fn column(heading: &'static str, metric: &'static str, shows: Shows) -> Column {
    Column { heading, metric, shows }
}

use Shows::{Median, Over, Spread, Times, TimesOurs};
use Unit::{Bytes, Count, Rate, Ratio, Time};

impl Group {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub(crate) fn runner(self) -> Runner {
        match self {
            Group::Micro => Runner::Peers("micro"),
            Group::Router => Runner::Peers("router"),
            Group::Gate => Runner::Divan("router"),
            Group::Methods => Runner::Divan("methods"),
            Group::Startup => Runner::Divan("startup"),
            Group::Documents => Runner::Divan("documents"),
            Group::Client => Runner::Divan("client"),
            Group::Loopback => Runner::Load("loopback", Cores::Any),
            Group::Chain => Runner::Load("chain", Cores::Any),
            Group::Stores => Runner::Load("stores", Cores::Any),
            Group::Growth => Runner::Load("growth", Cores::One),
            Group::Compile => Runner::Compile,
        }
    }

    pub(crate) fn page(self) -> Page {
        match self {
            Group::Micro => MICRO,
            Group::Router => ROUTER,
            Group::Gate => GATE,
            Group::Methods => Page {
                title: "Verification before the first question to the network",
                about: "From an authentic challenge and a decoded payload to the plan that is journaled, or, of Tempo, to the last thing \
                        that is found out before the node would be asked.",
                case: "credential",
                columns: DIVAN,
                figures: &[],
            },
            Group::Startup => Page {
                title: "Start-up",
                about: "Every price of a service is read from the registry, checked and prepared: from the builder to the server. The \
                        first start of a process, which collects and sorts the registry as well, happens once in each run; the others \
                        follow it in the same process.",
                case: "what",
                columns: DIVAN,
                figures: &[],
            },
            Group::Documents => Page {
                title: "Routes and documents",
                about: "A service of 10,000 priced routes, beside axum's own router with the same handlers; a document beside a static \
                        file with the same headers.",
                case: "what",
                columns: DIVAN,
                figures: &[],
            },
            Group::Client => Page {
                title: "The paying client",
                about: "Each kind of client without this library, with it for a free request, and for a 402 that it pays with the \
                        sandbox's wallet.",
                case: "request",
                columns: DIVAN,
                figures: &[],
            },
            Group::Loopback => LOOPBACK,
            Group::Chain => CHAIN,
            Group::Stores => STORES,
            Group::Growth => GROWTH,
            Group::Compile => COMPILE,
        }
    }
}

const DIVAN: &[Column] =
    &[column("median", TIME, Median(Time)), column("allocations", ALLOCATIONS, Median(Count))];

const MICRO: Page = Page {
    title: "Steps of a payment",
    about: "Ours and the official SDK's on the same input, in one process on one core; `floor…` is what no implementation \
            can save. `benches/README.md` says what is compared with what.",
    case: "step",
    columns: &[
        column("median", TIME, Median(Time)),
        column("times ours", TIME, TimesOurs),
        column("allocations", ALLOCATIONS, Median(Count)),
    ],
    figures: &[],
};

const ROUTER: Page = Page {
    title: "A request through a whole router",
    about: "From the router's `call` to the response, no socket, one core; beside the official SDK's axum extractor and \
            layers, and x402-axum.",
    case: "request",
    columns: &[
        column("median", TIME, Median(Time)),
        column("over the free handler", TIME, Over("free_handler::axum", Time)),
        column("times ours", TIME, TimesOurs),
        column("allocations", ALLOCATIONS, Median(Count)),
        column("over the free handler", ALLOCATIONS, Over("free_handler::axum", Count)),
    ],
    figures: &[],
};

const GATE: Page = Page {
    title: "A request through our router alone",
    about: "The same requests without the peers, in a program that is built faster; every feature of the library but `metrics` is on.",
    case: "request",
    columns: &[
        column("median", TIME, Median(Time)),
        column("over the free handler", TIME, Over("free_handler", Time)),
        column("times the free handler", TIME, Times("free_handler")),
        column("allocations", ALLOCATIONS, Median(Count)),
        column("over the free handler", ALLOCATIONS, Over("free_handler", Count)),
    ],
    figures: &[],
};

const LOOPBACK: Page = Page {
    title: "Unpaid requests over loopback",
    about: "Each server has one thread on core 0, the generator core 1; 32 keep-alive connections. They are asked in turn, for a fifth of \
            a second each, in six rounds that each have an order of their own; npm mppx, and everybody in the open model, in the last \
            of the six and for longer. That twenty times over, with servers started anew, because where their memory happens to be makes a \
            difference: a value is the median over starts of the median within one. Of a p99.9 the requests of all rounds are taken \
            together. *Closed*: the next request goes out when the answer is there, so the server is always busy. *Open*: so many requests \
            a second are due whatever the server does, and a latency counts from when its request was due; a server with little to do is \
            woken for almost every request, which is part of its processor time. Processor time is user and system time of the server; its \
            ratio is taken within each round. The constant 402 has the very bytes of ours.",
    case: "server",
    columns: &[
        column("processor time per request", "cpu", Spread(Time)),
        column("times the constant 402", "cpu over constant", Spread(Ratio)),
        column("closed: requests a second", "rate", Spread(Rate)),
        column("closed p50", "closed p50", Spread(Time)),
        column("closed p99", "closed p99", Spread(Time)),
        column("closed p99.9", "closed p99.9", Median(Time)),
        column("open: requests a second", "open rate", Median(Rate)),
        column("open: processor time per request", "open cpu", Spread(Time)),
        column("open p50", "open p50", Spread(Time)),
        column("open p99", "open p99", Spread(Time)),
        column("open p99.9", "open p99.9", Median(Time)),
        column("answer", "size", Median(Bytes)),
    ],
    figures: &[Figure {
        name: "loopback",
        title: "Processor time of the server per unpaid request",
        draws: Draws::Bars { metric: "cpu", x: "µs, user and system", scale: 1e3 },
    }],
};

const CHAIN: Page = Page {
    title: "Paid requests on a local Tempo chain",
    about: "From the request that asks for the price to the paid response, on anvil with mixed mining. A row is a number of payers at once: \
            600 payments on a chain of their own, started anew and as old as in every other row, because this chain becomes slower with \
            every block. Five rounds, each in an order of its own. Server, chain and \
            payers share this machine; whose time a payment takes is in the last columns. The chain is what limits the rate: it executes \
            one transaction after the other, so that it cannot do more once it keeps a processor busy, and more payers only wait longer. \
            The other table counts what a payment asks of the node when everything is warm: HTTP requests, and the JSON-RPC calls in them, \
            as there are several in a batch; of a method, its calls and the requests that have one.",
    case: "payers, or who asks the node what",
    columns: &[
        column("payments a second", "rate", Spread(Rate)),
        column("p50", "p50", Spread(Time)),
        column("p99", "p99", Spread(Time)),
        column("time of the server", "server cpu", Median(Time)),
        column("of the chain", "chain cpu", Spread(Time)),
        column("of the payers", "payers cpu", Median(Time)),
        column("processors the chain keeps busy", "chain busy", Median(Count)),
        column("HTTP requests per payment", "requests", Median(Count)),
        column("JSON-RPC calls per payment", "calls", Median(Count)),
    ],
    figures: &[rate(
        "chain",
        "Paid requests on a local Tempo chain",
        "payers at once",
        "payments a second",
        Axis::FromZero,
    )],
};

const STORES: Page = Page {
    title: "Claims",
    about: "A claim is the compare-and-swap that makes a payment single, of 400 bytes under a new key. Redis syncs its log with every \
            write, PostgreSQL and redb with every commit. One at a time, and 16 and 64 at once, all of them in turn. Our store has eight \
            connections to PostgreSQL, pgbouncer has three, and through it each claim is a transaction with nothing prepared. The floor is \
            what the disk takes for it, below which no durable store can be: the same bytes written into a file that is long enough already, \
            and one `fdatasync` for all that are asked at once. Memory, which keeps nothing, needs none.",
    case: "store",
    columns: &[
        column("one at a time: claims a second", "1 rate", Spread(Rate)),
        column("one: p50", "1 p50", Median(Time)),
        column("one: p99", "1 p99", Median(Time)),
        column("16 at once: claims a second", "16 rate", Spread(Rate)),
        column("16: p50", "16 p50", Median(Time)),
        column("16: p99", "16 p99", Median(Time)),
        column("64 at once: claims a second", "64 rate", Spread(Rate)),
        column("64: p50", "64 p50", Median(Time)),
        column("64: p99", "64 p99", Median(Time)),
    ],
    figures: &[rate("stores", "Claims a second", "at once", "claims a second", Axis::Logarithmic)],
};

/// How much is done in a second, by how many ask at once.
const fn rate(
    name: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
    axis: Axis,
) -> Figure {
    Figure { name, title, draws: Draws::Lines { x, y, scale: 1.0, axis, verdict: Verdict::None } }
}

const GROWTH: Page = Page {
    title: "Growth",
    about: "In the process, on one core: a 402, and a payment with the sandbox over the memory store. The verdict is computed from \
            the slope of a line through the points: *flat* is a growth of less than a quarter over the whole range, and which line \
            is named is the one that fits better, however little. Nothing is searched that grows with prices or routes: ten of a \
            thousand prices take as many instructions as ten of ten (`cargo xtask guard`), and a route beyond the first of its \
            price takes one look into a hash map. But they take turns, one request each, so that what belongs to one of them has \
            left the processor's caches when it is asked for again. That is so of what axum keeps of a route as well, and a free \
            handler beside them grows about as much: the last row, which says most, is the multiple of it, of the medians. (Where \
            a block of the HMAC is remembered, as it is not of these prices, more than sixteen in turn take one block more.) Three \
            cannot be flat: each offer is a challenge with an HMAC of its own; all of a credential is decoded before its HMAC can \
            be checked; and a list of wishes is read, but one of more than 2,048 characters is only looked through for what is no \
            text. The claims are other keys of the store.",
    case: "",
    columns: &[],
    figures: &[
        growth("prices", "A service of more prices, each on a route", "prices", BESIDE_FREE),
        growth("routes", "One price on more routes", "routes", BESIDE_FREE),
        growth("claims", "A store of more claims", "claims in the store", Verdict::Given),
        growth("offers", "A price of more offers", "offers, each a challenge", Verdict::Given),
        growth("headers", "Longer headers", "bytes of the header", Verdict::Given),
    ],
};

const BESIDE_FREE: Verdict = Verdict::Beside("free handler");

const fn growth(name: &'static str, title: &'static str, x: &'static str, verdict: Verdict) -> Figure {
    Figure { name, title, draws: Draws::Lines { x, y: "µs", scale: 1e3, axis: Axis::Logarithmic, verdict } }
}

const COMPILE: Page = Page {
    title: "Compile time, size and dependencies",
    about: "Programs of no and of 200 handlers, each with a path argument and a price of its own: the difference, divided by 200. Times \
            are processor time of cargo and all it starts, for the last crate alone: `cargo check` in the dev profile without \
            incremental compilation, and a release build, of which the size is that of the stripped binary. x402-axum's price is a layer \
            at the route, of one type for all of them, and the handler is axum's own. Dependencies are the \
            crates that a build compiles on this machine.",
    case: "handlers of",
    columns: &[
        column("check per handler", "check", Spread(Time)),
        column("times axum alone", "check", Times("axum alone")),
        column("release build per handler", "build", Median(Time)),
        column("binary per handler", "size", Median(Bytes)),
        column("dependencies", "dependencies", Median(Count)),
    ],
    figures: &[],
};
