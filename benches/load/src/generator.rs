//! The load: one thread, a number of keep-alive connections, one request at a time on each of them.
//!
//! In the *closed* model every connection sends its next request when it has its answer, so the server is always busy: that is how
//! much it can do. In the *open* model requests are due at a fixed rate, whatever the server does, and a latency counts from the
//! moment in which its request was due, not from when a late connection came to send it; otherwise a server that stalls would stop
//! the clock of those who wait for it ("coordinated omission").
//!
//! One event loop over non-blocking sockets and no runtime: the generator shares nothing with the servers it measures. It has a
//! core of its own and hardly sleeps: requests that are due are waited for by spinning, and in the closed model it spins all the
//! time. Whoever wakes a sleeping client pays for it, so a server would be charged for the client's idleness: the more, the
//! slower it is.

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is sent where, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) server: SocketAddr,
    /// One request, head and body.
    pub(crate) request: &'a [u8],
    /// The status of every answer.
    pub(crate) expected: u16,
    pub(crate) connections: usize,
    pub(crate) model: Model,
    pub(crate) lasting: Duration,
}

/// When the next request goes out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Model {
    /// When the answer to the one before it is there.
    Closed,
    /// When it is due, at so many a second over all connections.
    Open {
        /// Requests a second.
        rate: f64,
    },
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answers: u64,
    pub(crate) lasted: Duration,
    pub(crate) latency: Latency,
    /// Bytes of one answer, head and body.
    pub(crate) size: usize,
}

impl Answered {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.lasted.as_secs_f64()
    }
}

/// How long requests waited: of one run, or of several together.
#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, nanoseconds(LONGEST), 3).expect("bounds that fit"))
    }
}

impl Latency {
    fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanoseconds(latency).max(1));
    }

    /// Counts the requests of another run as well: one in a thousand of a short run would be one request or two.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The latency that this share of the requests did not exceed, in nanoseconds; not a number, when nothing was answered.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.value_at_quantile(share) as f64
    }
}

