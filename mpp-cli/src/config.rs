//! The configuration: one TOML file, all of it optional; and `mpp config`, which shows and explains it.

use std::path::PathBuf;
use std::time::Duration;

use mpp::Amount;
use mpp::client::{Budget, Policy, Scope};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Answer;
use crate::failure::Failure;
use crate::home::Home;

/// The file as it would be with every default, and what each line means.
const EXPLAINED: &str = r#"# The configuration of the `mpp` command: config.toml in $MPP_HOME, or else in ~/.mpp.
# Everything is optional; this is what holds without it. Amounts are texts: "0.10".

[limits]
# What may be spent, in these currencies together, one to one. Others are refused.
currencies = ["usdc", "pathusd", "alphausd", "usd"]
# At most this much for one request; `--max` says otherwise for one command.
per_request = "1"
# At most this much in any 24 hours.
per_day = "10"
# At most this much to any one server, ever, and in all, ever. No limit when left out.
# per_origin = "50"
# total = "100"
# Other money, with limits of its own: the gas of an EVM chain, say, which only some ways to pay need. The most that it may cost
# counts, which is far more than it does: some 0.09 eth.
# others = [{ currencies = ["eth"], per_request = "0.1", per_day = "0.2" }]

[allow]
# Who may be paid, how and where. Anybody, any method and any network when left out.
# origins = ["https://api.example.com"]
# methods = ["tempo"]
# networks = ["eip155:4217"]
# recipients = ["0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00"]

[wallet]
# What is paid with. Play money (`sandbox`) needs nothing.
# key_file = "/home/me/.mpp/keys/main.json"     # made by `mpp wallet new`
# tempo_rpc = "https://node.example.com"          # the node to pay on Tempo through
# tempo_chain = 4217                              # the chain it serves
# tempo_account = "0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00" # the account that has the key as an access key
# evm_chain = 8453                                # the EVM chain to pay on: Base
# evm_rpc = "https://node.example.com"            # a node of that chain
# What else counts as one of the currencies on that chain: its name, where it is, and its decimals.
# evm_tokens = [{ name = "usdc", address = "0x036CbD53842c5426634e7929541eC2318f3dCF7e", decimals = 6 }]
# What the chain's own coin is called, which gas is paid in, where the command does not know that.
# evm_coin = "eth"
# How to pay there, of what a server accepts: "authorization" (a signature; neither node nor gas), "permit2" (a signature, once
# Permit2 is approved), "transaction" or "hash" (a node and gas). All but permit2 when left out.
# evm_pays_by = ["authorization"]
# stripe_tokens = "https://me.example.com/tokens" # a backend of yours that makes shared payment tokens
"#;

/// Print the configuration that holds, or explain every setting.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print every setting with what it means
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `config.toml`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) allow: Allow,
    pub(crate) wallet: Wallet,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    currencies: Vec<String>,
    per_request: Decimal,
    per_day: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_origin: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Decimal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    others: Vec<OtherLimits>,
}

/// Money that is not counted with the rest.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OtherLimits {
    currencies: Vec<String>,
    per_request: Decimal,
    per_day: Decimal,
}

/// An amount, written as a text: a number of TOML could be a float.
#[derive(Debug, Clone, Copy)]
struct Decimal(Amount);

impl Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let text = String::deserialize(deserializer)?;
        Amount::parse(&text).map(Decimal).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Allow {
    #[serde(skip_serializing_if = "Option::is_none")]
    origins: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    methods: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wallet {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tempo_rpc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tempo_chain: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tempo_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evm_rpc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evm_chain: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) evm_tokens: Vec<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evm_coin: Option<String>,
    #[cfg(feature = "chains")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) evm_pays_by: Vec<crate::chains::PaysBy>,
    /// Without chains nothing is paid so, and the same file is read.
    #[cfg(not(feature = "chains"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) evm_pays_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stripe_tokens: Option<String>,
}

