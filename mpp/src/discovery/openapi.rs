//! The OpenAPI 3.1 document (draft-payment-discovery-00 section 3): `x-service-info`, and per priced operation
//! `x-payment-info` in its multi-offer form and a `402` response (DISC-02 to DISC-08).
//!
//! Built with utoipa from what is mounted. What a handler takes and gives comes from `#[utoipa::path]` where there is one,
//! else from its types ([`Shape`]), else from the path template; nothing is made up.

use super::catalogue::Operation;
use super::info::{Detail, Info};
use super::place::{VERBS, slot};
use crate::Mpp;
use crate::pricing::{Body, FORM, Honor, JSON, PathParameters, Shape, Tier};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{self, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Required, ServerBuilder};

/// What `#[mpp::charge]` above `#[utoipa::path]` leaves on an operation; never published.
pub(super) const MARK: &str = "x-mpp-price";
const PAYMENT: &str = "Payment";
/// Not `Problem`, which services have of their own.
const PROBLEM: &str = "PaymentProblem";
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
const RECEIPT: &str = "Payment-Receipt";
const PROBLEM_JSON: &str = "application/problem+json";

/// A finished document, and what was worth saying about it.
pub(super) struct Built {
    pub(super) document: Value,
    pub(super) warnings: Vec<String>,
}

/// One offer as it is advertised. `additionalProperties` of the draft's schema is false: nothing else may stand here.
#[derive(Serialize)]
struct PaymentOffer<'a> {
    intent: &'a str,
    method: &'a str,
    /// `null` when the amount depends on the request (DISC-05).
    amount: Option<String>,
    currency: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Serialize)]
struct PaymentInfo<'a> {
    offers: Vec<PaymentOffer<'a>>,
}

#[derive(Serialize)]
struct ServiceInfo<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    categories: &'a [String],
    docs: Docs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Docs<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    api_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
    llms: String,
}

/// Builds the document on what is given.
pub(super) fn build(mpp: &Mpp, info: &Info, mut api: OpenApi, operations: &[Operation]) -> Built {
    let mut warnings = Vec::new();
    describe_service(mpp, info, &mut api);
    let mut schemas = Schemas::default();
    let mut without_example = Vec::new();
    // What the given document asks of every operation that says nothing else.
    let security = api.security.clone().unwrap_or_default();
    let mut given = std::mem::take(&mut api.paths.paths);
    // One path at a time: utoipa's description of ten thousand would take hundreds of megabytes.
    let mut paths = BTreeMap::new();
    for one_path in operations.chunk_by(|a, b| a.template.path == b.template.path) {
        let path = &one_path[0].template.path;
        let mut item = given.remove(path).unwrap_or_default();
        for operation in one_path {
            let slot = slot(&mut item, &operation.verb);
            let mut shape = Shape::default();
            if let Some(look) = operation.spec.shape {
                look(&mut shape);
            }
            schemas.add(std::mem::take(&mut shape.schemas), operation, &mut warnings);
            let written = slot.take().or_else(|| shape.operation.take());
            let draft = Draft {
                info,
                security: &security,
                rate_limited: mpp.limits_rates(),
                takes_body: shape.body.is_some(),
                takes_parsed_body: shape
                    .body
                    .as_ref()
                    .is_some_and(|body| matches!(body.media, Some(JSON | FORM))),
                operation,
                shape,
                without_example: &mut without_example,
            };
            *slot = Some(draft.finish(written));
        }
        paths.insert(path.clone(), finished(item));
    }
    paths.extend(given.into_iter().map(|(path, item)| (path, finished(item))));
    if !without_example.is_empty() {
        warnings.push(format!(
            "path parameters without an example ({}): registries and validators cannot call these routes; give one with \
             `Info::example`",
            without_example.join(", ")
        ));
    }
    let components = api.components.get_or_insert_with(Default::default);
    for (name, schema) in schemas.0 {
        components.schemas.entry(name).or_insert(schema);
    }
    if !operations.is_empty() {
        let ours = RefOr::T(problem_schema());
        let theirs = components.schemas.insert(PROBLEM.to_owned(), ours.clone());
        if theirs.is_some_and(|theirs| theirs != ours) {
            warnings.push(format!(
                "the schema `{PROBLEM}` is what this library's refusals look like, and took the place of yours: give yours \
                 another name with `#[schema(as = …)]`"
            ));
        }
        components.responses.insert("PaymentRequired".to_owned(), payment_required().into());
        let mut later = problem("A problem, without a challenge");
        later
            .headers
            .insert("Retry-After".to_owned(), header("Where waiting helps: how many seconds").into());
        components.responses.insert(PROBLEM.to_owned(), later.into());
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(
            "The Payment scheme: a credential for one of the challenges of the 402 (https://paymentauth.org)",
        ));
        let scheme = SecurityScheme::Http(scheme.build());
        components.security_schemes.insert(PAYMENT.to_owned(), scheme.into());
    }
    let mut document = sorted(serde_json::to_value(&api).unwrap_or_default());
    if let Some(Value::Object(all)) = document.get_mut("paths") {
        paths.extend(std::mem::take(all)); // its extensions
        all.extend(paths);
    }
    // utoipa has a closed list of HTTP schemes; OpenAPI takes any registered name.
    if let Some(scheme) = document.pointer_mut("/components/securitySchemes/Payment/scheme") {
        *scheme = Value::String(PAYMENT.to_owned());
    }
    complete_references(&mut document, &mut warnings);
    Built { document, warnings }
}

