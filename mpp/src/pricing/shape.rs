//! What a handler takes and gives, as documents tell it.
//!
//! `#[charge]` writes a function that shows the handler's argument and return types to [`Probe`]s. A probe answers with
//! what can be known: the schema of a `Json<T>` whose `T` has one (`utoipa::ToSchema`), the parameters of a `Query<T>`
//! (`IntoParams`), and of anything else its media type or nothing. The traits are tried in the order of the references in
//! front of the receiver, best first; see `mpp-macros/src/shape.rs`.
//!
//! Without the feature `openapi` nothing is recorded.
#![allow(missing_docs, reason = "hidden: only what the macros write names these items")]

use std::marker::PhantomData;

/// A type to be asked about.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> Probe<T> {
    pub const NEW: Self = Self(PhantomData);
}

/// The traits of the probes, nameless: `use …::probes::*` shadows no name of the user's.
#[doc(hidden)]
pub mod probes {
    #[cfg(feature = "openapi")]
    pub use super::known::{
        InputByFields as _, InputByMedia as _, InputBySchema as _, InputByTuple as _, Operation as _,
        OutputByMedia as _, OutputBySchema as _,
    };
    pub use super::{AnyInput as _, AnyOperation as _, AnyOutput as _};
}

/// The last answer about an argument.
pub trait AnyInput {
    fn input(&self, shape: &mut Shape);
}

impl<T: ?Sized> AnyInput for Probe<T> {
    fn input(&self, shape: &mut Shape) {
        #[cfg(feature = "openapi")]
        if std::any::type_name::<T>().ends_with("::Multipart") {
            shape.body(known::MULTIPART, None);
        }
        #[cfg(not(feature = "openapi"))]
        let _ = shape;
    }
}

/// The last answer about a return type.
pub trait AnyOutput {
    fn output(&self, shape: &mut Shape);
}

impl<T: ?Sized> AnyOutput for Probe<T> {
    fn output(&self, _: &mut Shape) {}
}

/// The answer about something that is no `utoipa::Path`, or of another version of utoipa.
pub trait AnyOperation {
    fn operation(&self, shape: &mut Shape);

    fn operation_id(&self) -> Option<String> {
        None
    }
}

impl<T: ?Sized> AnyOperation for Probe<T> {
    fn operation(&self, _: &mut Shape) {}
}

#[cfg(not(feature = "openapi"))]
mod unknown {
    /// What a handler takes and gives.
    #[doc(hidden)]
    #[derive(Debug, Default)]
    pub struct Shape(());

    impl Shape {
        pub fn optional(&mut self) {}
    }
}

#[cfg(not(feature = "openapi"))]
pub use unknown::Shape;

#[cfg(feature = "openapi")]
pub use known::Shape;
#[cfg(feature = "openapi")]
pub(crate) use known::{Body, FORM, JSON, PathParameters};

#[cfg(feature = "openapi")]
mod known {
    use super::Probe;
    use axum::Json;
    use axum::body::{Body as AxumBody, Bytes};
    use axum::extract::{Form, Path, Query, RawForm, Request};
    use axum::response::Html;
    use std::borrow::Cow;
    use utoipa::__dev::{SchemaReferences, Tags};
    use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
    use utoipa::openapi::schema::Schema;
    use utoipa::openapi::{RefOr, Required};
    use utoipa::{IntoParams, PartialSchema, ToSchema};

    pub(super) const MULTIPART: &str = "multipart/form-data";
    pub(crate) const JSON: &str = "application/json";
    pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
    const TEXT: &str = "text/plain; charset=utf-8";
    const HTML: &str = "text/html; charset=utf-8";
    const BYTES: &str = "application/octet-stream";

    /// What a handler takes and gives.
    #[doc(hidden)]
    #[derive(Default)]
    pub struct Shape {
        /// What `#[utoipa::path]` says, over everything else.
        pub(crate) operation: Option<utoipa::openapi::path::Operation>,
        pub(crate) path: PathParameters,
        pub(crate) query: Vec<Parameter>,
        /// `Query<T>` of a `T` nothing is known about.
        pub(crate) free_query: bool,
        pub(crate) body: Option<Body>,
        pub(crate) response: Option<Body>,
        /// What the schemas refer to, by name.
        pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
    }

