//! Devices and their KeyPackages.

use super::error::Problem;
use super::request::Call;
use super::{ClientFace, convert};
use axum::Json;
use axum::extract::{Request, State};
use mls_client::api::{Device, KeyPackageStock, UploadKeyPackages};

pub(super) async fn list(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<Vec<Device>>, Problem> {
    const NAME: &str = "devices";
    let call = Call::new(NAME, request);
    let who = call.who(&face).await?;
    let devices = face
        .0
        .engine
        .devices(call.ctx(), &who.user)
        .await
        .map_err(|e| Problem::refusal(NAME, &e))?;
    let device = |d: room_engine::Device| Device {
        client: d.client.to_string(),
        key_packages: d.stock.available,
        last_resort: d.stock.last_resort,
        created_at: d.created_at,
    };
    Ok(Json(devices.into_iter().map(device).collect()))
}

pub(super) async fn stock(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<KeyPackageStock>, Problem> {
    const NAME: &str = "key_packages";
    let call = Call::new(NAME, request);
    let who = call.who(&face).await?;
    let stock = face.0.engine.key_package_stock(call.ctx(), &who).await;
    stock
        .map(|s| Json(convert::stock(s)))
        .map_err(|e| Problem::refusal(NAME, &e))
}

pub(super) async fn upload(
    State(face): State<ClientFace>,
    request: Request,
) -> Result<Json<KeyPackageStock>, Problem> {
    const NAME: &str = "key_packages";
    let call = Call::new(NAME, request);
    let (who, ctx) = (call.who(&face).await?, call.ctx());
    let body: UploadKeyPackages = call.json(&face).await?;
    let packages = body.key_packages.into_iter().map(|p| p.0).collect();
    let stock = face.0.engine.upload_key_packages(ctx, &who, packages).await;
    stock
        .map(|s| Json(convert::stock(s)))
        .map_err(|e| Problem::refusal(NAME, &e))
}
