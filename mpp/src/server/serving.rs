//! A priced handler at work, and then the way out.
//!
//! What the macro writes is a function that returns this, and no `async fn`: a state machine of its own around that of the handler
//! took the compiler a third of its time for a handler.

use super::pipeline::Exit;
use crate::method::Step;
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// Made by [`Exit::serve`]. Dropped before its end, it gives the payment back as the exit does.
    #[project = Stage]
    pub enum Serving<F> {
        Working {
            #[pin]
            handler: F,
            exit: Exit,
        },
        Leaving { leaving: Step<'static, Response> },
    }
}

impl Exit {
    /// The handler's answer, once it is on its way out. That it is a response is asked of the future, and once.
    pub fn serve<F>(self, handler: F) -> Serving<F> {
        Serving::Working { handler, exit: self }
    }
}

impl<F> Future for Serving<F>
where
    F: Future<Output: IntoResponse>,
{
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        if let Stage::Working { handler, exit } = self.as_mut().project() {
            let response = ready!(handler.poll(cx)).into_response();
            let leaving = std::mem::replace(exit, Exit::free()).close(response);
            self.set(Self::Leaving { leaving });
        }
        match self.project() {
            Stage::Leaving { leaving } => Pin::new(leaving).poll(cx),
            Stage::Working { .. } => Poll::Pending,
        }
    }
}
