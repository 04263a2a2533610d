use super::*;
use crate::control_plane::{ControlPlane, Options};
use crate::fault::Fault;

/// Waits until the clients have felt what is asked for.
async fn until(load: &Load, wanted: impl Fn(&Felt) -> bool) -> Felt {
    time::timeout(Duration::from_secs(20), async {
        loop {
            let felt = load.felt();
            if wanted(&felt) {
                return felt;
            }
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never felt, but {:?}", load.felt()))
}

async fn one_server() -> (ControlPlane, Load) {
    let options = Options { api_servers: 1, argocd_servers: 0, ..Options::default() };
    let lab = ControlPlane::start(options).await.unwrap();
    let options = LoadOptions { kept: 2, watches: 2, ..LoadOptions::default() };
    let load = Load::start(lab.addresses()[0], lab.ca_pem(), options).unwrap();
    (lab, load)
}

#[tokio::test]
async fn nothing_fails_while_the_server_works() {
    let (lab, load) = one_server().await;
    until(&load, |felt| felt.new.opened >= 10 && felt.kept.heard >= 6 && felt.watch.heard >= 6)
        .await;
    let felt = load.stop().await;
    assert_eq!(felt.failed(), 0, "{felt:?}");
    assert!(felt.new.median <= felt.new.longest && felt.new.longest > Duration::ZERO);
    assert!(felt.watch.longest_gap >= Duration::from_millis(90), "{felt:?}");
    lab.shutdown().await;
}

#[tokio::test]
async fn a_stop_is_felt_as_resets_and_then_as_refusals() {
    let (lab, load) = one_server().await;
    until(&load, |felt| felt.kept.heard >= 2 && felt.watch.heard >= 2).await;
    let mark = load.mark();
    lab.set_fault(0, Fault::Stopped).await;
    let refused = |felt: &Felt| {
        let reasons = felt.failures.iter();
        let reason = reasons.filter(|f| f.client == ClientKind::New).map(|f| f.reason).next_back();
        reason == Some(Failure::Refused)
    };
    let felt = until(&load, |felt| {
        felt.kept.lost == 2 && felt.watch.lost == 2 && felt.kept.failed >= 2 && refused(felt)
    })
    .await;
    assert!(felt.resets >= 4, "{felt:?}");
    let heard = felt.watch.heard;
    lab.set_fault(0, Fault::None).await;
    until(&load, |felt| felt.watch.heard >= heard + 4).await;
    let felt = load.felt_since(&mark);
    assert!(felt.failed() >= 6 && felt.over < load.felt().over, "{felt:?}");
    load.stop().await;
    lab.shutdown().await;
}

#[tokio::test]
async fn a_freeze_is_felt_as_a_gap_without_a_loss() {
    let (lab, load) = one_server().await;
    until(&load, |felt| felt.kept.heard >= 2 && felt.watch.heard >= 2).await;
    lab.set_fault(0, Fault::Frozen).await;
    let gap = Duration::from_millis(400);
    until(&load, |felt| felt.kept.longest_gap > gap && felt.watch.longest_gap > gap).await;
    lab.set_fault(0, Fault::None).await;
    let felt = load.felt();
    let felt = until(&load, |now| {
        let late = now.new.longest > Duration::from_millis(200);
        late && now.kept.heard >= felt.kept.heard + 4 && now.watch.heard >= felt.watch.heard + 4
    })
    .await;
    assert_eq!(felt.failed(), 0, "{felt:?}");
    load.stop().await;
    lab.shutdown().await;
}

#[tokio::test]
async fn an_answer_with_another_status_is_a_failure_and_no_loss() {
    let (lab, load) = one_server().await;
    lab.set_fault(0, Fault::Broken).await;
    let felt = until(&load, |felt| felt.kept.failed >= 2 && felt.watch.failed >= 2).await;
    assert_eq!(felt.last_failure().unwrap().reason, Failure::Status(500));
    assert_eq!((felt.kept.lost, felt.watch.lost), (0, 0));
    load.stop().await;
    lab.shutdown().await;
}

#[tokio::test]
async fn a_foreign_certificate_is_not_trusted() {
    let (lab, load) = one_server().await;
    lab.set_fault(0, Fault::Foreign).await;
    let felt = until(&load, |felt| felt.new.failed >= 2).await;
    assert_eq!(felt.last_failure().unwrap().reason, Failure::Untrusted);
    load.stop().await;
    lab.shutdown().await;
}
