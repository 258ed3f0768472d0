//! [`Step`]: the future of a method's or a store's call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The future of a method or store call: ready at once, or boxed.
///
/// Methods and stores that finish synchronously cost no allocation.
///
/// ```
/// use mpp::method::Step;
/// fn quick(n: u32) -> Step<'static, u32> { Step::ready(n + 1) }
/// fn slow<'a>(s: &'a str) -> Step<'a, usize> { Step::boxed(async move { s.len() }) }
/// ```
#[must_use = "futures do nothing unless awaited"]
pub struct Step<'a, T>(Inner<'a, T>);

enum Inner<'a, T> {
    Ready(Option<T>),
    Boxed(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> Step<'a, T> {
    /// A result that is there already.
    ///
    /// ```
    /// # use mpp::method::Step;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(Step::ready(1).await, 1);
    /// # }
    /// ```
    pub fn ready(value: T) -> Self {
        Self(Inner::Ready(Some(value)))
    }

    /// A future.
    ///
    /// ```
    /// # use mpp::method::Step;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// assert_eq!(Step::boxed(async { 1 }).await, 1);
    /// # }
    /// ```
    pub fn boxed(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(Inner::Boxed(Box::pin(future)))
    }
}

impl<T: Unpin> Future for Step<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            // A future is not polled again after it was ready; one that is stays pending, as `pending()` would.
            Inner::Ready(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            Inner::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Step<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step(..)")
    }
}
