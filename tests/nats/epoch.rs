use crate::harness::{Server, ensure};
use std::collections::BTreeSet;
use trunkline::{
    domain::CellId,
    nats::epoch::{self, EpochError},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_owner_gets_a_number_of_its_own() {
    let mut server = Server::start().await;
    let js = server.jetstream().await;
    ensure(&js).await;
    let cell = CellId::default();
    let mut takers = Vec::new();
    for _ in 0..4 {
        let (js, cell) = (js.clone(), cell.clone());
        takers.push(tokio::spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..5 {
                taken.push(epoch::take(&js, &cell).await.unwrap());
            }
            taken
        }));
    }
    let mut all = BTreeSet::new();
    for taker in takers {
        let taken = taker.await.unwrap();
        assert!(taken.is_sorted(), "{taken:?}");
        all.extend(taken);
    }
    assert!(all.iter().copied().eq(1..=20), "{all:?}");

    server.kill().await;
    server.again().await;
    assert_eq!(epoch::take(&js, &cell).await.unwrap(), 21);
    assert_eq!(epoch::take(&js, &"other".parse().unwrap()).await.unwrap(), 1);

    // An erased epoch must not begin at 1 again.
    js.get_key_value("epoch").await.unwrap().purge("default").await.unwrap();
    assert!(matches!(epoch::take(&js, &cell).await, Err(EpochError::Erased { .. })));
}
