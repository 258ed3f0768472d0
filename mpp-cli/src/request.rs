//! What `mpp pay` and `mpp quote` have in common: a request as curl takes it, and the client that sends it.

use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mpp::Amount;
use mpp::client::{Builder, Client, FileLedger, Policy};
use mpp::method::stripe::{StripeWallet, TokenBackend};
use mpp::protocol::MethodName;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::keys::{self, KeyFile, Kind};
use crate::ledger;

/// The largest body that is sent: it is held in memory, because it is sent twice.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// Every method that is paid here, in the order of preference.
const METHODS: [&str; 4] = ["tempo", "stripe", "evm", "sandbox"];

/// What a command says that names a chain and no key for it.
#[cfg(feature = "chains")]
const NO_KEY: &str = "a chain is paid on with a key of kind `evm`; add --key-file NAME (`mpp wallet new NAME --kind evm` makes one)";

/// The request.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The URL
    url: String,
    /// The verb; GET, or POST where there is data
    #[arg(short = 'X', long = "request", value_name = "VERB")]
    verb: Option<String>,
    /// Data to send, as it is; `@FILE` sends a file, `@-` standard input
    #[arg(short = 'd', long = "data", value_name = "DATA")]
    data: Option<String>,
    /// A header line, `Name: value`; may be given several times
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    headers: Vec<String>,
}

/// What to pay with.
#[derive(Debug, clap::Args)]
pub(crate) struct Means {
    /// Pay at most this much, in units of the currency
    #[arg(long, value_name = "AMOUNT")]
    max: Option<Amount>,
    /// Pay by this method alone
    #[arg(long, value_name = "NAME", value_parser = METHODS)]
    method: Option<String>,
    /// The key to pay with: a file that `mpp wallet new` made, or its name
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
    /// Read the key's password from the first line of this file instead of asking
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,
    #[cfg(feature = "chains")]
    #[command(flatten)]
    chains: crate::chains::Flags,
    /// A backend of yours that makes Stripe's shared payment tokens
    #[arg(long, value_name = "URL")]
    stripe_tokens: Option<String>,
}

impl Request {
    pub(crate) fn build(&self) -> Result<reqwest::Request, Failure> {
        let url = self.url.parse().ok().filter(|url: &url::Url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            Failure::failed(format!(
                "`{}` is no URL of HTTP; write it out, as https://api.example.com/weather",
                self.url
            ))
        })?;
        let body = self.data.as_deref().map(read_data).transpose()?;
        let verb = self.verb.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
        let verb = verb
            .parse()
            .map_err(|_| Failure::failed(format!("`{verb}` is no verb of HTTP, such as GET or POST")))?;
        let mut headers = self.headers()?;
        let url = without_user(url, &mut headers);
        let mut request = reqwest::Request::new(verb, url);
        *request.headers_mut() = headers;
        if let Some(body) = body {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().entry(CONTENT_TYPE).or_insert(form);
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }

    fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        for line in &self.headers {
            let parsed = line.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let Some((name, value)) = parsed else {
                return Err(Failure::failed(format!("`{line}` is no header line; write `Name: value`")));
            };
            headers.append(name, value);
        }
        Ok(headers)
    }
}

/// A user and a password before the host go where they belong: into a header, as with curl, and into no message.
pub(crate) fn without_user(mut url: url::Url, headers: &mut HeaderMap) -> url::Url {
    if url.username().is_empty() && url.password().is_none() {
        return url;
    }
    let plain = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [&plain(url.username())[..], b":", &plain(url.password().unwrap_or_default())].concat();
    // Base64 is a header value.
    if let Ok(mut value) = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))) {
        value.set_sensitive(true);
        headers.entry(AUTHORIZATION).or_insert(value);
    }
    // They fail for URLs that cannot have a user, and this one had.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn read_data(data: &str) -> Result<Vec<u8>, Failure> {
    let Some(path) = data.strip_prefix('@') else { return Ok(data.as_bytes().to_owned()) };
    let failed = |error| {
        Failure::failed(format!("cannot read the data of {path}: {error}; without `@` it is the data itself"))
    };
    let mut bytes = Vec::new();
    if path == "-" {
        std::io::stdin().lock().take(MAX_BODY + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_BODY + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() as u64 > MAX_BODY {
        return Err(Failure::failed(format!("the data of {path} is larger than {} MiB", MAX_BODY >> 20)));
    }
    Ok(bytes)
}

/// A client that asks for what was paid before. It needs no key, and nobody's password.
pub(crate) fn client_that_resumes(home: &Home) -> Result<Builder, Failure> {
    let policy = Config::load(home)?.policy(None, None)?;
    let ledger = FileLedger::open(home.file(ledger::FILE)?)?;
    // There is no client without a wallet. This one has nothing to lose.
    Ok(Client::builder(policy, ledger).method(keys::play_money(home)?))
}

impl Means {
    /// Whether the command says how much it may be.
    pub(crate) fn has_max(&self) -> bool {
        self.max.is_some()
    }

    /// The only method that the command wants to pay by.
    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// The client of this configuration, before approval and events are added to it.
    pub(crate) fn client(
        &self,
        home: &Home,
        adjust: impl FnOnce(Policy) -> Policy,
    ) -> Result<Builder, Failure> {
        let config = Config::load(home)?;
        let policy = config.policy(self.max, self.method.as_deref())?;
        let ledger = FileLedger::open(home.file(ledger::FILE)?)?;
        let mut builder = Client::builder(adjust(policy), ledger);
        let named = self.key_file.clone().or_else(|| config.wallet.key_file.clone());
        let mut play_money = None;
        // On a chain, that is: a key of play money neither.
        #[cfg(feature = "chains")]
        let mut signs_nothing = true;
        if let Some(path) = named {
            let path = crate::wallet::find_key(home, &path);
            let file = KeyFile::read(&path)?;
            let password =
                keys::password(self.password_file.as_deref(), &format!("Password for {}: ", path.display()))?;
            let key = file.open(&password)?;
            match file.kind {
                Kind::Sandbox => play_money = Some(mpp::method::sandbox::Wallet::from_seed(*key)),
                #[cfg(feature = "chains")]
                Kind::Evm => {
                    builder = self.chains.of(&config.wallet).wallets(builder, &key)?;
                    signs_nothing = false;
                }
            }
        }
        #[cfg(feature = "chains")]
        if signs_nothing && self.chains.are_given() {
            return Err(Failure::failed(NO_KEY));
        }
        if let Some(url) = self.stripe_tokens.as_ref().or(config.wallet.stripe_tokens.as_ref()) {
            let backend = TokenBackend::new(url).map_err(Failure::failed)?;
            builder = builder.method(StripeWallet::new(backend));
        }
        let play_money = match play_money {
            Some(wallet) => wallet,
            None => keys::play_money(home)?,
        };
        // A sandbox may play other methods. What asks for real money the wallet of play money does not sign.
        for name in METHODS {
            builder = builder.method(play_money.for_method(MethodName::from_static(name)));
        }
        Ok(builder)
    }
}