/// A path with all its operations.
fn finished(mut item: PathItem) -> Value {
    for verb in VERBS {
        if let Some(extensions) = slot(&mut item, &verb).as_mut().and_then(|drawn| drawn.extensions.as_mut())
        {
            extensions.remove(MARK);
        }
    }
    sorted(serde_json::to_value(item).unwrap_or_default())
}

fn describe_service(mpp: &Mpp, info: &Info, api: &mut OpenApi) {
    api.info.title.clone_from(&info.title);
    api.info.version.clone_from(&info.version);
    if info.description.is_some() {
        api.info.description.clone_from(&info.description);
    }
    if info.terms_of_service.is_some() {
        api.info.terms_of_service.clone_from(&info.terms_of_service);
    }
    if let Some(address) = &info.contact {
        let mut contact = utoipa::openapi::Contact::new();
        if address.contains("://") {
            contact.url = Some(address.clone());
        } else {
            contact.email = Some(address.clone());
        }
        api.info.contact = Some(contact);
    }
    if let Some(logo) = &info.logo {
        let logo = Map::from_iter([("url".to_owned(), Value::from(logo.as_str()))]);
        extend(&mut api.info.extensions, "x-logo", Value::Object(logo));
    }
    let base = mpp.public_url().trim_end_matches('/');
    if api.servers.is_none() {
        api.servers = Some(vec![ServerBuilder::new().url(base).build()]);
    }
    let reference = info.reference(base);
    let service = ServiceInfo {
        categories: &info.categories,
        docs: Docs {
            api_reference: reference.as_deref(),
            homepage: info.homepage.as_deref(),
            llms: format!("{base}/llms.txt"),
        },
    };
    extend(&mut api.extensions, "x-service-info", serde_json::to_value(service).unwrap_or_default());
}

/// One operation on its way into the document.
struct Draft<'a> {
    info: &'a Info,
    security: &'a [SecurityRequirement],
    /// Clients can be told to come back later.
    rate_limited: bool,
    /// There is a body, and one that is parsed (JSON, a form).
    takes_body: bool,
    takes_parsed_body: bool,
    operation: &'a Operation,
    shape: Shape,
    without_example: &'a mut Vec<String>,
}

