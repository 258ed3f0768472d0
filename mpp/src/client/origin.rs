//! Who is asked: scheme, host and port (RFC 6454), the unit in which a policy trusts and a ledger counts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

use crate::outbound::is_loopback;

/// Scheme, host and port of a URL. Only `http` and `https` have one.
///
/// ```
/// use mpp::client::Origin;
/// let origin: Origin = "https://API.example.com:443/weather?city=Berlin".parse()?;
/// assert_eq!(origin.to_string(), "https://api.example.com");
/// assert!("ftp://example.com".parse::<Origin>().is_err());
/// # Ok::<(), mpp::client::OriginError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    /// Lowercase; IPv6 in brackets.
    host: String,
    port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Scheme {
    Http,
    Https,
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    /// [`OriginError`] when it is not an `http` or `https` URL with a host.
    ///
    /// ```
    /// use mpp::client::Origin;
    /// let url = url::Url::parse("http://127.0.0.1:3000/x").unwrap();
    /// assert_eq!(Origin::of(&url).unwrap().to_string(), "http://127.0.0.1:3000");
    /// ```
    pub fn of(url: &Url) -> Result<Origin, OriginError> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(OriginError),
        };
        let host = match url.host() {
            // A trailing dot is the same host to DNS and another one to a comparison of texts.
            Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
            Some(address) => address.to_string(),
            None => return Err(OriginError),
        };
        if host.is_empty() {
            return Err(OriginError);
        }
        let port = url.port().unwrap_or(scheme.port());
        Ok(Origin { scheme, host, port })
    }

    /// The host: lowercase, an IPv6 address in brackets.
    ///
    /// ```
    /// # use mpp::client::Origin;
    /// assert_eq!("https://api.example.com:8443".parse::<Origin>().unwrap().host(), "api.example.com");
    /// ```
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether a credential may be sent there: over TLS, or to this machine (CORE-33).
    ///
    /// ```
    /// # use mpp::client::Origin;
    /// assert!("http://localhost:3000".parse::<Origin>().unwrap().is_private());
    /// assert!(!"http://api.example.com".parse::<Origin>().unwrap().is_private());
    /// ```
    pub fn is_private(&self) -> bool {
        self.scheme == Scheme::Https || is_loopback(&self.host)
    }

    /// Whether a request to this URI goes here; without allocating.
    pub(super) fn is_of(&self, uri: &http::Uri) -> bool {
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return false,
        };
        scheme == self.scheme
            && uri.host().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && uri.port_u16().unwrap_or(scheme.port()) == self.port
    }

    /// The same for a parsed URL.
    pub(super) fn is_of_url(&self, url: &Url) -> bool {
        url.scheme() == self.scheme.as_str()
            && url.port().unwrap_or(self.scheme.port()) == self.port
            && url.host_str() == Some(&self.host)
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Origin, OriginError> {
        Origin::of(&Url::parse(text).map_err(|_| OriginError)?)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Origin, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Text that has no origin.
///
/// ```
/// # use mpp::client::{Origin, OriginError};
/// assert_eq!("example.com".parse::<Origin>(), Err(OriginError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an http or https URL with a host, such as https://api.example.com")]
pub struct OriginError;

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn two_spellings_of_one_origin_are_equal_and_other_ports_and_schemes_are_not() {
        assert_eq!(origin("https://API.Example.com"), origin("https://api.example.com:443/x?y#z"));
        assert_eq!(origin("https://api.example.com."), origin("https://api.example.com"));
        assert_eq!(origin("https://user:pw@api.example.com"), origin("https://api.example.com"));
        assert_ne!(origin("https://api.example.com:8443"), origin("https://api.example.com"));
        assert_ne!(origin("http://api.example.com"), origin("https://api.example.com"));
        assert_eq!(origin("http://[::1]:80").to_string(), "http://[::1]");
    }

    #[test]
    fn a_uri_and_a_url_are_compared_like_parsed_origins() {
        for (text, same) in [
            ("https://api.example.com/a", true),
            ("https://API.example.com:443/a", true),
            ("https://api.example.com:8443/a", false),
            ("http://api.example.com/a", false),
            ("https://api.example.com.evil.example/", false),
        ] {
            let allowed = origin("https://api.example.com");
            assert_eq!(allowed.is_of(&text.parse().unwrap()), same, "{text}");
            assert_eq!(allowed.is_of_url(&Url::parse(text).unwrap()), same, "{text}");
        }
        assert!(!origin("https://api.example.com").is_of(&"/relative".parse().unwrap()));
    }

    #[test]
    fn plain_http_is_private_to_this_machine_only() {
        for text in ["http://localhost", "http://127.0.0.1:3000", "http://[::1]:3000", "https://example.com"]
        {
            assert!(origin(text).is_private(), "{text}");
        }
        for text in [
            "http://example.com",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0",
            "http://localhost.example.com",
        ] {
            assert!(!origin(text).is_private(), "{text}");
        }
    }
}
