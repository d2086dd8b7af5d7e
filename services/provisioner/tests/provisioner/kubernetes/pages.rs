//! Lists of hosts come in pages, and a page may come too late.

use futures::StreamExt as _;
use serde_json::json;

use super::record::Recorded;
use super::stage::Stage;
use crate::installation::start;

const HOSTS: usize = 2000;
/// How many hosts the provisioner asks for at once.
const PAGE: usize = 500;

/// The last of 2,000 hosts that Metal3 leaves alone is one that it makes available.
async fn many_hosts() -> Stage {
    let stage = Stage::new().await;
    let quiet = json!({"metadata": {"annotations": {"baremetalhost.metal3.io/paused": ""}}});
    let (requests, path) = (&stage.administrator, stage.place.hosts_path());
    futures::stream::iter(1..HOSTS)
        .for_each_concurrent(16, |number| {
            let host = stage.new_host(&format!("a{number:04}"), quiet.clone());
            let path = &path;
            async move { drop(requests.create(path, &host).await.unwrap()) }
        })
        .await;
    stage.add_host("z-last", json!({})).await;
    stage
}

/// The lists so far, each as the answers to its pages.
fn lists(stage: &Stage) -> Vec<Vec<u16>> {
    let mut all = stage.record.all();
    all.retain(Recorded::lists_hosts);
    let mut lists: Vec<Vec<u16>> = Vec::new();
    for page in all {
        assert_eq!(page.parameter("limit"), Some(PAGE.to_string().as_str()));
        match (page.parameter("continue"), lists.last_mut()) {
            (Some(_), Some(list)) => list.push(page.code),
            _ => lists.push(vec![page.code]),
        }
    }
    lists
}

#[tokio::test]
async fn the_last_of_two_thousand_hosts_is_found_in_pages_even_where_one_comes_too_late() {
    let stage = many_hosts().await;
    stage.place.forget_versions();
    let whole = vec![200; HOSTS / PAGE];
    // The watch's own list. It breaks off at its second page, and begins anew.
    stage.between.age_a_page();
    let provisioner = stage.provisioner();
    provisioner.until_shown("[+]kubernetes ok").await;
    assert_eq!(lists(&stage), [vec![200, 410], whole.clone()]);
    // A host is given away only upon a list of all.
    stage.between.age_a_page();
    stage.says(start("1", "z-last")).await;
    stage.until("HostProvisioned").await;
    let lists = lists(&stage);
    assert_eq!(lists[2], [200, 410]);
    assert!(lists.len() > 3 && lists[3..].iter().all(|list| *list == whole));
    stage
        .until_claims("z-last", &["reservation-system:1"])
        .await;
}