impl Draft<'_> {
    /// `written` is what `#[utoipa::path]` or the given document says; it wins over what the types say.
    fn finish(mut self, written: Option<path::Operation>) -> path::Operation {
        let (spec, slim) = (self.operation.spec, self.info.detail == Detail::Slim);
        let mut drawn = written.unwrap_or_default();
        drawn.operation_id = Some(self.operation.id.clone());
        let (summary, docs) = (spec.summary(), spec.docs.trim());
        if !summary.is_empty() {
            drawn.summary.get_or_insert_with(|| summary.to_owned());
        }
        if slim {
            drawn.description = None;
        } else if drawn.description.is_none() && docs != summary && !docs.is_empty() {
            drawn.description = Some(docs.to_owned());
        }
        drawn.parameters = self.parameters(drawn.parameters.take());
        if drawn.request_body.is_none() {
            drawn.request_body = self.shape.body.take().map(|body| RefOr::T(request_body(body)));
        }
        if let (Some(RefOr::T(body)), Some(example)) =
            (&mut drawn.request_body, self.info.bodies.get(spec.name))
        {
            for content in body.content.values_mut() {
                if let RefOr::T(content) = content {
                    content.example = Some(example.clone());
                }
            }
        }
        self.responses(&mut drawn.responses.responses);
        let written = drawn.security.take().unwrap_or_else(|| self.security.to_vec());
        drawn.security = Some(security(written, spec.tier));
        let payment = serde_json::to_value(payment_info(self.operation, slim)).unwrap_or_default();
        extend(&mut drawn.extensions, "x-payment-info", payment);
        drawn
    }

    fn parameters(&mut self, written: Option<Vec<RefOr<Parameter>>>) -> Option<Vec<RefOr<Parameter>>> {
        let mut all = written.unwrap_or_default();
        let has = |all: &[RefOr<Parameter>], place: ParameterIn, name: &str| {
            all.iter().any(|p| matches!(p, RefOr::T(p) if p.parameter_in == place && p.name == name))
        };
        for (at, name) in self.operation.template.names.iter().enumerate() {
            if !has(&all, ParameterIn::Path, name) {
                all.push(RefOr::T(self.path_parameter(at, name)));
            }
        }
        for parameter in std::mem::take(&mut self.shape.query) {
            if !has(&all, parameter.parameter_in.clone(), &parameter.name) {
                all.push(RefOr::T(parameter));
            }
        }
        if self.shape.free_query
            && !all.iter().any(|p| matches!(p, RefOr::T(p) if p.parameter_in == ParameterIn::Query))
        {
            let any = ObjectBuilder::new().additional_properties(Some(any())).build();
            let free = ParameterBuilder::new()
                .name("query")
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some("Query parameters that are not described"))
                .style(Some(path::ParameterStyle::Form))
                .explode(Some(true))
                .schema(Some(any));
            all.push(RefOr::T(free.build()));
        }
        if let Honor::Quoted(headers) = self.operation.spec.honor {
            for name in headers {
                if !has(&all, ParameterIn::Header, name) {
                    let header = ParameterBuilder::new()
                        .name(*name)
                        .parameter_in(ParameterIn::Header)
                        .required(Required::False)
                        .description(Some("The price depends on it"))
                        .schema(Some(text()));
                    all.push(RefOr::T(header.build()));
                }
            }
        }
        let named = |p: &RefOr<Parameter>| matches!(p, RefOr::T(p) if p.parameter_in == ParameterIn::Header && p.name.eq_ignore_ascii_case(IDEMPOTENCY_KEY));
        if !self.operation.verb.is_safe() && self.info.detail == Detail::Full && !all.iter().any(named) {
            all.push(RefOr::T(idempotency_key()));
        }
        let all: Vec<_> = all.into_iter().map(|parameter| self.with_example(parameter)).collect();
        (!all.is_empty()).then_some(all)
    }

    fn path_parameter(&self, at: usize, name: &str) -> Parameter {
        let template = &self.operation.template;
        let rest = template.takes_rest && at + 1 == template.names.len();
        let schema: RefOr<Schema> = match &self.shape.path {
            PathParameters::Named(named) => match named.iter().find(|p| p.name == *name) {
                Some(parameter) => {
                    let mut parameter = parameter.clone();
                    parameter.parameter_in = ParameterIn::Path;
                    parameter.required = Required::True;
                    return parameter;
                }
                None => text().into(),
            },
            PathParameters::Types(types) => types.get(at).cloned().unwrap_or_else(|| text().into()),
            PathParameters::Unknown => text().into(),
        };
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(rest.then_some("The rest of the path; may contain slashes"))
            .schema(Some(schema))
            .build()
    }

    /// Validators and registries call a route with the examples of its path parameters.
    fn with_example(&mut self, parameter: RefOr<Parameter>) -> RefOr<Parameter> {
        let RefOr::T(parameter) = parameter else { return parameter };
        if has_example(&parameter) {
            return RefOr::T(parameter);
        }
        let Some(example) = self.info.examples.get(&parameter.name) else {
            if parameter.parameter_in == ParameterIn::Path {
                self.without_example.push(format!("`{}` of `{}`", parameter.name, self.operation.id));
            }
            return RefOr::T(parameter);
        };
        let example = example_value(example, parameter.schema.as_ref());
        RefOr::T(ParameterBuilder::from(parameter).example(Some(example)).build())
    }

    fn responses(&mut self, responses: &mut BTreeMap<String, RefOr<Response>>) {
        let slim = self.info.detail == Detail::Slim;
        if slim {
            responses.clear();
        }
        if !responses.keys().any(|status| status.starts_with(['2', '3'])) {
            let mut success = ResponseBuilder::new().description("Paid for, and delivered");
            if let Some(Body { media: Some(media), schema, .. }) = self.shape.response.take() {
                let schema = schema.filter(|_| !slim);
                success = success.content(media, ContentBuilder::new().schema(schema).build());
            }
            responses.insert("200".to_owned(), success.build().into());
        }
        // Only a success has one (CORE-22), and each that was paid for.
        for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with('2')) {
            if let RefOr::T(response) = response
                && !response.headers.keys().any(|name| name.eq_ignore_ascii_case(RECEIPT))
            {
                let receipt = header("What was paid, as base64url of JSON");
                response.headers.insert(RECEIPT.to_owned(), receipt.into());
            }
        }
        // utoipa leaves an empty description out, and OpenAPI requires one.
        for (status, response) in responses.iter_mut() {
            if let RefOr::T(response) = response
                && response.description.is_empty()
            {
                let reason = status.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
                reason
                    .and_then(|s| s.canonical_reason())
                    .unwrap_or("A response")
                    .clone_into(&mut response.description);
            }
        }
        // DISC-03. With a description of its own: registries look for one beside the reference.
        responses.insert("402".to_owned(), reference("PaymentRequired", "Payment Required"));
        if slim {
            return;
        }
        for (status, description) in self.ours() {
            responses.entry(status.to_owned()).or_insert_with(|| reference(PROBLEM, description));
        }
        for (status, description) in self.theirs() {
            let bare = ResponseBuilder::new().description(description).build();
            responses.entry(status.to_owned()).or_insert_with(|| bare.into());
        }
        let other = ResponseBuilder::new().description("Any other answer of the handler").build();
        responses.entry("default".to_owned()).or_insert_with(|| other.into());
    }
}

