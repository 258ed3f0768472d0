use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Takes one exchange after the other, each with a connection of its own, and does with it what a test wants.
pub(crate) struct Between {
    listener: TcpListener,
    /// The server behind it.
    upstream: String,
}

impl Between {
    /// In front of this server.
    pub(crate) fn before(upstream: &str) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Between { listener, upstream: upstream.to_owned() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("it is bound"))
    }

    /// The next request, head and body, and who waits for its answer.
    pub(crate) fn take(&self) -> (TcpStream, String) {
        let (mut near, _) = self.listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut part = [0; 16 * 1024];
        loop {
            let length = near.read(&mut part).expect("a request");
            request.extend_from_slice(&part[..length]);
            let text = String::from_utf8(request.clone()).expect("text");
            if length == 0 || is_whole(&text) {
                return (near, text);
            }
        }
    }

    /// What the server answers to a request.
    pub(crate) fn ask(&self, request: &str) -> Vec<u8> {
        let mut far = TcpStream::connect(&self.upstream).expect("the server is there");
        let closing = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        far.write_all(closing.as_bytes()).expect("it listens");
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).expect("an answer");
        answer
    }

    /// Hands one exchange on.
    pub(crate) fn pass(&self) {
        let (mut near, request) = self.take();
        near.write_all(&self.ask(&request)).expect("somebody waits");
    }

    /// Loses one after its request.
    pub(crate) fn lose(&self) {
        drop(self.take());
    }

    /// Answers one without asking anybody.
    pub(crate) fn answer(&self, head: &str, body: &str) {
        let (mut near, _) = self.take();
        let length = body.len();
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        near.write_all(text.as_bytes()).expect("somebody waits");
    }
}

/// Whether all of a request is there.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().expect("a length"))
}
