//! `GetSaga`: one saga as it is committed.

use saga_proto::v1 as wire;

use super::{Api, convert, error::Refusal, picture, resolve::resolve};

pub(super) async fn get_saga(
    api: &Api,
    request: &wire::GetSagaRequest,
) -> Result<wire::SagaDetail, Refusal> {
    let id = resolve(api, &request.saga).await?;
    let seen = picture::load(api, id).await?;
    Ok(convert::detail_by(&seen, api.parts().lane.clock()))
}
