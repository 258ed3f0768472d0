//! What a service says about itself, once, for every document.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

/// Registries list a service under at most this many categories (draft-payment-discovery-00 section 3.3.1).
const MOST_CATEGORIES: usize = 5;

/// A service, for its documents: name and version, what it is about, where to read more.
///
/// Prices are not said here: they come from the handlers.
///
/// ```
/// use mpp::discovery::Info;
///
/// let info = Info::new("Weather", "1.2.0")
///     .description("Current weather for any city.")
///     .category("data")
///     .homepage("https://weather.example.com")
///     .example("city", "oslo"); // `{city}`, wherever it stands in a path
/// # drop(info);
/// ```
#[derive(Clone)]
#[must_use = "hand it to `Router::publish` or `Router::documents`"]
pub struct Info {
    pub(super) title: String,
    pub(super) version: String,
    pub(super) description: Option<String>,
    pub(super) logo: Option<String>,
    pub(super) contact: Option<String>,
    pub(super) terms_of_service: Option<String>,
    pub(super) categories: Vec<String>,
    pub(super) homepage: Option<String>,
    pub(super) api_reference: Option<String>,
    pub(super) examples: BTreeMap<String, String>,
    pub(super) bodies: BTreeMap<String, Value>,
    pub(super) hidden: BTreeSet<String>,
    pub(super) base: Option<utoipa::openapi::OpenApi>,
    pub(super) detail: Detail,
    pub(super) unmounted: Unmounted,
    #[cfg(feature = "reference")]
    pub(super) reference: bool,
}

/// How much the OpenAPI document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Full,
    Slim,
}

/// What a priced handler that is mounted nowhere is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmounted {
    Problem,
    Allowed,
}