impl Draft<'_> {
    /// What the library answers beside the 402, as problems.
    fn ours(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let always = [
            ("400", "The request, its headers or its credential cannot be used"),
            ("409", "Another request with this credential is in progress, or it was answered before"),
            ("503", "Payment cannot be taken or judged now; send the same credential again"),
        ];
        let body = [
            ("408", "The body took too long"), //
            ("413", "The body is larger than this operation takes"),
        ];
        // Bodies share their room whether or not rates are limited.
        let limited = [("429", "Too much at once from one client; `Retry-After` says when")];
        let body = body.into_iter().filter(|_| self.takes_body);
        let limited = limited.into_iter().filter(|_| self.rate_limited || self.takes_body);
        always.into_iter().chain(body).chain(limited)
    }

    /// What the handler's own arguments and price answer, in whatever form.
    fn theirs(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let computed = self.operation.offers.iter().any(|offer| offer.amount.is_none());
        let parsed = self.takes_parsed_body.then_some([
            ("415", "The body has another content type"), //
            ("422", "The body says something else than it should"),
        ]);
        let price = computed.then_some(("422", "There is no price for such a request"));
        parsed.into_iter().flatten().chain(price)
    }
}

/// The payment beside whatever else an operation asks for: of one requirement everything is needed (OpenAPI 3.1 section
/// 4.8.30), so it stands in each of them. Where some requests are free, what was written is enough for those.
fn security(written: Vec<SecurityRequirement>, tier: Tier) -> Vec<SecurityRequirement> {
    let written = if written.is_empty() { vec![SecurityRequirement::default()] } else { written };
    let paid = written.iter().cloned().map(|requirement| requirement.add(PAYMENT, [""; 0]));
    let mut security: Vec<_> = paid.collect();
    if tier == Tier::FreeIf {
        security.extend(written);
    }
    security.dedup();
    security
}

fn payment_info(operation: &Operation, slim: bool) -> PaymentInfo<'_> {
    let free = if operation.spec.tier == Tier::FreeIf { "; free for some requests" } else { "" };
    let offers = operation.offers.iter().map(|offer| PaymentOffer {
        intent: offer.intent,
        method: &offer.method,
        amount: offer.amount.map(|amount| amount.to_string()),
        currency: &offer.currency,
        description: (!slim).then(|| format!("{}{free}", offer.price())),
    });
    PaymentInfo { offers: offers.collect() }
}

