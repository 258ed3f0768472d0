//! Schemathesis makes up requests from the shop's own document, good ones and bad ones, for what is priced and what is free,
//! and holds every answer against it: no 5xx, no undocumented status, content type, header or body.

use interop::stripe::{SECRET_KEY, StandIn};
use interop::{KeyFile, Shop, lab};
use std::process::Stdio;
use tokio::process::Command;

const SHOP: &str = env!("CARGO_BIN_EXE_shop-under-test");
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

#[tokio::test]
async fn no_request_made_up_from_the_document_is_answered_by_a_fault_or_by_surprise() {
    let Some(lab) = lab() else { return };
    let Some(program) = lab.schemathesis() else { return };
    let chain = lab.chain().await;
    let (stand_in, key) = (StandIn::of_today().await, KeyFile::of(SECRET_KEY));
    stand_in.allow_small_amounts();
    let shop = Shop::start(SHOP, &chain.url, &stand_in.flags(&key)).await;
    // `default` documents whatever a handler may answer; without it every status has to stand there by itself.
    let mut document = interop::ask("GET", &shop.at("/openapi.json"), None, None).await.json();
    let mut stripped = 0;
    for operation in
        document["paths"].as_object_mut().into_iter().flatten().flat_map(|(_, item)| item.as_object_mut())
    {
        for responses in operation.values_mut().filter_map(|operation| operation["responses"].as_object_mut())
        {
            stripped += usize::from(responses.remove("default").is_some());
        }
    }
    assert_eq!(stripped, 10, "every priced operation has it");
    // A folder of its own: it keeps a cache where it is started.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("openapi.json"), document.to_string()).expect("a file");
    let ended = Command::new(program)
        .current_dir(&folder)
        .args([
            "run",
            "openapi.json",
            "--url",
            &shop.url,
            "--checks",
            CHECKS,
            "--max-examples",
            "30",
            "--seed",
            "402",
            "--no-color",
        ])
        .args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it starts");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    assert!(
        said.contains("11 / 11") || said.contains("11 selected"),
        "all eleven operations, one of them free: {said}"
    );
}
