//! Readers in crowds: whoever looks at a large store does not cost its owner the lease.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use saga_engine::store::{Error, Lanes, record::ListFilter};
use saga_server::screens::{READS_WAITING_MAX, Screens};
use saga_store_postgres::PostgresStore;
use saga_tests::{eventually, postgres::database, within};
use sqlx::{Connection, PgConnection, Row};

use crate::cases::TOKEN;

const READERS: usize = 400;
const SAGAS: i64 = 300_000;
/// More of them than one lease lasts.
const RENEWALS: usize = 5;

async fn fill(conn: &mut PgConnection) {
    sqlx::query(
        "INSERT INTO saga (id, name, version, hash, input_hash, labels, started_at, status, incident, exceptions)
         SELECT lpad(to_hex(n), 32, '0')::uuid, 'many', 1, '\\x00', '\\x00', '{\"city\": \"Bern\"}', n, 10, false, false
         FROM generate_series(1, $1) AS n",
    )
    .bind(SAGAS)
    .execute(conn)
    .await
    .expect("sagas");
}

async fn lease_until(conn: &mut PgConnection) -> String {
    let row = sqlx::query("SELECT min(lease_until)::text FROM lease")
        .fetch_one(conn)
        .await
        .expect("a lease");
    row.get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowds_of_readers_do_not_cost_the_lease() {
    let url = database().await;
    let store = Arc::new(PostgresStore::open(&url, false).await.expect("open"));
    let mut conn = PgConnection::connect(&url).await.expect("a connection");
    fill(&mut conn).await;
    let claim = store.claim(TOKEN).await.expect("claim");
    let screens = Screens::new(Arc::clone(&store) as _);
    let (over, refused) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let readers = (0..READERS).map(|_| {
        let (screens, over, refused) = (screens.clone(), Arc::clone(&over), Arc::clone(&refused));
        tokio::spawn(async move {
            let labels = [("city".to_owned(), "nowhere".to_owned())].into();
            let filter = ListFilter {
                labels,
                ..ListFilter::default()
            };
            while !over.load(Ordering::Relaxed) {
                match screens.list(filter.clone(), None, 10).await {
                    Ok(page) => assert!(page.rows.is_empty()),
                    Err(Error::Busy { waiting }) => {
                        assert!(waiting <= READS_WAITING_MAX);
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    let mut seen = lease_until(&mut conn).await;
    for _ in 0..RENEWALS {
        let renewed = async {
            loop {
                let now = lease_until(&mut conn).await;
                if now != seen {
                    return now;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        seen = within("a renewal", renewed).await;
        assert!(
            claim.tenure.holds(),
            "the lease was lost: {}",
            claim.tenure.why()
        );
        // What a lane reads has its own way.
        within("the lane's own read", store.open_sagas(None, 10))
            .await
            .expect("a read");
    }
    eventually("a read to be refused", || async {
        (refused.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        within("the reader", reader).await.expect("no panic");
    }
    assert!(claim.tenure.holds());
}