/// A token of the EVM chain that the command does not know by itself.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) decimals: u8,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            currencies: ["usdc", "pathusd", "alphausd", "usd"].map(str::to_owned).to_vec(),
            per_request: Decimal(Amount::whole(1)),
            per_day: Decimal(Amount::whole(10)),
            per_origin: None,
            total: None,
            others: Vec::new(),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Config {
    pub(crate) fn load(home: &Home) -> Result<Config, Failure> {
        let path = home.path("config.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
        };
        toml::from_str(&text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let wrong = error.message();
            Failure::failed(format!(
                "{} line {line}: {wrong} (`mpp config --explain` shows every setting)",
                path.display()
            ))
        })
    }

    /// The policy of a command that may pay `most` for its request, and by no method but `only`.
    pub(crate) fn policy(&self, most: Option<Amount>, only: Option<&str>) -> Result<Policy, Failure> {
        let Limits { currencies, per_request, per_day, per_origin, total, others } = &self.limits;
        let mut budget = daily(currencies, per_day, "currencies")?.per_request(most.unwrap_or(per_request.0));
        for (scope, most) in [(Scope::Origin, per_origin), (Scope::Total, total)] {
            if let Some(most) = most {
                budget = budget.limit(scope, most.0);
            }
        }
        let mut policy = Policy::new(budget);
        for other in others {
            // The amount of a command is meant in the money that is counted together, and may only narrow this.
            let per_request = most.map_or(other.per_request.0, |most| most.min(other.per_request.0));
            policy = policy.budget(
                daily(&other.currencies, &other.per_day, "others.currencies")?.per_request(per_request),
            );
        }
        if let Some(origins) = &self.allow.origins {
            policy = policy.origins(origins.iter().map(String::as_str));
        }
        let allowed = self.allow.methods.as_ref().map(|all| all.iter().map(String::as_str));
        policy = match (allowed, only) {
            (None, None) => policy,
            (None, Some(only)) => policy.methods([only]),
            // A command narrows what is allowed and never widens it: nothing may be left.
            (Some(allowed), only) => {
                policy.methods(allowed.filter(|name| only.is_none_or(|only| only == *name)))
            }
        };
        if let Some(networks) = &self.allow.networks {
            policy = policy.networks(networks);
        }
        if let Some(recipients) = &self.allow.recipients {
            policy = policy.recipients(recipients);
        }
        Ok(policy)
    }
}

/// So much of these currencies together in a day.
fn daily(currencies: &[String], most: &Decimal, setting: &str) -> Result<Budget, Failure> {
    let Some((first, others)) = currencies.split_first() else {
        return Err(Failure::failed(format!("the configuration allows no currency: set limits.{setting}")));
    };
    let budget = Budget::per_window(first, DAY, most.0);
    Ok(others.iter().fold(budget, |budget, currency| budget.also(currency)))
}

pub(crate) fn run(options: &Options) -> Result<Answer, Failure> {
    let out = if options.explain && options.json {
        format!("{:#}\n", json!({ "text": EXPLAINED }))
    } else if options.explain {
        EXPLAINED.to_owned()
    } else {
        let home = Home::find()?;
        let config = Config::load(&home)?;
        if options.json {
            serde_json::to_string_pretty(&config).map_err(Failure::failed)? + "\n"
        } else {
            let text = toml::to_string(&config).map_err(Failure::failed)?;
            format!("# {}\n{text}", home.path("config.toml").display())
        }
    };
    Ok(Answer { out: Zeroizing::new(out), ..Answer::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_explanation_is_the_default_configuration() {
        let explained: Config = toml::from_str(EXPLAINED).unwrap();
        assert_eq!(toml::to_string(&explained).unwrap(), toml::to_string(&Config::default()).unwrap());
        // And what is commented out is a setting too.
        let all: String = EXPLAINED
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") && !setting.ends_with('.') => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let config: Config = toml::from_str(&all).unwrap_or_else(|error| panic!("{error}\n{all}"));
        assert!(config.limits.total.is_some() && config.allow.recipients.is_some());
        assert!(config.wallet.stripe_tokens.is_some() && config.wallet.tempo_chain == Some(4217));
        assert_eq!(config.wallet.evm_tokens[0].decimals, 6);
        assert!(config.limits.others.len() == 1 && config.wallet.evm_pays_by.len() == 1);
        assert_eq!(config.wallet.evm_coin.as_deref(), Some("eth"));
        config.policy(None, None).unwrap();
    }
}
