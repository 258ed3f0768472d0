#[utoipa::path(
    get,
    path = "/weather",
    extensions(
        (
            "x-mpp-price" = json!(
                ::core::concat!(::core::module_path!(), "::", "weather")
            )
        ),
        ("x-mine" = json!(1))
    )
)]
#[::mpp::charge(amount = "0.05", currency = "usdc", methods(tempo))]
#[__mpp_documented]
/// Current weather.
async fn weather(_: Paid) {}
