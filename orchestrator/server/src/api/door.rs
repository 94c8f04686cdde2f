//! The way in for starts that come by other ways than a call: the same checks, the same answers.

use saga_proto::v1 as wire;

use super::{Api, error::Refusal, prepare::prepare};
use saga_engine::lane::intake::StartJob;
use saga_wire_amqp::Door;

impl Door for Api {
    fn prepare(&self, request: wire::StartSagaRequest) -> Result<StartJob, Refusal> {
        self.open()?;
        prepare(self, request)
    }
}
