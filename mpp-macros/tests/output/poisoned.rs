#[allow(dead_code)]
async fn weather(
    _: ::mpp::__private::Gate<::mpp::__private::Poisoned, (), ::mpp::Receipt>,
) -> ::mpp::__private::Response {
    #[allow(unused_variables)]
    async fn weather(Path(city): Path<String>) -> String {
        city
    }
    ::core::unreachable!()
}
::core::compile_error! {
    "`weather` is priced but takes no `Paid` argument\nhelp: add `paid: Paid<Receipt>` (or `_: Paid`), so that removing the price cannot silently make the handler free"
}