fn request_body(body: Body) -> utoipa::openapi::request_body::RequestBody {
    let required = if body.required { Required::True } else { Required::False };
    let content = ContentBuilder::new().schema(Some(body.schema.unwrap_or_else(any))).build();
    let built = RequestBodyBuilder::new().required(Some(required));
    match body.media {
        Some(media) => built.content(media, content).build(),
        None => built.build(),
    }
}

/// Schemas by name; the first of a name stays.
#[derive(Default)]
struct Schemas(BTreeMap<String, RefOr<Schema>>);

impl Schemas {
    fn add(
        &mut self,
        schemas: Vec<(String, RefOr<Schema>)>,
        operation: &Operation,
        warnings: &mut Vec<String>,
    ) {
        for (name, schema) in schemas {
            match self.0.get(&name) {
                None => drop(self.0.insert(name, schema)),
                Some(first) if *first == schema => {}
                Some(_) => warnings.push(format!(
                    "two schemas are called `{name}`; `{}` is documented with the first: give one another name with \
                     `#[schema(as = …)]`",
                    operation.id
                )),
            }
        }
    }
}

/// What is referred to and missing would make the document invalid: it is described as anything.
fn complete_references(document: &mut Value, warnings: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    references(document, &mut names);
    for name in names {
        let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
        if let Some(schemas) = schemas.filter(|schemas| !schemas.contains_key(&name)) {
            warnings.push(format!("the schema `{name}` is referred to and not described"));
            schemas.insert(name, Value::Object(Map::new()));
        }
    }
}

pub(super) fn references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let target = members.get("$ref").and_then(Value::as_str);
            names.extend(target.and_then(|t| t.strip_prefix("#/components/schemas/")).map(str::to_owned));
            members.values().for_each(|member| references(member, names));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

/// Members in order: the same service has the same bytes and the same ETag on every replica, whatever `serde_json` was
/// built with and however utoipa hashes its extensions.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> =
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn has_example(parameter: &Parameter) -> bool {
    // The builder's field is private; what is serialized says the same.
    let Ok(value) = serde_json::to_value(parameter) else { return false };
    let given = |pointer: &str| value.pointer(pointer).is_some_and(|v| !v.is_null());
    given("/example") || given("/schema/example") || given("/schema/default") || given("/schema/examples/0")
}

/// A number where the schema wants one.
fn example_value(text: &str, schema: Option<&RefOr<Schema>>) -> Value {
    let kind = match schema {
        Some(RefOr::T(Schema::Object(object))) => &object.schema_type,
        _ => return Value::from(text),
    };
    let is = |wanted: Type| matches!(kind, SchemaType::Type(ty) if *ty == wanted);
    let plain = is(Type::Integer) || is(Type::Number) || is(Type::Boolean);
    serde_json::from_str::<Value>(text)
        .ok()
        .filter(|v| plain && !v.is_string())
        .unwrap_or_else(|| Value::from(text))
}

fn extend(extensions: &mut Option<Extensions>, name: &str, value: Value) {
    extensions.get_or_insert_with(Extensions::default).insert(name.to_owned(), value);
}

/// CORE-38, draft-httpauth-payment-00 section 11.4.
fn idempotency_key() -> Parameter {
    let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    ParameterBuilder::new()
        .name(IDEMPOTENCY_KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Under one key, a payment is answered with the same response again"))
        .schema(Some(key.build()))
        .build()
}

fn text() -> utoipa::openapi::schema::Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

fn any() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).build().into()
}

fn header(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new().schema(Some(text())).description(Some(description)).build()
}

fn reference(response: &str, description: &str) -> RefOr<Response> {
    let mut reference = Ref::from_response_name(response);
    description.clone_into(&mut reference.description);
    RefOr::Ref(reference)
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(PROBLEM);
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content(PROBLEM_JSON, content).build()
}

fn payment_required() -> Response {
    let mut response = problem("Payment Required: one challenge per way to pay");
    let challenge = header(
        "`Payment id=\"…\", realm=\"…\", method=\"…\", intent=\"…\", request=\"…\"`, once per way to pay",
    );
    response.headers.insert("WWW-Authenticate".to_owned(), challenge.into());
    response
}

/// RFC 9457, as this library writes it.
fn problem_schema() -> Schema {
    let status = ObjectBuilder::new().schema_type(Type::Integer);
    let object = ObjectBuilder::new()
        .property("type", text())
        .property("title", text())
        .property("status", status)
        .property("detail", text())
        .property("challengeId", text())
        .required("type")
        .required("title")
        .required("status");
    Schema::Object(object.build())
}
