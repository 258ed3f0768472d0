use axum::extract::{FromRequest, Path, Request};
use mpp::{Mpp, Paid};

struct Upload;

impl<S: Send + Sync> FromRequest<S> for Upload {
    type Rejection = std::convert::Infallible;

    async fn from_request(_: Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self)
    }
}

#[mpp::charge(amount = "0.05", currency = "usdc", methods(tempo), state = Mpp)]
async fn weather(_b: Upload, _id: Path<u64>, _: Paid) {}

fn main() {}