/// Longer than any run: what takes longer is counted as that.
const LONGEST: Duration = Duration::from_secs(60);
/// An event loop cannot sleep for less, and what is due sooner is waited for by spinning.
const SPIN: Duration = Duration::from_millis(2);
/// How long a server may be silent altogether before the run is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the load to its end, and until whatever was asked is answered: then the server has worked for these answers and no others,
/// and stands still, which makes the kernel's account of its processor time complete.
///
/// # Panics
/// When the server closes a connection, answers something else than was expected, or nothing at all: then there is nothing to
/// measure.
pub(crate) fn run(load: &Load<'_>) -> Answered {
    let mut poll = Poll::new().expect("an event queue");
    let mut events = Events::with_capacity(load.connections);
    let start = Instant::now();
    let mut connections: Vec<Connection> =
        (0..load.connections).map(|number| Connection::open(load, number, start, &poll)).collect();
    let end = start + load.lasting;
    let mut latency = Latency::default();
    let (mut answers, mut size, mut heard) = (0, 0, start);
    loop {
        let now = Instant::now();
        assert!(now - heard < PATIENCE, "{} does not answer", load.server);
        let due = |connection: &mut Connection| connection.send_what_is_due(load, now, end);
        let next = connections.iter_mut().filter_map(due).min();
        if next.is_none() && connections.iter().all(|connection| connection.asked.is_none()) {
            return Answered { answers, lasted: now - start, latency, size };
        }
        let wait = match load.model {
            Model::Closed => Duration::ZERO,
            Model::Open { .. } => {
                next.unwrap_or(end).min(end).saturating_duration_since(now).saturating_sub(SPIN)
            }
        };
        if let Err(error) = poll.poll(&mut events, Some(wait)) {
            assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            continue;
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if let Some(answer) = connection.hear(load) {
                heard = Instant::now();
                latency.record(heard - answer.asked);
                (answers, size) = (answers + 1, answer.size);
                connection.send_what_is_due(load, heard, end);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// When its next request is due.
    due: Instant,
    /// Since when the request that is under way counts.
    asked: Option<Instant>,
    heard: Vec<u8>,
    /// How much of `heard` is filled.
    length: usize,
}

struct Answer {
    asked: Instant,
    size: usize,
}

impl Connection {
    fn open(load: &Load<'_>, number: usize, start: Instant, poll: &Poll) -> Self {
        let stream = std::net::TcpStream::connect(load.server).expect("the server is there");
        stream.set_nodelay(true).expect("a TCP option");
        stream.set_nonblocking(true).expect("a TCP option");
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)
            .expect("a place in the queue");
        // The connections take turns.
        let due = match load.model {
            Model::Closed => start,
            Model::Open { rate } => start + Duration::from_secs_f64(number as f64 / rate),
        };
        Self { stream, due, asked: None, heard: vec![0; 64 * 1024], length: 0 }
    }

    /// Sends the next request if nothing is under way and it is due; else says when it will be, if before the end. What was due before
    /// the end and is late is sent after it: a server that stands still then stops nobody's clock either.
    fn send_what_is_due(&mut self, load: &Load<'_>, now: Instant, end: Instant) -> Option<Instant> {
        let next = match load.model {
            Model::Closed => now,
            Model::Open { .. } => self.due,
        };
        if self.asked.is_some() || next >= end {
            return None;
        }
        if self.due > now {
            return Some(self.due);
        }
        match load.model {
            Model::Closed => self.asked = Some(now),
            Model::Open { rate } => {
                self.asked = Some(self.due);
                self.due += Duration::from_secs_f64(load.connections as f64 / rate);
            }
        }
        // A request fits into the buffer of a socket on which nothing else is under way.
        self.stream.write_all(load.request).expect("the server takes a request");
        None
    }

    /// Reads what is there; an answer, when that was all of it.
    fn hear(&mut self, load: &Load<'_>) -> Option<Answer> {
        loop {
            assert!(self.length < self.heard.len(), "an answer of more than {} bytes", self.heard.len());
            match self.stream.read(&mut self.heard[self.length..]) {
                Ok(0) => panic!("{} closed a connection", load.server),
                Ok(read) => self.length += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("{}: {error}", load.server),
            }
            let heard = &self.heard[..self.length];
            if let Some(status) = complete(heard) {
                let text = || String::from_utf8_lossy(heard).into_owned();
                assert_eq!(status, load.expected, "{} answered\n{}", load.server, text());
                let size = std::mem::take(&mut self.length);
                return self.asked.take().map(|asked| Answer { asked, size });
            }
        }
    }
}

/// The status, when these bytes are a whole answer. There is never more than one: nothing is asked before it is there.
pub(crate) fn complete(heard: &[u8]) -> Option<u16> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(heard).expect("an HTTP answer") else {
        return None;
    };
    let header = |name: &str| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let whole = match header("content-length") {
        Some(length) => {
            let length =
                std::str::from_utf8(length.value).ok().and_then(|text| text.trim().parse::<usize>().ok());
            heard.len() >= head + length.expect("a length")
        }
        None => heard.ends_with(b"0\r\n\r\n"), // the last chunk
    };
    whole.then_some(response.code.expect("a whole head has a status"))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    #[test]
    fn an_answer_is_whole_with_its_last_byte_and_not_before() {
        for whole in [
            "HTTP/1.1 402 Payment Required\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 402 Payment Required\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ] {
            let bytes = whole.as_bytes();
            assert_eq!(complete(bytes), Some(402));
            for end in 1..bytes.len() {
                assert_eq!(complete(&bytes[..end]), None, "{}", &whole[..end]);
            }
        }
    }

    /// Answers on one connection; stands still before its second answer.
    fn stalling(listener: TcpListener, stall: Duration) {
        let (stream, _) = listener.accept().expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        let mut answered = 0;
        while let Some(Ok(line)) = lines.next() {
            if line.is_empty() {
                answered += 1;
                if answered == 2 {
                    std::thread::sleep(stall);
                }
                if (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                    return;
                }
            }
        }
    }

    fn measured(model: Model, lasting: Duration) -> Answered {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = listener.local_addr().expect("it is bound");
        let stall = Duration::from_millis(400);
        let thread = std::thread::spawn(move || stalling(listener, stall));
        let request = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
        let answered = run(&Load { server, request, expected: 200, connections: 1, model, lasting });
        thread.join().expect("it ends with the connection");
        answered
    }

    #[test]
    fn requests_that_were_due_during_a_stall_count_from_when_they_were_due() {
        let lasting = Duration::from_millis(600);
        let open = measured(Model::Open { rate: 100.0 }, lasting);
        // Some forty requests were due while the server stood still: the median has waited too. (With a clock that starts when
        // a request is sent, one of them would have.)
        assert!(open.latency.quantile(0.5) > 50e6, "{}", open.latency.quantile(0.5));
        let closed = measured(Model::Closed, lasting);
        assert!(closed.latency.quantile(0.5) < 50e6, "{}", closed.latency.quantile(0.5));
        assert!(closed.latency.quantile(1.0) >= 400e6, "{}", closed.latency.quantile(1.0));
        assert_eq!(closed.size, 38);
    }

    #[test]
    fn requests_that_were_due_during_a_stall_count_even_if_it_outlasts_the_run() {
        let open = measured(Model::Open { rate: 100.0 }, Duration::from_millis(300));
        assert_eq!(open.answers, 30);
        assert!(open.latency.quantile(0.5) > 200e6, "{}", open.latency.quantile(0.5));
    }

    #[test]
    fn several_runs_together_have_the_tail_that_none_of_them_has_alone() {
        let run = |slow: usize| {
            let mut latency = Latency::default();
            for number in 0..100 {
                latency.record(Duration::from_micros(if number < slow { 9_000 } else { 100 }));
            }
            latency
        };
        let mut all = Latency::default();
        assert!(all.quantile(0.5).is_nan());
        for slow in [0, 0, 0, 0, 10] {
            all.add(&run(slow));
        }
        assert!(all.quantile(0.97) < 1e6 && all.quantile(0.99) > 8e6);
    }
}
