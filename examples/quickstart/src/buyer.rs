//! The smallest client that can pay: ask, read the challenge, sign, ask again.

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use mpp::method::ClientMethod;
use mpp::method::sandbox::Wallet;
use mpp::protocol::{Challenge, Credential, Receipt};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Anything that kept the tour from happening.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// A customer with a wallet.
pub(crate) struct Buyer {
    server: SocketAddr,
    wallet: Wallet,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.headers.get(name).ok_or_else(|| format!("the answer has no `{name}`"))?.to_str()?)
    }

    fn expect(self, status: u16) -> Result<Self, Failure> {
        match self.status.as_u16() == status {
            true => Ok(self),
            false => Err(format!("expected {status}, got {}: {}", self.status, self.body).into()),
        }
    }
}

impl Buyer {
    pub(crate) fn new(server: SocketAddr, wallet: Wallet) -> Self {
        Self { server, wallet }
    }

    pub(crate) fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    /// The whole exchange. Returns the credential, for mischief.
    pub(crate) async fn buy(
        &self,
        verb: &str,
        path: &str,
        body: &'static str,
        method: &str,
        expected: &str,
    ) -> Result<String, Failure> {
        let priced = self.send(verb, path, body, None).await?.expect(402)?;
        let lines = priced.headers.get_all("www-authenticate").iter().filter_map(|line| line.to_str().ok());
        let offers = Challenge::parse_all(lines).offers;
        for offer in &offers {
            let asks = offer.charge()?;
            println!(
                "   WWW-Authenticate: Payment  id {}...  method {}  asks {} base units of {}  until {}",
                &offer.id.get(..8).unwrap_or_default(),
                offer.method,
                asks.amount,
                asks.currency,
                offer.expires.as_deref().unwrap_or("ever"),
            );
        }
        let challenge = offers.into_iter().find(|offer| offer.method.as_str() == method);
        let challenge = challenge.ok_or_else(|| format!("`{method}` is not offered"))?;

        let proof = self.wallet.for_method(challenge.method.clone()).pay(&challenge).await?;
        let payer = proof.source.clone().unwrap_or_default();
        let credential = Credential { challenge, source: proof.source, payload: proof.payload };
        let authorization = credential.to_header_value();
        println!(
            "   signed as {}...: the challenge, who pays, and an ed25519 signature, {} characters of base64url",
            &payer.get(..20).unwrap_or_default(),
            authorization.len() - "Payment ".len()
        );

        let paid = self.send(verb, path, body, Some(&authorization)).await?.expect(200)?;
        let receipt = Receipt::parse_header(paid.header("payment-receipt")?)?;
        println!(
            "   Payment-Receipt: {} reference {} at {}",
            receipt.method, receipt.reference, receipt.timestamp
        );
        print!("   {}", paid.body);
        if !paid.body.contains(expected) {
            return Err(format!("expected `{expected}` in `{}`", paid.body).into());
        }
        Ok(authorization)
    }

    /// A credential that has been used.
    pub(crate) async fn replay(&self, verb: &str, path: &str, authorization: &str) -> Result<(), Failure> {
        let refused = self.send(verb, path, "", Some(authorization)).await?.expect(402)?;
        let problem: serde_json::Value = serde_json::from_str(&refused.body)?;
        println!("   {}: {}", problem["title"], problem["detail"]);
        match problem["type"].as_str() {
            Some("https://paymentauth.org/problems/invalid-challenge") => Ok(()),
            _ => Err(format!("expected invalid-challenge, got {}", refused.body).into()),
        }
    }

    /// A request that is refused without being priced.
    pub(crate) async fn refused(
        &self,
        verb: &str,
        path: &str,
        body: &'static str,
        status: u16,
    ) -> Result<(), Failure> {
        let refused = self.send(verb, path, body, None).await?.expect(status)?;
        print!("   {}", refused.body);
        match refused.headers.contains_key("www-authenticate") {
            true => Err("a request that cannot be served was priced".into()),
            false => Ok(()),
        }
    }

    /// A request that is let through.
    pub(crate) async fn free(&self, verb: &str, path: &str, expected: &str) -> Result<(), Failure> {
        let free = self.send(verb, path, "", None).await?.expect(200)?;
        print!("   {}", free.body);
        match free.body.contains(expected) && !free.headers.contains_key("payment-receipt") {
            true => Ok(()),
            false => Err("a free request was not".into()),
        }
    }

    async fn send(
        &self,
        verb: &str,
        path: &str,
        body: &'static str,
        authorization: Option<&str>,
    ) -> Result<Answer, Failure> {
        let with = if authorization.is_some() { "   Authorization: Payment ..." } else { "" };
        println!("-> {verb} {path}{with}");
        let mut request = Request::builder().method(verb).uri(path).header("host", self.server.to_string());
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let stream = TokioIo::new(TcpStream::connect(self.server).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        let response =
            sender.send_request(request.body(Full::new(Bytes::from_static(body.as_bytes())))?).await?;
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        println!("<- {}", parts.status);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}
