//! A server without a socket: one router on one thread, called directly. Whoever is measured is called through this.

use std::cell::RefCell;
use std::future::Future;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

/// One server on one thread.
pub(crate) struct Server {
    runtime: Runtime,
    router: RefCell<Router>,
}

impl Server {
    /// The router is made within the server's runtime, as it would be by a program.
    pub(crate) fn of(router: impl FnOnce() -> Router) -> Server {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let router = {
            let _inside = runtime.enter();
            RefCell::new(router())
        };
        Server { runtime, router }
    }

    /// From the request to the response; its body is not read.
    pub(crate) fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut router = self.router.borrow_mut();
        let Ok(response) = self.runtime.block_on(router.call(request));
        response
    }

    /// Waits for something else, in the same runtime.
    pub(crate) fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

/// A request without a credential.
pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a valid request")
}

/// A request with this value of `Authorization`.
pub(crate) fn authorized(path: &str, value: &str) -> Request<Body> {
    let mut request = get(path);
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("an ASCII header"));
    request
}

/// A request whose price depends on its body, which is JSON of 1 KB.
pub(crate) fn order(path: &str) -> Request<Body> {
    let (head, tail) = (r#"{"model":"small","text":""#, r#""}"#);
    let text = "word ".repeat(1024).split_at(1024 - head.len() - tail.len()).0.to_owned();
    let body = Body::from([head, &text, tail].concat());
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body).expect("a valid request")
}
