//! What health says of the clocks: whether the host's shows what the server goes by.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use saga_engine::lane::clock::LaneClock;

/// Name under which health tells of the host's clock: not serving while it shows another time than the server's.
pub const CLOCK_SERVICE: &str = "saga.clock";
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the health of [`CLOCK_SERVICE`]. The server itself is well meanwhile.
pub(crate) async fn report(clock: LaneClock, health: HealthReporter, closing: CancellationToken) {
    let mut last = None;
    loop {
        let serving = match clock.drift() {
            None => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        };
        if last != Some(serving) {
            health.set_service_status(CLOCK_SERVICE, serving).await;
            last = Some(serving);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = closing.cancelled() => return,
        }
    }
}