    impl std::fmt::Debug for Shape {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Shape").finish_non_exhaustive()
        }
    }

    /// What is known of the parameters of the path.
    #[derive(Default)]
    pub(crate) enum PathParameters {
        /// Their names, from the template.
        #[default]
        Unknown,
        /// Their types, in the order of the template.
        Types(Vec<RefOr<Schema>>),
        /// Everything, by name.
        Named(Vec<Parameter>),
    }

    /// A request or response body.
    pub(crate) struct Body {
        /// Its media type; nothing for a response without content.
        pub(crate) media: Option<&'static str>,
        pub(crate) schema: Option<RefOr<Schema>>,
        pub(crate) required: bool,
    }

    impl Shape {
        /// The argument before was an `Option` or `Result`.
        pub fn optional(&mut self) {
            if let Some(body) = &mut self.body {
                body.required = false;
            }
        }

        pub(super) fn body(&mut self, media: &'static str, schema: Option<RefOr<Schema>>) {
            self.body = Some(Body { media: Some(media), schema, required: true });
        }

        fn gives(&mut self, media: Option<&'static str>, schema: Option<RefOr<Schema>>) {
            self.response = Some(Body { media, schema, required: true });
        }

        /// A schema to refer to where it has a name of its own, else the schema itself.
        fn schema_of<T: ToSchema>(&mut self) -> RefOr<Schema> {
            T::schemas(&mut self.schemas);
            let schema = T::schema();
            if !is_worth_a_name(&schema) {
                return schema;
            }
            let name = T::name().into_owned();
            self.schemas.push((name.clone(), schema));
            RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
        }
    }

    /// Numbers, strings, lists and maps are written where they are used.
    fn is_worth_a_name(schema: &RefOr<Schema>) -> bool {
        match schema {
            RefOr::Ref(_) => false,
            RefOr::T(Schema::Object(object)) => !object.properties.is_empty() || object.enum_values.is_some(),
            RefOr::T(Schema::OneOf(_) | Schema::AllOf(_) | Schema::AnyOf(_)) => true,
            RefOr::T(_) => false,
        }
    }

    /// The fields of an object, as parameters.
    fn parameters(schema: &RefOr<Schema>, place: ParameterIn) -> Option<Vec<Parameter>> {
        let RefOr::T(Schema::Object(object)) = schema else { return None };
        if object.properties.is_empty() {
            return None;
        }
        let parameter = |(name, schema): (&String, &RefOr<Schema>)| {
            let required = object.required.contains(name) || matches!(place, ParameterIn::Path);
            let required = if required { Required::True } else { Required::False };
            let built = ParameterBuilder::new().name(name).parameter_in(place.clone()).required(required);
            built.schema(Some(schema.clone())).build()
        };
        Some(object.properties.iter().map(parameter).collect())
    }

    /// Everything is known.
    pub trait InputByFields {
        fn input(&self, shape: &mut Shape);
    }

    impl<T: IntoParams> InputByFields for &&&&Probe<Path<T>> {
        fn input(&self, shape: &mut Shape) {
            shape.path = PathParameters::Named(T::into_params(|| Some(ParameterIn::Path)));
        }
    }

    impl<T: IntoParams> InputByFields for &&&&Probe<Query<T>> {
        fn input(&self, shape: &mut Shape) {
            shape.query.extend(T::into_params(|| Some(ParameterIn::Query)));
        }
    }

    impl<T: ToSchema> InputByFields for &&&&Probe<Json<T>> {
        fn input(&self, shape: &mut Shape) {
            let schema = shape.schema_of::<T>();
            shape.body(JSON, Some(schema));
        }
    }

    impl<T: ToSchema> InputByFields for &&&&Probe<Form<T>> {
        fn input(&self, shape: &mut Shape) {
            let schema = shape.schema_of::<T>();
            shape.body(FORM, Some(schema));
        }
    }

    /// Several values in the path.
    pub trait InputByTuple {
        fn input(&self, shape: &mut Shape);
    }

    macro_rules! tuples {
        ($($($name:ident)+;)+) => {
            $(impl<$($name: PartialSchema),+> InputByTuple for &&&Probe<Path<($($name,)+)>> {
                fn input(&self, shape: &mut Shape) {
                    shape.path = PathParameters::Types(vec![$($name::schema()),+]);
                }
            })+
        };
    }

    tuples! {
        A;
        A B;
        A B C;
        A B C D;
        A B C D E;
        A B C D E F;
    }

    impl<T: ToSchema> InputByTuple for &&&Probe<Query<T>> {
        fn input(&self, shape: &mut Shape) {
            T::schemas(&mut shape.schemas);
            match parameters(&T::schema(), ParameterIn::Query) {
                Some(parameters) => shape.query.extend(parameters),
                None => shape.free_query = true,
            }
        }
    }

    /// One value in the path, or a struct of them.
    pub trait InputBySchema {
        fn input(&self, shape: &mut Shape);
    }

    impl<T: ToSchema> InputBySchema for &&Probe<Path<T>> {
        fn input(&self, shape: &mut Shape) {
            T::schemas(&mut shape.schemas);
            let schema = T::schema();
            shape.path = match parameters(&schema, ParameterIn::Path) {
                Some(parameters) => PathParameters::Named(parameters),
                None => PathParameters::Types(vec![schema]),
            };
        }
    }

    /// The media type is known.
    pub trait InputByMedia {
        fn input(&self, shape: &mut Shape);
    }

    impl<T> InputByMedia for &Probe<Json<T>> {
        fn input(&self, shape: &mut Shape) {
            shape.body(JSON, None);
        }
    }

    impl<T> InputByMedia for &Probe<Form<T>> {
        fn input(&self, shape: &mut Shape) {
            shape.body(FORM, None);
        }
    }

    impl<T> InputByMedia for &Probe<Query<T>> {
        fn input(&self, shape: &mut Shape) {
            shape.free_query = true;
        }
    }

    macro_rules! media {
        ($trait:ident::$method:ident $how:ident: $($ty:ty => $media:expr;)+) => {
            $(impl $trait for &Probe<$ty> {
                fn $method(&self, shape: &mut Shape) {
                    shape.$how($media, None);
                }
            })+
        };
    }

    media! { InputByMedia::input body:
        RawForm => FORM;
        String => TEXT;
        Bytes => BYTES;
        AxumBody => BYTES;
        Request => BYTES;
    }

    /// The response has a schema.
    pub trait OutputBySchema {
        fn output(&self, shape: &mut Shape);
    }

    impl<T: ToSchema> OutputBySchema for &&Probe<Json<T>> {
        fn output(&self, shape: &mut Shape) {
            let schema = shape.schema_of::<T>();
            shape.gives(Some(JSON), Some(schema));
        }
    }

    /// The response has a media type.
    pub trait OutputByMedia {
        fn output(&self, shape: &mut Shape);
    }

    impl<T> OutputByMedia for &Probe<Json<T>> {
        fn output(&self, shape: &mut Shape) {
            shape.gives(Some(JSON), None);
        }
    }

    impl<T> OutputByMedia for &Probe<Html<T>> {
        fn output(&self, shape: &mut Shape) {
            shape.gives(Some(HTML), None);
        }
    }

    media! { OutputByMedia::output gives:
        () => None;
        String => Some(TEXT);
        &'static str => Some(TEXT);
        Cow<'static, str> => Some(TEXT);
        Bytes => Some(BYTES);
        Vec<u8> => Some(BYTES);
    }

    /// What `#[utoipa::path]` has made.
    pub trait Operation {
        fn operation(&self, shape: &mut Shape);
        fn operation_id(&self) -> Option<String>;
    }

    impl<T: utoipa::Path + SchemaReferences + Tags<'static>> Operation for &Probe<T> {
        fn operation(&self, shape: &mut Shape) {
            T::schemas(&mut shape.schemas);
            let mut operation = T::operation();
            let tags: Vec<String> = T::tags().into_iter().map(str::to_owned).collect();
            if !tags.is_empty() {
                operation.tags.get_or_insert_default().extend(tags);
            }
            shape.operation = Some(operation);
        }

        fn operation_id(&self) -> Option<String> {
            T::operation().operation_id
        }
    }
}
