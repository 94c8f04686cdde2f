//! What health says: of the services, of the road over the broker, and whether this process stands by.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::api::store_trouble::HEALTH_SERVICE;
use saga_engine::{directory::BrokerTrouble, store::trouble::Trouble};

/// The services that answer calls, under their names and all together under none.
/// Name under which health tells of the road over the broker.
pub const BROKER_SERVICE: &str = "saga.broker";
/// Name under which health tells that this process stands by: it serves nobody and is ready to take over.
pub const STANDBY_SERVICE: &str = "saga.standby";
const SERVICES: [&str; 6] = [
    "",
    "saga.v1.SagaService",
    "saga.v1.DefinitionService",
    "saga.v1.OperatorService",
    "saga.v1.ParticipantDirectory",
    "saga.v1.ParticipantService",
];

async fn set(reporter: &HealthReporter, service: &str, is_well: bool) {
    let status = if is_well {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    reporter.set_service_status(service, status).await;
}

/// This process owns the store and answers calls.
pub(crate) async fn serving(reporter: &HealthReporter) {
    set(reporter, STANDBY_SERVICE, false).await;
    for service in SERVICES {
        set(reporter, service, true).await;
    }
}

/// This process answers no calls: it stands by, or goes down.
pub(crate) async fn not_serving(reporter: &HealthReporter, stands_by: bool, has_broker: bool) {
    for service in SERVICES {
        set(reporter, service, false).await;
    }
    set(reporter, HEALTH_SERVICE, false).await;
    if has_broker {
        set(reporter, BROKER_SERVICE, false).await;
    }
    set(reporter, STANDBY_SERVICE, stands_by).await;
}

/// Keeps the health of [`HEALTH_SERVICE`] what the store of the claim in force is. The server itself is well without it:
/// sagas are shown, and starts wait.
pub(crate) async fn report_store(
    mut trouble: watch::Receiver<Option<Trouble>>,
    health: HealthReporter,
    closing: CancellationToken,
) {
    loop {
        let is_well = trouble.borrow_and_update().is_none();
        set(&health, HEALTH_SERVICE, is_well).await;
        tokio::select! {
            changed = trouble.changed() => if changed.is_err() {
                return;
            },
            () = closing.cancelled() => return,
        }
    }
}

/// Keeps the health of [`BROKER_SERVICE`] what the road over the broker is. The server itself is well without it: sagas
/// begin, wait and are shown.
pub(crate) async fn report_broker(
    mut broker: watch::Receiver<Option<BrokerTrouble>>,
    health: HealthReporter,
    closing: CancellationToken,
) {
    loop {
        let is_well = broker.borrow_and_update().is_none();
        set(&health, BROKER_SERVICE, is_well).await;
        tokio::select! {
            changed = broker.changed() => if changed.is_err() {
                return;
            },
            () = closing.cancelled() => return,
        }
    }
}