impl std::fmt::Debug for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Info")
            .field("title", &self.title)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Info {
    /// A service of this name (`info.title`), whose API has this version (`info.version`).
    ///
    /// ```
    /// let info = mpp::discovery::Info::new("Weather", env!("CARGO_PKG_VERSION"));
    /// # drop(info);
    /// ```
    pub fn new(title: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            version: version.into(),
            description: None,
            logo: None,
            contact: None,
            terms_of_service: None,
            categories: Vec::new(),
            homepage: None,
            api_reference: None,
            examples: BTreeMap::new(),
            bodies: BTreeMap::new(),
            hidden: BTreeSet::new(),
            base: None,
            detail: Detail::Full,
            unmounted: Unmounted::Problem,
            #[cfg(feature = "reference")]
            reference: false,
        }
    }

    /// What the service is about, in a sentence or a few.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").description("Current weather for any city, updated hourly.");
    /// # drop(info);
    /// ```
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// The address of the service's picture (`info.x-logo.url`). An absolute URI.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").logo("https://weather.example.com/logo.svg");
    /// # drop(info);
    /// ```
    pub fn logo(mut self, url: impl Into<String>) -> Self {
        self.logo = Some(url.into());
        self
    }

    /// Where people ask for help: an absolute URI, or an e-mail address.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").contact("help@weather.example.com");
    /// # drop(info);
    /// ```
    pub fn contact(mut self, address: impl Into<String>) -> Self {
        self.contact = Some(address.into());
        self
    }

    /// The terms of service. An absolute URI.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").terms_of_service("https://weather.example.com/terms");
    /// # drop(info);
    /// ```
    pub fn terms_of_service(mut self, url: impl Into<String>) -> Self {
        self.terms_of_service = Some(url.into());
        self
    }

    /// A category registries list the service under; call it again for another one. Lower case with hyphens, at most five
    /// (draft-payment-discovery-00 section 3.3.1): `communication`, `compute`, `data`, `developer-tools`, `media`, `search`,
    /// `social`, `storage`, `travel`, or one of your own.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").category("data").category("travel");
    /// # drop(info);
    /// ```
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.categories.push(category.into());
        self
    }

    /// The main page of documentation (`x-service-info.docs.homepage`). An absolute URI.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").homepage("https://weather.example.com");
    /// # drop(info);
    /// ```
    pub fn homepage(mut self, url: impl Into<String>) -> Self {
        self.homepage = Some(url.into());
        self
    }

    /// An API reference for people (`x-service-info.docs.apiReference`). An absolute URI.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").api_reference("https://weather.example.com/reference");
    /// # drop(info);
    /// ```
    pub fn api_reference(mut self, url: impl Into<String>) -> Self {
        self.api_reference = Some(url.into());
        self
    }

    /// A value for every path, query or header parameter of this name that has no example of its own
    /// (`#[param(example = …)]`). Registries and validators call a route with it, so it should be one the handler accepts.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").example("city", "oslo");
    /// # drop(info);
    /// ```
    pub fn example(mut self, parameter: impl Into<String>, value: impl Into<String>) -> Self {
        self.examples.insert(parameter.into(), value.into());
        self
    }

    /// A request body of the priced handler of this name, for the same purpose. The fields of a form are the members of an
    /// object. Not needed where the type has a schema whose samples the handler accepts.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Poems", "1").body_example("complete", serde_json::json!({ "prompt": "once upon a time" }));
    /// # drop(info);
    /// ```
    pub fn body_example(mut self, handler: impl Into<String>, body: Value) -> Self {
        self.bodies.insert(handler.into(), body);
        self
    }

    /// Starts from a document of utoipa's: its free operations, tags and components are kept, its priced ones get their
    /// prices. An operation is priced when a priced handler is mounted at its verb and path, or when it carries the mark
    /// that `#[mpp::charge]` above `#[utoipa::path]` leaves; that is how handlers on a `utoipa_axum` router are found.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let api = utoipa::openapi::OpenApi::default(); // `OpenApiRouter::split_for_parts` gives one
    /// let info = Info::new("Weather", "1").openapi(api);
    /// # drop(info);
    /// ```
    pub fn openapi(mut self, document: utoipa::openapi::OpenApi) -> Self {
        self.base = Some(document);
        self
    }

    /// Leaves out of the OpenAPI document what a client can do without: long descriptions, response schemas, and every
    /// response but the success and the 402. Registries read 64 KiB.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").slim();
    /// # drop(info);
    /// ```
    pub fn slim(mut self) -> Self {
        self.detail = Detail::Slim;
        self
    }

    /// Leaves the priced handler of this name out of every document, the [given one](Self::openapi) too. It stays mounted and
    /// charges (DISC-11: what is published is a decision).
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").hide("for_partners");
    /// # drop(info);
    /// ```
    pub fn hide(mut self, handler: impl Into<String>) -> Self {
        self.hidden.insert(handler.into());
        self
    }

    /// Accepts priced handlers that are mounted nowhere, because the router depends on the configuration or is one of
    /// several. Without this they are start-up problems.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").allow_unmounted();
    /// # drop(info);
    /// ```
    pub fn allow_unmounted(mut self) -> Self {
        self.unmounted = Unmounted::Allowed;
        self
    }

    /// Serves an interactive page for people at `/reference`: Swagger UI with the price beside each operation. Everything it
    /// needs comes from this program, and its policy lets the browser ask nobody else. It becomes the
    /// [API reference](Self::api_reference) unless another one is given.
    ///
    /// ```
    /// # use mpp::discovery::Info;
    /// let info = Info::new("Weather", "1").reference_page();
    /// # drop(info);
    /// ```
    #[cfg(feature = "reference")]
    pub fn reference_page(mut self) -> Self {
        self.reference = true;
        self
    }

    /// Where people read the reference of a service at `base`: the given one, else the page beside the documents.
    pub(super) fn reference(&self, base: &str) -> Option<String> {
        #[cfg(feature = "reference")]
        let own = self.reference.then(|| format!("{base}{}", super::reference::PATHS[0]));
        #[cfg(not(feature = "reference"))]
        let own = {
            let _ = base;
            None
        };
        self.api_reference.clone().or(own)
    }

    /// What is wrong with it. DISC-06, DISC-07.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (what, text) in [("title", &self.title), ("version", &self.version)] {
            if text.trim().is_empty() {
                problems.push(format!("the {what} of `Info` is empty"));
            }
        }
        let links = [
            ("logo", &self.logo),
            ("terms of service", &self.terms_of_service),
            ("homepage", &self.homepage),
            ("API reference", &self.api_reference),
        ];
        for (what, link) in links {
            if let Some(link) = link.as_ref().filter(|link| !is_link(link)) {
                problems
                    .push(format!("the {what} of `Info`, `{link}`, is not an absolute http or https URL"));
            }
        }
        if let Some(contact) = &self.contact
            && !is_link(contact)
            && !contact.contains('@')
        {
            problems
                .push(format!("the contact of `Info`, `{contact}`, is neither a URL nor an e-mail address"));
        }
        for category in &self.categories {
            let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if category.is_empty() || !category.chars().all(ok) {
                problems.push(format!("the category `{category}` is not lower case with hyphens"));
            }
        }
        if self.categories.len() > MOST_CATEGORIES {
            let n = self.categories.len();
            problems.push(format!("`Info` has {n} categories; registries take {MOST_CATEGORIES}"));
        }
        problems
    }
}

fn is_link(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_would_refuse_is_a_problem_each() {
        let good =
            Info::new("Weather", "1").homepage("https://a.example/x").contact("a@b.example").category("data");
        assert_eq!(good.problems(), [""; 0]);
        let bad = Info::new(" ", "").homepage("/docs").logo("mailto:a@b.example").contact("room 5");
        let bad = ["Data", "", "a", "b", "c", "d"].into_iter().fold(bad, Info::category);
        assert_eq!(bad.problems().len(), 8, "{:#?}", bad.problems());
    }
}
